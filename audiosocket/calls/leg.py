"""A leg: a place in a call that outlives its connection.

It joins what comes from the wire to the apps, and the apps' audio to the clock. When Asterisk comes
back with the same UUID, only the connection beneath is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.python.failure import Failure

from audiosocket.calls.async_hooks import AsyncHooks
from audiosocket.calls.call import Call, LegState
from audiosocket.calls.leg_api import Connection, LegBase, Residents
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.interfaces import App, CallerInfo, HookResult, ReturnOutcome
from audiosocket.media.codec_probe import DECODERS, CodecProbe
from audiosocket.media.playout import Frame, Playout
from audiosocket.media.playout_queue import Converter, MarkReached
from audiosocket.transport.clock import MediaClock
from audiosocket.wire import HEADER_BYTES, Audio, Digit, Event, HungUp, Ignored, PeerError, audio_header

#: The rate of kind 0x10, under which other codecs arrive when the dialplan forgets ``c(slin)``.
G711_RATE = 8_000
#: Frames that may wait for their turn on the other leg, in milliseconds: two people notice more than that.
CONNECTED_WAIT_MS = 200
#: Under this name a call remembers which apps a leg runs since one was replaced: no app has it.
REPLACED = ""
#: Changes of the sample rate worth an event, per leg; a peer that changes it with every frame is not.
RATE_NOTES_MOST = 20


def _no_replacement(call: Call, spec: str) -> Sequence[tuple[str, App]]:
    raise LookupError(f"no app {spec!r} is known here")


def _no_other(leg: Leg) -> Leg | None:
    return None


class Leg(LegBase):
    """One visitor or resident in one call."""

    __slots__ = (
        "__weakref__",
        "_decode",
        "_ears",
        "_failed",
        "_find_other",
        "_handed_over",
        "_hooks",
        "_introduced",
        "_mislabelled",
        "_other",
        "_over",
        "_probe",
        "_rate_changes",
        "_replace",
        "_sure",
    )

    def __init__(
        self,
        call: Call,
        record: LegState,
        apps: Sequence[tuple[str, App]],
        *,
        clock: MediaClock,
        make_converter: Callable[[int, int], Converter],
        over: Callable[[Leg, LegOutcome], None],
        failed: Callable[[Leg], None],
        mislabelled: Callable[[Leg, str], None],
        replace: Callable[[Call, str], Sequence[tuple[str, App]]] = _no_replacement,
        find_other: Callable[[Leg], Leg | None] = _no_other,
        residents: Residents | None = None,
    ) -> None:
        super().__init__(call, record, apps, Playout(make_converter), clock, residents)
        self._over = over
        self._failed = failed
        self._mislabelled = mislabelled
        self._replace = replace
        self._find_other = find_other
        #: The other leg of the call while their audio is passed on to each other.
        self._other: Leg | None = None
        #: Apps that handed this leg over.
        self._handed_over: tuple[App, ...] = ()
        #: The coroutines of apps whose hooks are coroutines, by app; most have none.
        self._hooks: dict[str, AsyncHooks] | None = None
        #: How many of the apps know of this leg: those whose `joined` was called.
        self._introduced = 0
        self._rate_changes = 0
        #: Looks at frames of kind 0x10, from the first one until it is sure of their codec.
        self._probe: CodecProbe | None = None
        self._sure = False
        self._decode: Callable[[bytes], bytes] | None = None
        #: The apps that listen, and their names.
        self._ears: tuple[tuple[str, App], ...] = ()

    # what the switchboard does

    @property
    def connection(self) -> Connection | None:
        """The connection in use; None once the leg is over."""
        return self._connection

    @property
    def playout(self) -> Playout:
        """The outgoing queue and its counters."""
        return self._playout

    def start(self, connection: Connection) -> None:
        """The first connection is there: audio flows from now on, silence unless an app has something to say."""
        self._connect(connection)
        for one in self._apps:
            if self._connection is None:
                return  # the app before this one hung up
            self._introduce(one)
            name, app = one
            self._call(name, app.joined, self)
        self._first_turn()

    def restart(self, connection: Connection, states: Mapping[str, Any]) -> None:
        """The first connection after a restart of the server; ``states`` is what apps remembered, by name."""
        self._connect(connection)
        for one in self._apps:
            if self._connection is None:
                return
            self._introduce(one)
            name, app = one
            self._call(name, app.restored, self, states.get(name))
            if self._connection is not None:
                self._call(name, app.resumed, self)
        self._first_turn()

    def resume(self, connection: Connection) -> None:
        """A new connection takes over; the old one is sent away, the queue goes on."""
        old = self._connection
        self._clock.discard(self)
        self._connect(connection)
        if old is not None:
            old.finish()
        self._first_turn()
        self._tell(lambda app: app.resumed(self))

    def identify(self, caller: CallerInfo) -> None:
        """It is known who is on the leg."""
        self.record.caller = caller
        self._tell(lambda app: app.identified(self, caller))

    def return_ended(self, outcome: ReturnOutcome) -> None:
        """The return call for this visitor is over."""
        self._tell(lambda app: app.return_ended(self, outcome))

    def other_gone(self, ending: LegOutcome) -> None:
        """The other leg was there before a restart and is over; the apps may not have seen it go."""
        self._tell(lambda app: app.other_gone(self, ending.value))

    def _introduce(self, one: tuple[str, App]) -> None:
        self._introduced += 1
        if getattr(one[1].audio, "__func__", None) is not App.audio:
            self._ears += (one,)

    def hand_over(self, app: App, to: str, reason: str) -> None:
        at = next((at for at, (_, known) in enumerate(self._apps) if known is app), None)
        if at is None or self._connection is None:
            return
        name = self._apps[at][0]
        self.clear()
        self.pause(False)
        try:
            new = self._replace(self.call, to)
        except Exception:  # noqa: BLE001 - such as an app that was uninstalled
            self._app_failed(name)
            return
        self._handed_over += (app,)
        self.note("app.replaced", app=name, to=to, reason=reason)
        if any(one is gone for _, one in new for gone in self._handed_over):
            self.end(LegOutcome.SERVER_HANGUP)
            return
        known = [one for _, one in self._apps]
        new = [pair for pair in new if pair[1] not in known]
        if self._hooks is not None and name in self._hooks:
            self._hooks.pop(name).cancel()
        self._ears = tuple(pair for pair in self._ears if pair[1] is not app)
        self._apps = (*self._apps[:at], *new, *self._apps[at + 1 :])
        self._introduced -= 1
        kept = "+".join(name for name, _ in self._apps)
        self.call.remember(self.role, REPLACED, {"apps": kept})
        for pair in new:
            if self._connection is None:
                return
            self._introduce(pair)
            self._call(pair[0], pair[1].joined, self)
            if self._connection is not None and self.record.caller is not None:
                self._call(pair[0], pair[1].identified, self, self.record.caller)
        if any(each.passes_on for _, each in new):
            self._read_on_tick(False)

    def connect_other(self, connected: bool) -> bool:
        if not connected:
            was = self._other
            self._part()
            return was is not None
        other = self._find_other(self)
        if other is None or other.connection is None or self._connection is None:
            return False
        if self._other is not other:
            self._other, other._other = other, self
            self.note("bridge.started")
        return True

    def _part(self) -> None:
        other, self._other = self._other, None
        if other is not None:
            other._other = None
            self.note("bridge.ended")

    def _run_hook(self, name: str, result: object) -> None:
        if not isinstance(result, Coroutine):
            return
        if self._hooks is None:
            self._hooks = {}
        hooks = self._hooks.get(name)
        if hooks is None:
            hooks = self._hooks[name] = AsyncHooks(partial(self._hook_failed, name))
        hooks.add(result)

    def _hook_failed(self, name: str, failure: Failure) -> None:
        if self._connection is None:
            self._log.failure("{name} raised after the end of {leg}", failure, name=name, leg=self)
        else:
            self._app_failed(name, failure)

    def _connect(self, connection: Connection) -> None:
        self._connection = connection
        now = self._clock.now_ms()
        self.record.last_heard = now / 1000
        self._playout.start(now)
        if not self._looping:
            self._clock.add(self)

    def _first_turn(self) -> None:
        """Send the first frame at once: an Asterisk that hears nothing plays nothing, not even silence."""
        if self._connection is not None and not self._looping:
            self._read_on_tick(not any(app.passes_on for _, app in self._apps))
            self.tick(self._clock.now_ms())

    def end(self, ending: LegOutcome) -> None:
        """The leg is over, for this first reason; the books are closed, the peer is told, the apps are told."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._clock.discard(self)
        self._playout.clear()
        self._taps = ()
        self._part()
        for hooks in (self._hooks or {}).values():
            hooks.cancel()
        # The books, and with them the journal, come before the goodbye: killed between the two we would otherwise
        # resume a call that is over for its caller.
        self._over(self, ending)
        connection.finish()
        self._tell(lambda app: app.left(self, ending.value), even_when_over=True)

    # what the wire says

    def heard(self, data: bytes, shape: tuple[int, int]) -> None:
        """Ordinary frames of the connection in use; ``shape`` is their rate and their length with the header."""
        connection = self._connection
        if connection is None:
            return
        record = self.record
        record.last_heard = now = self._seconds()
        rate, size = shape
        if self._looping and not self._taps and rate == self._playout.rate:
            count = len(data) // size
            record.frames_in += count
            if connection.send_frames(data):
                record.frames_out += count
        elif len(data) == size:
            self._heard(now * 1000, data[HEADER_BYTES:], rate)
        else:
            for at in range(HEADER_BYTES, len(data), size):
                self._heard(now * 1000, data[at : at + size - HEADER_BYTES], rate)

    def received(self, event: Event) -> None:
        """A message from the connection in use."""
        if self._connection is None:
            return
        now = self._clock.now_ms()
        self.record.last_heard = now / 1000
        if isinstance(event, Audio):
            self._heard(now, event.pcm, event.rate)
        elif isinstance(event, Digit):
            self.record.digits += 1
            self.note("leg.digit", digit=event.digit)
            self._tell(lambda app: app.digit(self, event.digit))
        elif isinstance(event, HungUp):
            self.end(LegOutcome.CALLER_HANGUP)
        elif isinstance(event, PeerError):
            self.end(LegOutcome.PEER_ERROR)
        elif isinstance(event, Ignored):
            self.record.ignored += 1

    def disconnected(self, connection: Connection, ending: LegOutcome) -> None:
        """A connection is gone; only news of the one in use matter."""
        if connection is self._connection:
            self.end(ending)

    def _heard(self, now: float, pcm: bytes, rate: int) -> None:
        if self._connection is None:
            return
        self.record.frames_in += 1
        if rate != self._playout.rate:
            self._playout.set_rate(rate)
            self.record.rate = rate
            self._rate_changes += 1
            if self._rate_changes <= RATE_NOTES_MOST:
                self.note("leg.rate", rate=rate)
        if rate == G711_RATE and (not self._sure or self._decode is not None):
            pcm = self._as_slin(now, pcm)
        for tap in self._taps:
            self._call(type(tap).__name__, tap.received, now, pcm, rate)
        if self._looping:
            self._send(now, Frame(rate, pcm, "passed"))
        if self._other is not None:
            self._other.pass_on(pcm, rate, at_most_ms=CONNECTED_WAIT_MS)
        for name, app in self._ears:
            if self._connection is None:
                return
            try:
                result = app.audio(self, pcm, rate)
                if result is not None:
                    self._run_hook(name, result)
            except Exception:  # noqa: BLE001 - an app's fault costs its own call
                self._app_failed(name)

    def _as_slin(self, now: float, payload: bytes) -> bytes:
        """The samples of a frame of kind 0x10, which is another codec where ``c(slin)`` was forgotten."""
        if not self._sure:
            if self._probe is None:
                self._probe = CodecProbe()
            codec = self._probe.add(now, payload)
            if codec is not None:
                if codec != "unknown":  # which may still become something else
                    self._probe, self._sure = None, True
                if codec != "slin":
                    self._decode = DECODERS.get(codec)
                    self.note("leg.codec", codec=codec)
                    self._mislabelled(self, codec)
        return self._decode(payload) if self._decode is not None else payload

    # what the clock does

    def tick(self, now: float) -> None:
        """Send what is due at ``now`` (milliseconds)."""
        try:
            due = self._playout.tick(now)
        except Exception:  # noqa: BLE001 - a leg without audio must not stay in the books, mute
            self._app_failed("playout")
            return
        self.due_ms = self._playout.due_ms
        self.record.late_turns, self.record.underruns = self._playout.late, self._playout.underruns
        clears = self._clears
        for item in due:
            if self._connection is None:
                return
            unwanted = self._clears != clears  # an app cleared the queue at a mark before this
            if isinstance(item, Frame):
                self._send(now, _silent(item) if unwanted else item)
            elif not unwanted:
                self._marked(item)

    def _marked(self, mark: MarkReached) -> None:
        self._tell(lambda app: app.marked(self, mark.name, mark.heard_ms))

    def _send(self, now: float, frame: Frame) -> None:
        rate, pcm, source = frame
        connection = self._connection
        if connection is not None and connection.send_frames(audio_header(rate, len(pcm)) + pcm):
            if source == "silence":
                self.record.silence_out += 1
            self._said(now, pcm, rate)

    def _tell(self, what: Callable[[App], HookResult], *, even_when_over: bool = False) -> None:
        for name, app in self._apps[: self._introduced]:
            if self._connection is None and not even_when_over:
                return  # the app before this one hung up
            self._call(name, what, app)

    def _app_failed(self, name: str, failure: Failure | None = None) -> None:
        self._log.failure("{name} raised in {leg}; ending its call", failure, name=name, leg=self)
        self.note("app.failed", app=name)
        self._failed(self)


def _silent(frame: Frame) -> Frame:
    return Frame(frame.rate, bytes(len(frame.pcm)), "silence")
