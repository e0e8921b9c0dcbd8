"""A leg's conversation with one bot: connect, talk, marks, barge-in, drain, and why it ended.

The session knows no dialect: it acts on the events of a `Dialect` and asks it for messages. Whatever goes wrong
costs this leg only: it is reported once to ``gave_up``, with a reason that may be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.bots.audio_path import Uplink
from audiosocket.bots.call_commands import BotCommands
from audiosocket.bots.connecting import Attempts
from audiosocket.bots.events import (
    BargeIn,
    BotEvent,
    Clear,
    CommandRequested,
    Dialect,
    DrainRequested,
    HangUp,
    Ignored,
    MakeDialect,
    MarkRequested,
    Message,
    Pause,
    Ready,
    Reply,
    Speech,
    StatusRequested,
    Transcript,
)
from audiosocket.bots.hold_prompt import HoldPrompt
from audiosocket.bots.latency import Latency
from audiosocket.bots.limits import MessageLimits, Timers
from audiosocket.bots.parameters import BotParameters
from audiosocket.bots.playback import MAX_QUEUED_MS, Playback
from audiosocket.bots.uplink_pace import UplinkPace
from audiosocket.errors import AudioSocketError
from audiosocket.interfaces import AppContext, Leg, WebSocket
from audiosocket.media.lazy_imports import stream_converter
from audiosocket.outbound.websocket_interface import MESSAGE_TOO_BIG, NORMAL_CLOSURE, WebSocketFailed

#: What is queued when the bot is done is heard for so long at most, in seconds.
DRAIN_SECONDS = 10.0
#: Bytes that may wait for a bot that does not read.
MAX_UNSENT_BYTES = 1_000_000
#: A normal end so soon after the beginning, without a word, is a refusal.
AT_ONCE_MS = 1_000
_POLICY_VIOLATION = 1008


class BotSession:
    """Implements `WebSocketObserver`, and `Tap` as a clock of 20 ms.

    ``make_dialect`` is called when a connection is open. ``gave_up`` is called once with the reason why the bot
    does not go on; not after a normal end or `stop`. ``allowed`` are the commands of the bot, None for all.
    ``transcript`` is called with "caller" or "bot", and what was said.
    """

    _log = Logger()

    def __init__(
        self,
        leg: Leg,
        bot: BotParameters,
        url: str,
        headers: dict[str, str],
        make_dialect: MakeDialect,
        context: AppContext,
        *,
        gave_up: Callable[[str], None],
        allowed: frozenset[str] | None = None,
        transcript: Callable[[str, str], None] = lambda speaker, text: None,
    ) -> None:
        self._leg = leg
        self._bot = bot
        self._context = context
        self._make_dialect = make_dialect
        self._gave_up = gave_up
        self._transcript = transcript
        self._commands = BotCommands(leg, context, allowed)
        self._began_ms = leg.now_ms
        self._attempts = Attempts(bot, url, headers, context, self, lambda: leg.now_ms / 1000)
        self._latency = Latency(leg.now_ms, context.measure, self._show)
        self._connecting: Deferred[Any] | None = None
        self._socket: WebSocket | None = None
        self._dialect: Dialect | None = None
        self._opened_ms = 0.0
        self._uplink: Uplink | None = None
        self._pace = UplinkPace()
        self._hold = HoldPrompt(leg, bot.hold_file, context.sounds)
        self._playback = Playback(leg, self._hold, self._latency)
        self._draining = False
        self._timers = Timers(context.call_later)
        self._limits = MessageLimits()
        self._ignored = 0
        self.over = False

    # what the app does

    def start(self) -> None:
        """Begin to connect; the caller hears the hold prompt, or silence."""
        self._leg.tap(self)
        self._hold.start()
        self._connecting = self._run(self._connect(), "connecting")

    def hear(self, pcm: bytes, rate: int) -> None:
        """A frame came from the caller."""
        uplink = self._uplink
        if uplink is None or self.over:
            return
        now = self._leg.now_ms
        self._latency.heard(now, pcm, rate)
        if not self._pace.take(now, len(pcm) * 500 / rate):
            return
        payload = uplink.feed(pcm, rate)
        if payload:
            self._send_audio(payload)

    def digit(self, digit: str) -> None:
        """The caller pressed a key."""
        if self._dialect is not None and self._uplink is not None:
            self._send_all(self._dialect.digit(digit))

    def marked(self, name: str) -> None:
        """All audio before a mark of the leg has been played; names of others are ignored."""
        if not self.over:
            self._playback.marked(name)

    def notice(self, fields: dict[str, Any]) -> None:
        """Send news of the call to a bot whose dialect has a message for it."""
        notice = getattr(self._dialect, "notice", None)
        if notice is not None:
            self._send_all(notice(fields))

    def stop(self) -> None:
        """The leg is over: take leave of the bot."""
        if not self.over:
            self._end(NORMAL_CLOSURE)

    # Tap: a frame was written, about every 20 ms

    def received(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """See `Tap`; `hear` is called for the same frame."""

    def sent(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """See `Tap`."""
        uplink, dialect = self._uplink, self._dialect
        if uplink is None or dialect is None or self.over:
            return
        if self._pace.fill(now_ms):
            payload = uplink.feed(bytes(rate // 50 * 2), rate)
            if payload:
                self._send_audio(payload)
        self._playback.tick(now_ms)
        if dialect.has_flow_control:
            self._send_all(dialect.pressure(self._leg.queued_ms))

    # WebSocketObserver

    def opened(self) -> None:
        """See `WebSocketObserver`."""
        self._socket = self._attempts.socket
        self._opened_ms = self._leg.now_ms
        self._dialect = dialect = self._make_dialect(self._attempts.count - 1)
        self._send_all(dialect.opening())
        ready = dialect.ready()
        if ready is None:
            self._timers.set(
                "answer", self._bot.connect_seconds, self._give_up, "it did not answer the session's settings"
            )
        else:
            self._act(ready)

    def message(self, message: Message) -> None:
        """See `WebSocketObserver`."""
        dialect = self._dialect
        if dialect is None or self.over or not self._keeps(self._limits.message(self._leg.now_ms)):
            return
        for event in dialect.receive(message):
            if self.over:
                return
            self._act(event)

    def closed(self, code: int, reason: str) -> None:
        """See `WebSocketObserver`."""
        self._socket = None
        if self.over:
            return
        if self._draining:  # it has said its last word
            self._uplink = None
            return
        at_once = not self._playback.spoke and self._leg.now_ms - self._opened_ms < AT_ONCE_MS
        if code == NORMAL_CLOSURE and not at_once:
            self._uplink = None
            self._drain()
        elif code == MESSAGE_TOO_BIG:
            self._give_up(f"a limit was broken: {reason}")
        elif code == NORMAL_CLOSURE:
            self._give_up("it closed the connection at once, without a word")
        else:
            self._give_up(f"it closed the connection ({code}{f', {reason}' if reason else ''})")

    # connecting

    async def _connect(self) -> None:
        try:
            await self._attempts.run()
        except (WebSocketFailed, AudioSocketError) as problem:
            self._give_up(str(problem))
        except CancelledError:
            return

    def _run(self, work: Any, what: str) -> Deferred[Any]:
        def failed(failure: Failure) -> None:
            self._log.failure("{what} failed", failure, what=what)
            self._give_up(f"{what} failed")

        return Deferred.fromCoroutine(work).addErrback(failed)

    # what the bot says

    def _act(self, event: BotEvent) -> None:
        _ACTIONS[type(event)](self, event)

    def _on_mark(self, event: MarkRequested) -> None:
        if self._keeps(self._limits.mark(event.name, self._playback.waiting_marks)):
            self._playback.mark(lambda: self._mark_played(event.name), droppable=True)

    def _mark_played(self, name: str) -> None:
        if self._dialect is not None:
            self._send_all(self._dialect.mark_played(name))

    def _on_drain_request(self, event: DrainRequested) -> None:
        if self._keeps(self._limits.question(self._leg.now_ms)):
            self._playback.flush()
            self._playback.mark(self._drained)

    def _on_status_request(self, event: StatusRequested) -> None:
        if self._keeps(self._limits.question(self._leg.now_ms)) and self._dialect is not None:
            self._send_all(self._dialect.status(self._leg.queued_ms, self._playback.paused))

    def _on_command(self, event: CommandRequested) -> None:
        self._run(self._command(event), "a command")

    def _on_ignored(self, event: Ignored) -> None:
        self._ignored += 1
        if self._ignored == 1:
            self._log.warn("{leg}: a message of the bot is ignored: {why}", leg=self._leg, why=event.reason)

    def _ready(self, event: Ready) -> None:
        now = self._leg.now_ms
        first = self._uplink is None
        if first or self._uplink is None or self._uplink.format != event.format:
            self._uplink = Uplink(event.format, stream_converter)
        if first and not self._draining:
            self._timers.cancel("answer")
            self._pace.start(now)
            self._latency.connected(now, now - self._began_ms)
            self._show()
            count = self._attempts.count
            self._leg.note("bot.connected", connect_ms=round(now - self._began_ms), attempts=count)

    def _speak(self, event: Speech) -> None:
        if self._keeps(self._limits.name(event.item)) and not self._playback.speak(event):
            self._give_up(f"a limit was broken: more than {MAX_QUEUED_MS // 1000} s of audio are queued")

    def _clear(self, event: Clear) -> None:
        self._playback.clear(marks_returned=event.marks_returned)
        self._show()

    def _barge_in(self, event: BargeIn) -> None:
        for item, heard_ms in self._playback.barge_in():
            if self._dialect is not None:
                self._send_all(self._dialect.truncated(item, heard_ms))
        self._show()

    def _drained(self) -> None:
        if self._dialect is not None:
            self._send_all(self._dialect.drained())

    async def _command(self, event: CommandRequested) -> None:
        answer = await self._commands.run(event.name, event.arguments)
        if self._dialect is not None and not self.over:
            self._send_all(self._dialect.result(event.command_id, answer.error, answer.values))
        if answer.hang_up:
            self._drain()

    def _keeps(self, broken: str) -> bool:
        """Give up for a limit that was ``broken``; empty for none."""
        if broken:
            self._give_up(f"a limit was broken: {broken}")
        return not broken

    # towards the bot

    def _send_audio(self, payload: bytes) -> None:
        socket, dialect = self._socket, self._dialect
        if socket is None or dialect is None or not socket.is_open:
            return
        if socket.send(dialect.audio(payload)) > MAX_UNSENT_BYTES:
            self._give_up("it does not read what it is sent")

    def _send(self, message: Message) -> None:
        socket = self._socket
        if socket is not None and socket.is_open:
            socket.send(message)

    def _send_all(self, messages: list[Message]) -> None:
        for message in messages:
            self._send(message)

    # the end

    def _drain(self) -> None:
        """Hang up when all that is queued has been heard, after `DRAIN_SECONDS` at the latest."""
        if self._draining or self.over:
            return
        self._draining = True
        self._timers.set("drain", DRAIN_SECONDS, self._leg.hang_up)
        self._playback.finish(self._leg.hang_up)

    def _give_up(self, reason: str) -> None:
        if self.over:
            return
        self._end(_POLICY_VIOLATION)
        self._gave_up(reason)

    def _end(self, code: int) -> None:
        self.over = True
        self._timers.cancel_all()
        self._attempts.cancel()
        socket, dialect = self._socket, self._dialect
        self._socket = None
        if socket is not None and dialect is not None and socket.is_open:
            for message in dialect.closing():
                socket.send(message)
            socket.close(code)
        self._playback.forget()
        self._latency.ended()
        self._show()

    def _show(self) -> None:
        self._leg.show({"bot": self._latency.to_json()})


_ACTIONS: Mapping[type, Callable[[BotSession, Any], None]] = {
    BargeIn: BotSession._barge_in,
    Clear: BotSession._clear,
    CommandRequested: BotSession._on_command,
    DrainRequested: BotSession._on_drain_request,
    HangUp: lambda session, event: session._drain(),
    Ignored: BotSession._on_ignored,
    MarkRequested: BotSession._on_mark,
    Pause: lambda session, event: session._playback.pause(event.paused),
    Ready: BotSession._ready,
    Reply: lambda session, event: session._send(event.message),
    Speech: BotSession._speak,
    StatusRequested: BotSession._on_status_request,
    Transcript: lambda session, event: session._transcript(event.speaker, event.text),
}
