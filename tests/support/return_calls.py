"""Return calls in memory: an originator controlled by the test, an app that places them, and a call with both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Time

from audiosocket.calls.call import Call
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppFactory, Leg, ReturnOutcome
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.service import ReturnCalls
from audiosocket.wire import HANGUP_FRAME
from tests.support.in_memory import CALL, AsteriskConnection, InMemoryServer, RecordingApp, ReturnEnded

BUSY, ANSWERED = AttemptResult(AttemptEnd.BUSY, "busy"), AttemptResult(AttemptEnd.ANSWERED)
RING_SECONDS, WINDOW_SECONDS = 20.0, 10.0


class FakeOriginator:
    """An originator whose attempts end when the test says so."""

    def __init__(self) -> None:
        self.requests: list[ReturnRequest] = []
        self.ringing: list[Deferred[AttemptResult]] = []
        #: Attempts that were stopped by their id.
        self.stopped_ids: list[str] = []
        #: Attempts whose Deferred was cancelled.
        self.cancelled = 0
        self.state = ("up", "")
        #: The result of each attempt, in the same turn of the reactor; None to let it ring.
        self.immediate: AttemptResult | None = None

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        self.requests.append(request)
        ringing: Deferred[AttemptResult] = Deferred(self._cancelled)
        self.ringing.append(ringing)
        if self.immediate is not None:
            ringing.callback(self.immediate)
        return ringing

    def stop(self, request: ReturnRequest) -> None:
        self.stopped_ids.append(request.attempt_id)

    def _cancelled(self, ringing: Deferred[AttemptResult]) -> None:
        self.cancelled += 1
        ringing.callback(AttemptResult(AttemptEnd.CANCELLED, "stopped"))

    @property
    def rung(self) -> list[str]:
        """The numbers rung so far."""
        return [request.number for request in self.requests]


class ReturnCallServer:
    """A server with return calls; without a backend where ``backend`` is false."""

    def __init__(
        self, app: App | AppFactory | None = None, *, backend: bool = True, confirm: bool = False, **options: Any
    ) -> None:
        self.originator = FakeOriginator()

        def make_returns(time: Time, ended: ReturnEnded) -> ReturnCalls:
            return ReturnCalls(
                self.originator if backend else None,
                time,
                ended=ended,
                ring_seconds=RING_SECONDS,
                window_seconds=WINDOW_SECONDS,
                caller_id="Gate",
                confirm=confirm,
            )

        self.server = InMemoryServer(app or RecordingApp(), make_returns=make_returns, **options)
        assert self.server.switchboard.returns is not None
        self.returns = self.server.switchboard.returns

    @property
    def call(self) -> Call:
        call = self.server.registry.get(CALL)
        assert call is not None
        return call

    def join_visitor(self) -> AsteriskConnection:
        return self.server.join()

    def join_resident(self) -> AsteriskConnection:
        return self.server.join(role=Role.RESIDENT)

    def place(self, *numbers: str) -> None:
        self.returns.place(self.call, numbers)

    def end_attempt(self, result: AttemptResult) -> None:
        """End the attempt that was placed last."""
        self.originator.ringing[-1].callback(result)

    def run(self, seconds: float, *sending: AsteriskConnection) -> None:
        self.server.run(seconds * 1000, *sending)

    @property
    def shown(self) -> Any:
        """The latest return call as in the API."""
        return self.call.to_json(self.server.now)["return"]

    @property
    def tried(self) -> list[tuple[str, str | None]]:
        return [(attempt["number"], attempt["end"]) for attempt in self.shown["attempts"]]

    def events(self) -> list[str]:
        return [name for name in self.server.event_names() if name.startswith("return.")]


class ReturnCallFixture(ReturnCallServer):
    """A server with return calls and a visitor in a call."""

    def __init__(
        self, app: App | AppFactory | None = None, *, backend: bool = True, confirm: bool = False, **options: Any
    ) -> None:
        super().__init__(app, backend=backend, confirm=confirm, **options)
        self.visitor = self.join_visitor()


class CallingApp(RecordingApp):
    """Places a return call for the key 1 and cancels it for any other; ``then`` is called at its end."""

    def __init__(self, numbers: str | list[str], then: Callable[[Leg], object] | None = None) -> None:
        super().__init__()
        self.numbers = numbers
        #: What `Leg.cancel_resident` returned.
        self.cancelled: list[bool] = []
        self.outcomes: list[ReturnOutcome] = []
        self._when_ended = then

    def digit(self, leg: Leg, digit: str) -> None:
        if digit == "1":
            leg.call_resident(self.numbers)
        else:
            self.cancelled.append(leg.cancel_resident())

    def return_ended(self, leg: Leg, outcome: ReturnOutcome) -> None:
        self._note("return_ended", leg, outcome)
        self.outcomes.append(outcome)
        if self._when_ended is not None:
            self._when_ended(leg)


def accepted(line: AsteriskConnection) -> bool:
    """Whether a connection has become a leg."""
    return not any(data == HANGUP_FRAME for _, data in line.writes) and not line.half_closed
