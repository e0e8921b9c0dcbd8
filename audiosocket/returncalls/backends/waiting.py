"""Return calls without a backend: nobody is rung, whoever opens the return port in time is the resident."""

from __future__ import annotations

from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from audiosocket.returncalls.originator import NOT_CONFIGURED, AttemptEnd, AttemptResult, ReturnRequest


class WaitingOriginator:
    """Implements `originator.Originator`: an attempt waits for its ring time and ends as ``NO_ANSWER``."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[UUID, Deferred[AttemptResult]] = {}

    @property
    def state(self) -> tuple[str, str]:
        """Always ("off", reason): nobody is asked."""
        return "off", NOT_CONFIGURED

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """See `originator.Originator.place`."""
        result: Deferred[AttemptResult] = Deferred(lambda _: end(AttemptEnd.CANCELLED, "cancelled"))
        reason = f"no leg came to the return port within {request.ring_seconds:g} s; nobody was rung"

        def end(how: AttemptEnd, reason: str = "") -> None:
            if timer.active():
                timer.cancel()
            if self._waiting.get(request.call_id) is result:
                del self._waiting[request.call_id]
            if not result.called:
                result.callback(AttemptResult(how, reason))

        timer = self._clock.callLater(request.ring_seconds, end, AttemptEnd.NO_ANSWER, reason)
        self._waiting[request.call_id] = result
        return result

    def answered(self, call_id: UUID) -> bool:
        """Return whether a leg of this call was waited for; it is there, so that nobody waits any more."""
        waiting = self._waiting.get(call_id)
        if waiting is None:
            return False
        waiting.cancel()
        return True

    def stop(self, request: ReturnRequest) -> None:
        """See `originator.Originator.stop`; there is nothing to stop."""
