"""One return call: its attempts in order, what became of it, and how it goes on after a restart.

What a journal keeps of it is one line for each change, with the whole numbers: the next process may have to
ring those that are left. A kill leaves telephones ringing, so after a restart the resident's leg is waited for
until their ring time and the window are over; only then the next number is rung.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.calls.call import Call
from audiosocket.calls.journal_records import SavedReturn
from audiosocket.extensions.model import Role
from audiosocket.interfaces import ReturnAttempt, ReturnOutcome
from audiosocket.json_shapes import ReturnCallJSON
from audiosocket.returncalls.attempt import Attempt, restored
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, Originator, ReturnRequest

#: States of a run that is over.
OVER = frozenset({"connected", "failed", "cancelled"})


class Desk(Protocol):
    """What all runs share: `returncall.ReturnCalls`."""

    originator: Originator | None
    clock: IReactorTime
    ring_seconds: float
    window_seconds: float
    caller_id: str
    new_id: Callable[[], str]

    def over(self, run: ReturnCall) -> None:
        """A run has ended."""


class ReturnCall:
    """One return call, the ``number``-th of its call; ``numbers`` have not been tried yet."""

    _log = Logger()

    def __init__(self, desk: Desk, call: Call, numbers: Sequence[str], number: int = 1) -> None:
        self.call = call
        #: "ringing", then "answered" until the leg comes; after a restart perhaps "waiting" for the visitor.
        self.state = "ringing"
        self.reason = ""
        self.attempts: list[Attempt] = []
        self._desk = desk
        self._number = number
        self._numbers = list(numbers)
        self._ringing: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        #: When it stops ringing, or the leg may no longer come, in steady seconds.
        self._until = 0.0

    @classmethod
    def restored(cls, desk: Desk, call: Call, kept: SavedReturn, number: int, offset: float) -> ReturnCall:
        """The run as a journal knows it; steady time is the time of day plus ``offset`` seconds."""
        saved = kept.shifted(offset)
        run = cls(desk, call, saved.numbers, number)
        run.state, run.reason, run._until = saved.state, saved.reason, saved.until
        run.attempts = [restored(attempt) for attempt in saved.attempts]
        return run

    def to_json(self, now: float) -> ReturnCallJSON:
        """As shown by the API, with whole numbers; durations in seconds."""
        attempts = [attempt.to_json(now) for attempt in self.attempts]
        return {"state": self.state, "reason": self.reason, "attempts": attempts}

    def as_event(self, now: float) -> ReturnCallJSON:
        """As written down at the end of the call, with masked numbers."""
        return {**self.to_json(now), "attempts": [attempt.as_event(now) for attempt in self.attempts]}

    @property
    def outcome(self) -> ReturnOutcome:
        """What apps are told at its end."""
        tried = [(one.number, "" if one.end is None else one.end.value, one.reason) for one in self.attempts]
        return ReturnOutcome(self.state, self.reason, tuple(ReturnAttempt(*one) for one in tried))

    @property
    def is_over(self) -> bool:
        """True when nobody is rung or waited for any more."""
        return self.state in OVER

    @property
    def expects_leg(self) -> bool:
        """True while a resident rings, or has answered and is on the way."""
        return self.state in {"ringing", "answered"}

    def start(self) -> None:
        """Ring the first number."""
        self.call.note("return.started", self._now, numbers=len(self._numbers))
        self._next()

    def cancel(self, reason: str) -> None:
        """Stop the ringing, or no longer wait for the leg."""
        if self.is_over:
            return
        stop = self._stopper()
        self._end("cancelled", reason, AttemptEnd.CANCELLED)
        stop()

    def connected(self) -> None:
        """The leg is there, perhaps before the backend has heard of the answer."""
        self._end("connected", "", AttemptEnd.ANSWERED)

    # restarts

    def interrupt(self) -> None:
        """The process is about to stop, the call is not: the next one rings this number anew.

        A resident who has answered is on the way to the dialplan, which knocks until somebody opens.
        """
        self._stop_timer()
        if self._open is not None:
            stop = self._stopper()
            self._numbers.insert(0, self._open.number)
            self._note_end(AttemptEnd.CANCELLED, "the server stopped")
            self._wait("the server stopped")
            stop()

    def resume(self) -> None:
        """After a restart: wait for the leg of what may be ringing, or go on with the next number.

        While nobody listened no leg could arrive, so the window is that of a leg whose resident answers now. A
        clock that was set meanwhile makes nothing longer than it ever is.
        """
        if self.is_over:
            return
        if self.state == "answered":
            self._wait_for_leg(self._desk.window_seconds)
        elif self._open is not None:
            rings_on = min(max(0.0, self._until - self._now), self._desk.ring_seconds)
            self._wait_for_leg(rings_on + self._desk.window_seconds)
        else:
            self._go_on()

    def visitor_back(self) -> None:
        """The visitor's leg has come back after a restart."""
        if self.state == "waiting":
            self._go_on()

    def _go_on(self) -> None:
        visitor = self.call.legs.get(Role.VISITOR)
        if visitor is not None and visitor.suspended and self._numbers:
            self._wait("the visitor has not come back after the restart")
        else:
            self._next()

    def _wait(self, reason: str) -> None:
        self.state, self.reason = "waiting", reason
        self._keep()

    # one attempt after the other

    @property
    def _now(self) -> float:
        return self._desk.clock.seconds()

    @property
    def _open(self) -> Attempt | None:
        """The attempt that has not ended."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].end is None else None

    def _next(self) -> None:
        """Ring the next number, or fail as the last attempt did."""
        originator = self._desk.originator
        if originator is None or not self._numbers:
            reason = self._why_failed() if originator else "return calls are no longer configured"
            self._end("failed", reason, AttemptEnd.FAILED)
            return
        attempt = Attempt(self._numbers.pop(0), self._now, self._desk.new_id())
        self.attempts.append(attempt)
        self.state, self.reason, self._until = "ringing", "", self._now + self._desk.ring_seconds
        self._keep()  # before it rings: what rings is known, whenever the process dies
        placed = originator.place(self._request(attempt))
        ended = placed.addErrback(self._broken).addCallback(self._ended, attempt)
        if not self.is_over and attempt.end is None:
            self._ringing = ended

    def _why_failed(self) -> str:
        last = self.attempts[-1] if self.attempts else None
        return "" if last is None or last.end is None else last.reason or last.end.value

    def _request(self, attempt: Attempt) -> ReturnRequest:
        extension = self.call.extension
        return ReturnRequest(
            self.call.call_id,
            attempt.number,
            extension.return_number,
            self._desk.ring_seconds,
            self._desk.caller_id,
            attempt_id=attempt.attempt_id,
            row={"ramal": extension.number, "condominio": str(extension.condominium_id)},
        )

    def _broken(self, failure: Failure) -> AttemptResult:
        """The words of `Originator` rule this out; a backend with a bug must not leave the call waiting."""
        if failure.check(CancelledError):
            return AttemptResult(AttemptEnd.CANCELLED)
        self._log.failure("the backend of return calls failed", failure)
        return AttemptResult(AttemptEnd.FAILED, "unexpected error, see the log")

    def _ended(self, result: AttemptResult, attempt: Attempt) -> None:
        if self.is_over or attempt.end is not None:
            return  # the leg had arrived, or everything was stopped, before the backend knew
        self._note_end(result.end, result.reason)
        if result.end is AttemptEnd.ANSWERED:
            self.state = "answered"
            self._wait_for_leg(self._desk.window_seconds)
        elif result.end is AttemptEnd.CANCELLED:
            self._end("cancelled", result.reason, result.end)
        elif result.unavailable:
            self._end("failed", result.reason + _untried(len(self._numbers)), result.end)
        else:
            self._next()

    def _wait_for_leg(self, seconds: float) -> None:
        if self.state == "answered":
            self._until = self._now + seconds
            self._keep()
        self._timer = self._desk.clock.callLater(seconds, self._no_leg)

    def _no_leg(self) -> None:
        if self._desk.originator is not None:  # nobody would let this channel in any more
            self._desk.originator.stop(self._request(self.attempts[-1]))
        if self._open is not None:  # it rang when the server was restarted
            self._note_end(AttemptEnd.FAILED, "the server was restarted while it rang, and no leg arrived")
            self._go_on()
            return
        port = self.call.extension.return_port
        reason = (
            f"the resident answered, but no leg arrived on return port {port} within "
            f"{self._desk.window_seconds:g} s; does the dialplan have the return extension?"
        )
        self._end("failed", reason, AttemptEnd.FAILED)

    def _stopper(self) -> Callable[[], object]:
        """Stops what rings now, whoever placed it.

        Not what was answered: its leg is about to knock, and Asterisk complains of a channel hung up meanwhile.
        It is turned away like any other.
        """
        if self._ringing is not None:
            return self._ringing.cancel
        originator = self._desk.originator
        if originator is None or self._open is None:
            return lambda: None
        return functools.partial(originator.stop, self._request(self.attempts[-1]))

    def _note_end(self, end: AttemptEnd, reason: str) -> None:
        attempt, self._ringing = self.attempts[-1], None
        attempt.end, attempt.reason, attempt.ended = end, reason, self._now
        self.call.note("return.attempt", self._now, **attempt.as_event(self._now))

    def _end(self, state: str, reason: str, end: AttemptEnd) -> None:
        """Ends it once, and the attempt that is open with ``end``."""
        if self.is_over:
            return
        self._stop_timer()
        self.state, self.reason = state, reason
        if self._open is not None:
            self._note_end(end, reason)
        self.call.note("return.ended", self._now, state=state, reason=reason)
        self._keep()
        self._desk.over(self)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _keep(self) -> None:
        attempts = tuple(attempt.saved() for attempt in self.attempts)
        saved = SavedReturn(self.state, self.reason, tuple(self._numbers), self._until, attempts)
        self.call.save_return(self._number, saved.shifted(-self._now))


def _untried(numbers: int) -> str:
    return f"; {numbers} number{' was' if numbers == 1 else 's were'} not tried" if numbers else ""
