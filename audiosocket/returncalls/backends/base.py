"""One attempt of a return call: what is the same for all backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.returncalls.attempt_result import AttemptResultBuilder
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest

#: Seconds after the ring time in which a result is certain; `Originator.place` promises 5.
GRACE_SECONDS = 4.5
#: Seconds in which the events of a channel's end follow each other.
CAUSE_SECONDS = 1.0


class BackendAttempt(ABC):
    """One call to a resident, from the request to its end.

    ``result`` fires once and never with a failure; cancelling it stops the ringing. A backend overrides `_place`,
    `_release` and `_late_result`. ``attempt_id`` is the name by which the backend recognises what it receives.
    """

    grace_seconds: ClassVar[float] = GRACE_SECONDS
    _log = Logger()

    def __init__(self, clock: IReactorTime, request: ReturnRequest, attempt_id: str) -> None:
        self.result: Deferred[AttemptResult] = Deferred(lambda _: self._cancelled())
        self.request = request
        self.attempt_id = attempt_id
        self._clock = clock
        self._work: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    @property
    def finished(self) -> bool:
        """Whether the result is known."""
        return self.result.called

    def start(self) -> None:
        """Start to place the call; every path from here ends in `finish`."""
        seconds = self.request.ring_seconds + self.grace_seconds
        self._deadline = self._clock.callLater(seconds, self._timed_out)
        self._work = Deferred.fromCoroutine(self._place())
        self._work.addErrback(self._failed)

    def finish(self, end: AttemptEnd, reason: str = "", *, unavailable: bool = False) -> None:
        """End the attempt, unless it has ended."""
        if self.finished:
            return
        _stop(self._deadline)
        self.result.callback(AttemptResult(end, reason, unavailable))

    def interrupt(self, end: AttemptEnd, reason: str = "", *, unavailable: bool = False) -> None:
        """End the attempt from outside of `_place`, which is cancelled; what rings is left alone."""
        self.finish(end, reason, unavailable=unavailable)
        if self._work is not None:
            self._work.cancel()

    def give_up(self, reason: str, *, unavailable: bool = False) -> None:
        """End the attempt as failed and stop what may still ring."""
        if not self.finished:
            self._release()
            self.finish(AttemptEnd.FAILED, reason, unavailable=unavailable)

    @abstractmethod
    async def _place(self) -> None:
        """Send the request, and follow it where the backend has to ask for its end."""

    @abstractmethod
    def _release(self) -> None:
        """Stop what may ring; nothing to do while no request has been sent."""

    @abstractmethod
    def _late_result(self) -> AttemptResult:
        """Return the result for an attempt that has none `grace_seconds` after its ring time."""

    def _timed_out(self) -> None:
        late = self._late_result()
        self._release()
        self.interrupt(late.end, late.reason, unavailable=late.unavailable)

    def _cancelled(self) -> None:
        self._release()
        self.interrupt(AttemptEnd.CANCELLED, "cancelled")

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("placing a return call failed", failure)
        self.give_up("the attempt was interrupted")


class ChannelAttempt(BackendAttempt):
    """An attempt whose channel in Asterisk is followed by events; its id is the channel's."""

    def __init__(self, clock: IReactorTime, request: ReturnRequest, channel_id: str) -> None:
        super().__init__(clock, request, channel_id)
        self._builder = AttemptResultBuilder()
        self._last_events: IDelayedCall | None = None

    def finish(self, end: AttemptEnd, reason: str = "", *, unavailable: bool = False) -> None:
        _stop(self._last_events)
        super().finish(end, reason, unavailable=unavailable)

    def _report(self) -> None:
        """End the attempt with what is known of its channel."""
        self.finish(*self._builder.end(self.request.ring_seconds))

    def _report_soon(self, *, complete: bool) -> None:
        """Report now when what is known is ``complete``, else when the events that may follow have had their time.

        The events of one end come in no certain order.
        """
        if self.finished:
            return
        if complete:
            self._report()
        elif self._last_events is None:
            self._last_events = self._clock.callLater(CAUSE_SECONDS, self._report)


def _stop(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
