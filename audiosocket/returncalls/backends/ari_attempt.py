"""One return call through ARI, followed by polling its channel.

The channel is polled four times a second, which works over broken connections. The cause of its end is only
in ARI's events on a WebSocket (``asterisk/ari/event_stream.py``), the same that AMI reports. Without that
connection the end is inferred:

* gone after it rang: *refused*; it may have been busy as well;
* gone without ringing: *busy*; a number that a trunk, or the dialplan of a Local channel, does not know looks
  alike.

A channel that exists until the ring time is over is *no answer*, and is hung up. A telephone that Asterisk does
not know *failed* at once. Without events, a resident who answers and hangs up between two polls is known to have
answered only if the leg arrived, see `ARIOriginator.answered`.
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

#: Seconds between two polls of a channel.
POLL_SECONDS = 0.25
#: Seconds without one answered poll after which the attempt is given up.
LOST_SECONDS = 5.0

_UNRUNG = "ended without ringing: busy, not reachable or no such number (ARI does not report which)"
_NOT_REPORTED = "ARI did not report how the call ended"
_UP, _RINGING = "Up", ("Ring", "Ringing")
#: HTTP statuses for a wrong user or password, and for a user who may not do that.
REFUSED = frozenset({401, 403})


class Ask(Protocol):
    """One request to ARI; raises `RequestFailed`."""

    async def __call__(self, method: str, path: str, body: Any = None, *, keep: bool = False) -> Answer: ...


class HangUp(Protocol):
    """Hangs a channel up in the background; if it was ``created`` for certain, its absence means it is gone."""

    def __call__(self, channel_id: str, *, created: bool) -> None: ...


class ARIAttempt(ChannelAttempt):
    """One call to a resident through ARI.

    ``name`` is that of the ARI in reasons; ``body`` creates the channel; ``receives_events`` returns whether ARI's
    events arrive at the moment.
    """

    def __init__(
        self,
        ask: Ask,
        hang_up: HangUp,
        clock: IReactorTime,
        request: ReturnRequest,
        channel_id: str,
        name: str,
        receives_events: Callable[[], bool],
        body: dict[str, Any],
    ) -> None:
        super().__init__(clock, request, channel_id)
        self._ask = ask
        self._hang_up = hang_up
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
            elif now - seen > LOST_SECONDS:
                self.give_up(f"ARI was lost during the call: {why}")
            if now >= ends and not self.finished:
                self._ring_time_over(state)

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

    def _ring_time_over(self, state: str | None) -> None:
        """End the attempt: the channel still exists, or its state is not known."""
        if state is None:
            self.give_up(_NOT_REPORTED)
        elif state == "":
            self._report()
        else:
            self._hang_up(self.attempt_id, created=True)
            self.finish(AttemptEnd.NO_ANSWER, f"rang for {self.request.ring_seconds:g} s, nobody answered")

    def _late_result(self) -> AttemptResult:
        return AttemptResult(AttemptEnd.FAILED, _NOT_REPORTED)

    def _release(self) -> None:
        if self._sent:
            self._hang_up(self.attempt_id, created=self._created)


def _channel_state(answer: Answer) -> str | None:
    """Return the state of a channel; empty when it does not exist, None when the answer has none."""
    if answer.status == 404:
        return ""
    try:
        state = json.loads(answer.body)["state"] if answer.status == 200 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return state if isinstance(state, str) and state else None


def refusal(name: str, answer: Answer) -> str:
    """Return the reason for an answer with one of the statuses `REFUSED`."""
    return f"{name} refuses the user or the password (HTTP {answer.status})"


def _not_placed(answer: Answer) -> str:
    try:
        content = json.loads(answer.body)
        message = content.get("message") or content.get("error") if isinstance(content, dict) else ""
    except (ValueError, RecursionError):
        message = ""
    text = "".join(c for c in str(message or "no reason given")[:200] if c.isprintable())
    return f"Asterisk did not place the call (HTTP {answer.status}): {text}"
