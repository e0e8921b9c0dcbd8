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

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from audiosocket.asterisk.ari.events import ChannelEvent
from audiosocket.outbound.http_client import Answer, RequestFailed
from audiosocket.returncalls.backends.base import ChannelAttempt
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest

#: Seconds between two looks at a channel.
POLL_SECONDS = 0.25
#: Seconds without one good look at a channel after which the attempt is given up.
BLIND_SECONDS = 5.0

_UNRUNG = "ended without ringing: busy, not reachable or no such number (ARI does not tell which)"
_NOT_REPORTED = "ARI did not report how the call ended"
_UP, _RINGING = "Up", ("Ring", "Ringing")
#: HTTP statuses for a wrong user or password, and for a user who may not do that.
REFUSED = frozenset({401, 403})


class Ask(Protocol):
    """One request to ARI; raises `RequestFailed`."""

    async def __call__(self, method: str, path: str, body: Any = None, *, keep: bool = False) -> Answer: ...


class End(Protocol):
    """Ends a channel in the background; ``sure`` that it was made, so that its absence means it is gone."""

    def __call__(self, channel_id: str, *, sure: bool) -> None: ...


class ARIAttempt(ChannelAttempt):
    """One call to a resident through ARI.

    ``name`` is what people call this ARI; ``body`` is what creates the channel; ``receives_events`` tells whether
    ARI's events arrive at the moment.
    """

    def __init__(
        self,
        ask: Ask,
        end: End,
        clock: IReactorTime,
        request: ReturnRequest,
        channel_id: str,
        name: str,
        receives_events: Callable[[], bool],
        body: dict[str, Any],
    ) -> None:
        super().__init__(clock, request, channel_id)
        self._ask = ask
        self._end = end
        self._name = name
        self._receives_events = receives_events
        self._body = body
        #: Whether Asterisk may have the request, and whether it has created the channel.
        self._sent = self._created = False
        #: Channels whose ends may explain this one's: the other half of a Local channel, and what that dials.
        self._linked = {f"{channel_id};2"}

    def received(self, event: ChannelEvent) -> None:
        """Take note of an event, which may be of any of Asterisk's channels."""
        if event.channel == self.attempt_id:
            if event.kind == "ChannelDestroyed":
                self._builder.cause = event.cause
                self._ending()
            elif event.kind == "Dial":
                self._builder.dial_status = event.word
            elif event.word:
                self._note(event.word)
        elif event.channel in self._linked:
            explains = event.kind == "ChannelDestroyed" and self._builder.linked(event.cause)
            if explains and self._builder.cause is not None:
                self._ending()
        elif event.kind == "Dial" and event.caller in self._linked:
            self._linked.add(event.channel)

    async def _place(self) -> None:
        self._sent = True
        try:
            answer = await self._ask("POST", "channels", self._body)
        except RequestFailed as problem:
            self._sent = not problem.unsent
            self.give_up(f"{self._name} is not available: {problem}", unavailable=True)
            return
        if not 200 <= answer.status < 300:
            self._sent = answer.status in {502, 504}  # from a proxy, not from Asterisk
            refused = answer.status in REFUSED
            reason = refusal(self._name, answer) if refused else _not_placed(answer)
            self.give_up(reason, unavailable=refused)
            return
        self._created = True
        await self._follow()

    async def _follow(self) -> None:
        ends = self._clock.seconds() + self.request.ring_seconds
        seen = self._clock.seconds()
        while not self.finished:
            left = ends - self._clock.seconds()
            await deferLater(self._clock, max(0.0, min(POLL_SECONDS, left)))
            try:
                answer = await self._ask("GET", f"channels/{self.attempt_id}", keep=True)
            except RequestFailed as problem:
                state, why = None, str(problem)
            else:
                state, why = _channel_state(answer), f"it answers HTTP {answer.status}"
            now = self._clock.seconds()
            if state is not None:
                seen = now
                self._note(state)
            elif now - seen > BLIND_SECONDS:
                self.give_up(f"ARI was lost during the call: {why}")
            if now >= ends and not self.finished:
                self._in_vain(state)

    def _note(self, state: str) -> None:
        if state == _UP:
            self.finish(AttemptEnd.ANSWERED, "")
        elif state in _RINGING:
            self._builder.rang = True
        elif state == "":
            self._ending()

    def _ending(self) -> None:
        """The channel is gone; events may still follow that say why."""
        expected = self._receives_events() and self._builder.cause is None
        self._report_soon(complete=not expected and not self._builder.vague)

    def _report(self) -> None:
        if self._builder.cause is not None:
            self.interrupt(*self._builder.end(self.request.ring_seconds))
        elif self._builder.rang:
            self.finish(AttemptEnd.REFUSED, "the call was ended before it was answered")
        else:
            self.finish(AttemptEnd.BUSY, _UNRUNG)

    def _in_vain(self, state: str | None) -> None:
        """The ring time is over and the channel is still there, or nobody can tell."""
        if state is None:
            self.give_up(_NOT_REPORTED)
        elif state == "":
            self._report()
        else:
            self._end(self.attempt_id, sure=True)
            self.finish(AttemptEnd.NO_ANSWER, f"rang for {self.request.ring_seconds:g} s, nobody answered")

    def _late_result(self) -> AttemptResult:
        return AttemptResult(AttemptEnd.FAILED, _NOT_REPORTED)

    def _release(self) -> None:
        if self._sent:
            self._end(self.attempt_id, sure=self._created)


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
