"""Return calls: whom to ring for a call, one number after the other, until a resident's leg has joined it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.calls import Call
from audiosocket.errors import InvalidNumber, LocalProtocolError, ReturnTaken, ReturnUnavailable, UnknownCall
from audiosocket.extensions import Role
from audiosocket.numbers import checked_number
from audiosocket.originate import NOT_CONFIGURED, AttemptEnd, AttemptResult, Originator, ReturnRequest

#: Numbers that one return call may try.
NUMBERS_MOST = 20


@dataclass
class Attempt:
    """One number, rung from ``began`` on (steady time in seconds); ``end`` is None while it rings."""

    number: str
    began: float
    end: AttemptEnd | None = None
    reason: str = ""
    ended: float | None = None

    def as_json(self, now: float) -> dict[str, Any]:
        """As shown by the API; of the number only the last two digits, as logs are read by many."""
        return {
            "number": masked(self.number),
            "end": None if self.end is None else self.end.value,
            "reason": self.reason,
            "seconds": round((now if self.ended is None else self.ended) - self.began, 3),
        }


class ReturnCalls:
    """All return calls under way, at most one for each call.

    ``ring_seconds`` is how long each number rings; ``window_seconds`` how long after the answer the resident's leg
    may take to arrive. ``arrived`` is told the call of each leg that did, for backends that cannot hear an answer.
    """

    def __init__(
        self,
        originator: Originator | None,
        clock: IReactorTime,
        *,
        ring_seconds: float = 25,
        window_seconds: float = 10,
        caller_id: str = "",
        arrived: Callable[[UUID], object] | None = None,
    ) -> None:
        self.originator = originator
        self.clock = clock
        self.ring_seconds = ring_seconds
        self.window_seconds = window_seconds
        self.caller_id = caller_id
        self._arrived = arrived
        self._runs: dict[UUID, Run] = {}

    @property
    def configured(self) -> bool:
        """Whether there is anybody to place calls; if not, residents may join as they come."""
        return self.originator is not None

    def place(self, call: Call, numbers: Sequence[str]) -> None:
        """Ring these numbers in their order until one is answered; returns at once.

        Raises `InvalidNumber`, `UnknownCall` (it is over), `ReturnTaken` and `ReturnUnavailable`.
        """
        originator = self._available()
        _check_numbers(numbers)
        if call.ended is not None:
            raise UnknownCall(f"the call {call.call_id} has ended")
        visitor, resident = call.legs.get(Role.VISITOR), call.legs.get(Role.RESIDENT)
        if call.call_id in self._runs:
            raise ReturnTaken(f"a return call for {call.call_id} is already under way")
        if resident is not None and resident.ending is None:
            raise ReturnTaken(f"the call {call.call_id} has its resident already")
        if visitor is None or visitor.ending is not None or visitor.dormant:
            raise ReturnTaken(f"no visitor is waiting in the call {call.call_id}")
        if call.extension.return_port is None or not call.extension.return_number:
            raise ReturnTaken(
                f"extension {call.extension.id} needs ramal_retorno and porta_retorno for a return call"
            )
        run = self._runs[call.call_id] = Run(self, originator, call, numbers)
        call.return_call = run
        run.start()

    def cancel(self, call: Call) -> None:
        """Stop the ringing; raises `ReturnTaken` when no return call is under way."""
        run = self._runs.get(call.call_id)
        if run is None:
            raise ReturnTaken(f"no return call for {call.call_id} is under way")
        run.cancel("somebody asked for it")

    def awaits(self, call: Call) -> bool:
        """Whether a resident's leg may join this call now; always, when no backend is configured."""
        return not self.configured or self.pending(call)

    def pending(self, call: Call) -> bool:
        """Whether a return call is under way for this call."""
        return call.call_id in self._runs

    def joined(self, call: Call) -> None:
        """The resident's leg was accepted: whatever the backend says later, the return call has succeeded."""
        run = self._runs.get(call.call_id)
        if run is not None:
            run.connected()
            if self._arrived is not None:
                self._arrived(call.call_id)

    def visitor_left(self, call: Call) -> None:
        """Nobody is waiting any more; what rings is stopped."""
        run = self._runs.get(call.call_id)
        if run is not None:
            run.cancel("the visitor left")

    def close(self) -> None:
        """Stop everything that rings."""
        for run in list(self._runs.values()):
            run.cancel("the server stops")

    def over(self, run: Run) -> None:
        """A run has ended; its call may be given another one."""
        del self._runs[run.call.call_id]

    def _available(self) -> Originator:
        if self.originator is None:
            raise ReturnUnavailable(NOT_CONFIGURED)
        state, reason = self.originator.state
        if state == "down":
            self.originator.wake()
            raise ReturnUnavailable(f"return calls cannot be placed now: {reason}")
        return self.originator


class Run:
    """One return call: its attempts in order and what became of it."""

    _log = Logger()

    def __init__(self, calls: ReturnCalls, originator: Originator, call: Call, numbers: Sequence[str]) -> None:
        self.call = call
        self.state = (
            "ringing"  #: then "answered" until the leg comes; in the end "connected", "failed", "cancelled"
        )
        self.reason = ""
        self.attempts: list[Attempt] = []
        self._calls = calls
        self._originator = originator
        self._numbers = list(numbers)
        self._ringing: Deferred[None] | None = None
        self._window: IDelayedCall | None = None

    def as_json(self, now: float) -> dict[str, Any]:
        """As shown by the API; durations in seconds."""
        attempts = [attempt.as_json(now) for attempt in self.attempts]
        return {"state": self.state, "reason": self.reason, "attempts": attempts}

    def start(self) -> None:
        """Ring the first number."""
        self.call.note("return.started", self._now, numbers=len(self._numbers))
        self._next()

    def cancel(self, reason: str) -> None:
        """Stop the ringing, or no longer wait for the leg."""
        ringing = self._end_of_run("cancelled", reason, AttemptEnd.CANCELLED)
        if ringing is not None:
            ringing.cancel()

    def connected(self) -> None:
        """The leg is there, perhaps before the backend has heard of the answer."""
        self._end_of_run("connected", "", AttemptEnd.ANSWERED)

    @property
    def _now(self) -> float:
        return self._calls.clock.seconds()

    @property
    def _is_over(self) -> bool:
        return self.state not in {"ringing", "answered"}

    def _next(self) -> None:
        number = self._numbers.pop(0)
        attempt = Attempt(number, self._now)
        self.attempts.append(attempt)
        request = ReturnRequest(
            self.call.call_id,
            number,
            self.call.extension.return_number,
            self._calls.ring_seconds,
            self._calls.caller_id,
        )
        placed = self._originator.place(request)
        ended = placed.addErrback(self._broken).addCallback(self._ended, attempt)
        if not self._is_over and attempt.end is None:
            self._ringing = ended

    def _broken(self, failure: Failure) -> AttemptResult:
        """The words of `Originator` rule this out; a backend with a bug must not leave the call waiting."""
        if failure.check(CancelledError):
            return AttemptResult(AttemptEnd.CANCELLED)
        self._log.failure("the backend of return calls failed", failure)
        return AttemptResult(AttemptEnd.FAILED, "unexpected error, see the log")

    def _ended(self, result: AttemptResult, attempt: Attempt) -> None:
        if self._is_over:
            return  # the leg had arrived, or everything was cancelled, before the backend knew
        self._ringing = None
        self._note_end(attempt, result.end, result.reason)
        if result.end is AttemptEnd.ANSWERED:
            self.state = "answered"
            self._window = self._calls.clock.callLater(self._calls.window_seconds, self._no_leg)
        elif result.end is AttemptEnd.CANCELLED:
            self._end_of_run("cancelled", result.reason, result.end)
        elif self._numbers:
            self._next()
        else:
            self._end_of_run("failed", result.reason or result.end.value, result.end)

    def _no_leg(self) -> None:
        port = self.call.extension.return_port
        reason = (
            f"the resident answered, but no leg arrived on return port {port} within "
            f"{self._calls.window_seconds:g} s; does the dialplan have the return extension?"
        )
        self._end_of_run("failed", reason, AttemptEnd.FAILED)

    def _note_end(self, attempt: Attempt, end: AttemptEnd, reason: str) -> None:
        attempt.end, attempt.reason, attempt.ended = end, reason, self._now
        self.call.note("return.attempt", self._now, **attempt.as_json(self._now))

    def _end_of_run(self, state: str, reason: str, end: AttemptEnd) -> Deferred[None] | None:
        """Ends it once; returns what was ringing, for a canceller."""
        if self._is_over:
            return None
        if self._window is not None and self._window.active():
            self._window.cancel()
        self.state, self.reason = state, reason
        ringing, self._ringing = self._ringing, None
        if self.attempts[-1].end is None:
            self._note_end(self.attempts[-1], end, reason)
        self.call.note("return.ended", self._now, state=state, reason=reason)
        self._calls.over(self)
        return ringing


def masked(number: str) -> str:
    """The number with all but its last two characters hidden."""
    return "*" * max(2, len(number) - 2) + number[-2:]


def _check_numbers(numbers: Sequence[str]) -> None:
    if not 0 < len(numbers) <= NUMBERS_MOST:
        raise InvalidNumber(f"there are {len(numbers)} numbers; give 1 to {NUMBERS_MOST}")
    for number in numbers:
        try:
            checked_number(number)
        except LocalProtocolError as problem:
            raise InvalidNumber(str(problem)) from None
