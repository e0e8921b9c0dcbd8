"""One return call through ARI, followed by asking for its channel.

The channel is looked at four times a second, which survives every broken connection. Why a channel vanished is
said by ARI only in its events on a WebSocket (`arievents`), at once, and with the causes that AMI has, too. While
there is no such connection the end is read from the channel's life:

* gone after it rang: *refused*; the telephone may as well have said busy while it rang;
* gone without ringing: *busy*; a number that a trunk, or a Local channel's dialplan, does not know looks the same.

A channel that is there until the ring time is over is *no answer*, and we end it. A telephone that Asterisk itself
does not know *failed* at once. Without events a resident who answers and hangs up between two looks is known to
have answered only if the leg arrived, see `ARIOriginator.answered`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ari.events import ChannelEvent
from audiosocket.outbound.http_client import Answer, RequestFailed
from audiosocket.returncalls.attempt_result import AttemptResultBuilder
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest

#: Seconds between two looks at a channel.
POLL_SECONDS = 0.25
#: Seconds without one good look at a channel after which the attempt is given up.
BLIND_SECONDS = 5.0
#: Seconds after the ring time in which a result is certain; the promise of `Originator.place` is 5.
GRACE_SECONDS = 4.5
#: Seconds in which the events of a channel's end follow each other, or its absence.
CAUSE_SECONDS = 1.0

_UNRUNG = "ended without ringing: busy, not reachable or no such number (ARI does not tell which)"
_UP, _RINGING = "Up", ("Ring", "Ringing")
#: HTTP statuses for a wrong user or password, and for a user who may not do that.
REFUSED = frozenset({401, 403})


class Ask(Protocol):
    """One request to ARI; raises `RequestFailed`."""

    async def __call__(self, method: str, path: str, body: Any = None, *, keep: bool = False) -> Answer: ...


class End(Protocol):
    """Ends a channel in the background; ``sure`` that it was made, so that its absence means it is gone."""

    def __call__(self, channel_id: str, *, sure: bool) -> None: ...


class ARIAttempt:
    """One call to a resident, from the request to its end; ``result`` fires once, and never with a failure.

    ``name`` is what people call this ARI; ``hears`` whether its events come in.
    """

    _log = Logger()

    def __init__(
        self,
        ask: Ask,
        end: End,
        clock: IReactorTime,
        request: ReturnRequest,
        channel_id: str,
        name: str,
        hears: Callable[[], bool],
    ) -> None:
        self.result: Deferred[AttemptResult] = Deferred(lambda _: self._cancelled())
        self.call_id = request.call_id
        self.channel_id = channel_id
        self._name = name
        self._hears = hears
        self._ask = ask
        self._end = end
        self._clock = clock
        self._ring_seconds = request.ring_seconds
        self._work: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        self._asked = False
        self._made = False
        self._clues = AttemptResultBuilder()
        #: Channels whose ends may tell why ours ended: the other half of a Local one, and whom that dials.
        self._linked = {f"{channel_id};2"}
        self._last_word: IDelayedCall | None = None

    def start(self, body: dict[str, Any]) -> None:
        """Every way from here ends in `finish`."""
        self._deadline = self._clock.callLater(self._ring_seconds + GRACE_SECONDS, self._too_late)
        self._work = Deferred.fromCoroutine(self._ring(body))
        self._work.addErrback(self._broke)

    def finish(self, end: AttemptEnd, reason: str, *, unavailable: bool = False) -> None:
        """Ends the attempt, once."""
        if self.result.called:
            return
        for timer in (self._deadline, self._last_word):
            if timer is not None and timer.active():
                timer.cancel()
        self.result.callback(AttemptResult(end, reason, unavailable))

    def interrupt(self, end: AttemptEnd, reason: str) -> None:
        """Ends the attempt from outside: what it was just asking ARI does not matter any more."""
        self.finish(end, reason)
        if self._work is not None:
            self._work.cancel()

    def heard(self, told: ChannelEvent) -> None:
        """Takes note of an event, whose channel may be any of Asterisk's."""
        if told.channel == self.channel_id:
            if told.kind == "ChannelDestroyed":
                self._clues.cause = told.cause
                self._ending()
            elif told.kind == "Dial":
                self._clues.dial_status = told.word
            elif told.word:
                self._note(told.word)
        elif told.channel in self._linked:
            telling = told.kind == "ChannelDestroyed" and self._clues.linked(told.cause)
            if telling and self._clues.cause is not None:
                self._ending()
        elif told.kind == "Dial" and told.caller in self._linked:
            self._linked.add(told.channel)

    async def _ring(self, body: dict[str, Any]) -> None:
        self._asked = True
        try:
            answer = await self._ask("POST", "channels", body)
        except RequestFailed as problem:
            self._asked = not problem.unsent
            self._give_up(f"{self._name} is not available: {problem}", unavailable=True)
            return
        if not 200 <= answer.status < 300:
            self._asked = answer.status in {502, 504}  # a proxy's words, not Asterisk's
            refused = answer.status in REFUSED
            reason = refusal(self._name, answer) if refused else _not_placed(answer)
            self._give_up(reason, unavailable=refused)
            return
        self._made = True
        await self._follow()

    async def _follow(self) -> None:
        ends = self._clock.seconds() + self._ring_seconds
        seen = self._clock.seconds()
        while not self.result.called:
            left = ends - self._clock.seconds()
            await deferLater(self._clock, max(0.0, min(POLL_SECONDS, left)))
            try:
                answer = await self._ask("GET", f"channels/{self.channel_id}", keep=True)
            except RequestFailed as problem:
                state, why = None, str(problem)
            else:
                state, why = _channel_state(answer), f"it answers HTTP {answer.status}"
            now = self._clock.seconds()
            if state is not None:
                seen = now
                self._note(state)
            elif now - seen > BLIND_SECONDS:
                self._give_up(f"ARI was lost during the call: {why}")
            if now >= ends and not self.result.called:
                self._in_vain(state)

    def _note(self, state: str) -> None:
        if state == _UP:
            self.finish(AttemptEnd.ANSWERED, "")
        elif state in _RINGING:
            self._clues.rang = True
        elif state == "":
            self._ending()

    def _ending(self) -> None:
        """It is gone; events may still say more of why."""
        if self.result.called:
            return
        more = self._hears() and self._clues.cause is None
        if not more and not self._clues.vague:
            self._tell()
        elif self._last_word is None:
            self._last_word = self._clock.callLater(CAUSE_SECONDS, self._tell)

    def _tell(self) -> None:
        if self._clues.cause is not None:
            self.interrupt(*self._clues.end(self._ring_seconds))
        elif self._clues.rang:
            self.finish(AttemptEnd.REFUSED, "the call was ended before it was answered")
        else:
            self.finish(AttemptEnd.BUSY, _UNRUNG)

    def _in_vain(self, state: str | None) -> None:
        """The ring time is over and the channel is still there, or nobody can tell."""
        if state is None:
            self._give_up("ARI did not say how the call ended")
        elif state == "":
            self._tell()
        else:
            self._end(self.channel_id, sure=True)
            self.finish(AttemptEnd.NO_ANSWER, f"rang for {self._ring_seconds:g} s, nobody answered")

    def _broke(self, failure: Failure) -> None:
        if not failure.check(defer.CancelledError):
            self._log.failure("following a return call failed", failure)
        self._give_up("the attempt was interrupted")

    def _give_up(self, reason: str, *, unavailable: bool = False) -> None:
        if not self.result.called:
            self._let_go()
            self.finish(AttemptEnd.FAILED, reason, unavailable=unavailable)

    def _too_late(self) -> None:
        self._let_go()
        self.interrupt(AttemptEnd.FAILED, "ARI did not say how the call ended")

    def _cancelled(self) -> None:
        self._let_go()
        self.interrupt(AttemptEnd.CANCELLED, "cancelled")

    def _let_go(self) -> None:
        """Has the channel ended that may have been made."""
        if self._asked:
            self._end(self.channel_id, sure=self._made)


def _channel_state(answer: Answer) -> str | None:
    """The state of a channel; empty when there is none, None when the answer does not say."""
    if answer.status == 404:
        return ""
    try:
        state = json.loads(answer.body)["state"] if answer.status == 200 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return state if isinstance(state, str) and state else None


def refusal(name: str, answer: Answer) -> str:
    """Why the ARI that people call ``name`` gave one of the statuses `REFUSED`."""
    return f"{name} refuses the user or the password (HTTP {answer.status})"


def _not_placed(answer: Answer) -> str:
    try:
        said = json.loads(answer.body)
        message = said.get("message") or said.get("error") if isinstance(said, dict) else ""
    except (ValueError, RecursionError):
        message = ""
    text = "".join(c for c in str(message or "no reason given")[:200] if c.isprintable())
    return f"Asterisk did not place the call (HTTP {answer.status}): {text}"
