"""One return call: its attempts in order, its end, and how it continues after a restart.

The journal has one record for each change, with the whole numbers: the next process may have to ring those that
are left. A killed process leaves telephones ringing, so after a restart the next number is rung only when the ring
time and the window for the resident's leg are over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

#: States of a return call that has ended.
ENDED = frozenset({"connected", "failed", "cancelled"})
#: Seconds between a leg that pressed no key and the next number.
UNCONFIRMED_SECONDS = 2.0


@dataclass(frozen=True)
class ReturnContext:
    """What all return calls share.

    ``ring_seconds`` is how long a number rings, ``window_seconds`` how long after the answer the leg may take to
    arrive. ``new_id`` returns the ids of attempts. ``ended`` receives each return call that has ended.
    """

    originator: Originator | None
    clock: IReactorTime
    ring_seconds: float
    window_seconds: float
    caller_id: str
    #: Whether a leg must press a key before it is the resident's.
    confirm: bool
    new_id: Callable[[], str]
    ended: Callable[[ReturnCall], None]


class ReturnCall:
    """One return call, the ``number``-th of its call; ``numbers`` have not been tried yet."""

    _log = Logger()

    def __init__(
        self,
        context: ReturnContext,
        call: Call,
        numbers: Sequence[str],
        number: int = 1,
        originator: Originator | None = None,
    ) -> None:
        self.call = call
        #: "ringing", then "answered" until the leg arrives; after a restart perhaps "waiting" for the visitor.
        self.state = "ringing"
        self.reason = ""
        self.attempts: list[Attempt] = []
        self._context = context
        self._own_originator = originator
        self._number = number
        self._numbers = list(numbers)
        self._ringing: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        #: When it stops ringing, or the leg may no longer come, in steady seconds.
        self._until = 0.0
        #: A leg is there that has not pressed a key: perhaps a mailbox.
        self._confirming = False

    @classmethod
    def restored(cls, context: ReturnContext, call: Call, saved: SavedReturn, number: int) -> ReturnCall:
        """Return the return call that the journal has, in steady time."""
        return_call = cls(context, call, saved.numbers, number)
        return_call.state, return_call.reason, return_call._until = saved.state, saved.reason, saved.until
        return_call.attempts = [restored(attempt) for attempt in saved.attempts]
        return return_call

    def to_json(self, now: float) -> ReturnCallJSON:
        """Return it for the API, with whole numbers; durations in seconds."""
        attempts = [attempt.to_json(now) for attempt in self.attempts]
        return {"state": self.state, "reason": self.reason, "attempts": attempts}

    def as_event(self, now: float) -> ReturnCallJSON:
        """Return it for the event that ends the call, with masked numbers."""
        return {**self.to_json(now), "attempts": [attempt.as_event(now) for attempt in self.attempts]}

    @property
    def outcome(self) -> ReturnOutcome:
        """What apps receive at its end."""
        tried = [(one.number, "" if one.end is None else one.end.value, one.reason) for one in self.attempts]
        return ReturnOutcome(self.state, self.reason, tuple(ReturnAttempt(*one) for one in tried))

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def expects_leg(self) -> bool:
        """Whether a telephone rings, or was answered and its leg has not arrived yet."""
        return self.state in {"ringing", "answered"}

    def start(self) -> None:
        """Ring the first number."""
        self.call.note("return.started", self._now, numbers=len(self._numbers))
        self._next()

    def cancel(self, reason: str) -> None:
        """Stop the ringing, or stop waiting for the leg."""
        if self.has_ended:
            return
        stop = self._stopper()
        self._end("cancelled", reason, AttemptEnd.CANCELLED)
        stop()

    def connected(self) -> None:
        """End it because the leg has arrived, perhaps before the backend has reported the answer."""
        self._end("connected", "", AttemptEnd.ANSWERED)

    def arrived(self) -> None:
        """A leg is there, but nobody has pressed a key yet: it may be that of a mailbox."""
        self._stop_timer()
        self._confirming = True
        self.state, self._until = "answered", self._now + self._context.window_seconds
        self._save()

    def unconfirmed(self, reason: str) -> None:
        """That leg is over, and no key was pressed: ring the next number.

        Not at once: the dialplan presents the UUID of a leg that was hung up again, and must find nobody waiting.
        """
        if self.has_ended or not self._confirming:
            return
        self._confirming = False
        if self._open is not None:
            self._note_end(AttemptEnd.NO_ANSWER, reason)
        if self._originator is not None:
            self._originator.stop(self._request(self.attempts[-1]))
        if self._numbers:
            self._wait(reason)
            self._timer = self._context.clock.callLater(UNCONFIRMED_SECONDS, self._continue)
        else:
            self._end("failed", reason, AttemptEnd.NO_ANSWER)

    # restarts

    def interrupt(self) -> None:
        """Stop the ringing because the process stops; the next one rings this number again.

        The leg of a resident who has answered arrives by itself: the dialplan tries until a server is there.
        """
        self._stop_timer()
        if self._open is not None and self.state == "ringing":
            stop = self._stopper()
            self._numbers.insert(0, self._open.number)
            self._note_end(AttemptEnd.CANCELLED, "the server stopped")
            self._wait("the server stopped")
            stop()

    def leave(self) -> None:
        """Forget it without a word, because another node goes on with its call: what rings is left ringing."""
        self._stop_timer()
        self._ringing = None
        self.state, self.reason = "cancelled", "another node has the call"

    def resume(self) -> None:
        """Continue after a restart: wait for the leg of what may be ringing, or ring the next number.

        No leg could arrive while no server was listening, so the window begins now. A clock that was set meanwhile
        makes neither time longer.
        """
        if self.has_ended:
            return
        if self.state == "answered":
            self._wait_for_leg(self._context.window_seconds)
        elif self._open is not None:
            rings_on = min(max(0.0, self._until - self._now), self._context.ring_seconds)
            self._wait_for_leg(rings_on + self._context.window_seconds)
        else:
            self._continue()

    def visitor_resumed(self) -> None:
        """Ring the next number if that waited for the visitor's leg to resume."""
        if self.state == "waiting":
            self._continue()

    def _continue(self) -> None:
        visitor = self.call.legs.get(Role.VISITOR)
        if visitor is not None and visitor.suspended and self._numbers:
            self._wait("the visitor has not resumed after the restart")
        else:
            self._next()

    def _wait(self, reason: str) -> None:
        self.state, self.reason = "waiting", reason
        self._save()

    # one attempt after the other

    @property
    def _now(self) -> float:
        return self._context.clock.seconds()

    @property
    def _originator(self) -> Originator | None:
        """Who rings: its own, if it was given one, else the backend."""
        return self._own_originator or self._context.originator

    @property
    def _open(self) -> Attempt | None:
        """The attempt that has not ended."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].end is None else None

    def _next(self) -> None:
        """Ring the next number; without one, end as the last attempt did."""
        originator = self._originator
        if originator is None or not self._numbers:
            reason = "return calls are no longer configured" if self._numbers else self._why_failed()
            self._end("failed", reason, AttemptEnd.FAILED)
            return
        attempt = Attempt(self._numbers.pop(0), self._now, self._context.new_id())
        self.attempts.append(attempt)
        self.state, self.reason, self._until = "ringing", "", self._now + self._context.ring_seconds
        self._save()  # before it rings, so that a later process knows of it
        placed = originator.place(self._request(attempt))
        ended = placed.addErrback(self._failed).addCallback(self._attempt_ended, attempt)
        if not self.has_ended and attempt.end is None:
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
            self._context.ring_seconds,
            self._context.caller_id,
            attempt_id=attempt.attempt_id,
            row={"ramal": extension.number, "condominio": str(extension.condominium_id)},
        )

    def _failed(self, failure: Failure) -> AttemptResult:
        """Return a result although `Originator` promises no failures: a bug must not leave the call waiting."""
        if failure.check(CancelledError):
            return AttemptResult(AttemptEnd.CANCELLED)
        self._log.failure("the backend of return calls failed", failure)
        return AttemptResult(AttemptEnd.FAILED, "unexpected error, see the log")

    def _attempt_ended(self, result: AttemptResult, attempt: Attempt) -> None:
        if self.has_ended or attempt.end is not None or self._confirming:
            return  # the leg arrived, or it was stopped, before the backend reported
        if result.end is not AttemptEnd.ANSWERED or not self._context.confirm:
            self._note_end(result.end, result.reason)
        if result.end is AttemptEnd.ANSWERED:
            self.state, self._ringing = "answered", None
            self._wait_for_leg(self._context.window_seconds)
        elif result.end is AttemptEnd.CANCELLED:
            self._end("cancelled", result.reason, result.end)
        elif result.unavailable:
            self._end("failed", result.reason + _untried(len(self._numbers)), result.end)
        else:
            self._next()

    def _wait_for_leg(self, seconds: float) -> None:
        if self.state == "answered":
            self._until = self._now + seconds
            self._save()
        self._timer = self._context.clock.callLater(seconds, self._no_leg)

    def _no_leg(self) -> None:
        if self._originator is not None:  # its leg would be refused from now on
            self._originator.stop(self._request(self.attempts[-1]))
        if self._open is not None and self.state == "ringing":  # its attempt began before the restart
            self._note_end(AttemptEnd.FAILED, "the server was restarted while it rang, and no leg arrived")
            self._continue()
            return
        port = self.call.extension.return_port
        reason = (
            f"the resident answered, but no leg arrived on return port {port} within "
            f"{self._context.window_seconds:g} s; does the dialplan have the return extension?"
        )
        self._end("failed", reason, AttemptEnd.FAILED)

    def _stopper(self) -> Callable[[], object]:
        """Return a function that stops what rings now, also if the previous process placed it.

        An answered channel is left alone: its leg is about to connect, and is then refused; hanging it up
        meanwhile makes Asterisk log an error.
        """
        if self._ringing is not None:
            return self._ringing.cancel
        originator = self._originator
        if originator is None or self._open is None:
            return lambda: None
        return functools.partial(originator.stop, self._request(self.attempts[-1]))

    def _note_end(self, end: AttemptEnd, reason: str) -> None:
        attempt, self._ringing = self.attempts[-1], None
        attempt.end, attempt.reason, attempt.ended = end, reason, self._now
        self.call.note("return.attempt", self._now, **attempt.as_event(self._now))

    def _end(self, state: str, reason: str, end: AttemptEnd) -> None:
        """End it, unless it has ended; an open attempt gets ``end``."""
        if self.has_ended:
            return
        self._stop_timer()
        self.state, self.reason = state, reason
        if self._open is not None:
            self._note_end(end, reason)
        self.call.note("return.ended", self._now, state=state, reason=reason)
        self._save()
        self._context.ended(self)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def saved(self) -> SavedReturn:
        """Return it for the next process, in steady time."""
        attempts = tuple(attempt.saved() for attempt in self.attempts)
        return SavedReturn(self.state, self.reason, tuple(self._numbers), self._until, attempts)

    def _save(self) -> None:
        self.call.save_return(self._number, self.saved().shifted(-self._now))


def _untried(numbers: int) -> str:
    return f"; {numbers} number{' was' if numbers == 1 else 's were'} not tried" if numbers else ""
