"""A leg: a place in a call that outlives its connection.

It joins what comes from the wire to the apps, and the apps' audio to the clock. When Asterisk comes
back with the same UUID, only the connection beneath is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.leg_api import Connection, LegBase, Residents
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.interfaces import App, CallerInfo, ReturnOutcome
from audiosocket.media.codec_probe import DECODERS, CodecProbe
from audiosocket.media.playout import Frame, Playout
from audiosocket.media.playout_queue import Converter, MarkReached
from audiosocket.transport.clock import MediaClock
from audiosocket.wire import HEADER_BYTES, Audio, Digit, Event, HungUp, Ignored, PeerError, audio_header

#: The rate of kind 0x10, under which other codecs arrive when the dialplan forgets ``c(slin)``.
G711_RATE = 8_000
#: Changes of the sample rate worth an event, per leg; a peer that changes it with every frame is not.
RATE_NOTES_MOST = 20


class Leg(LegBase):
    """One visitor or resident in one call."""

    __slots__ = (
        "__weakref__",
        "_decode",
        "_ears",
        "_failed",
        "_introduced",
        "_mislabelled",
        "_over",
        "_probe",
        "_rate_changes",
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
        residents: Residents | None = None,
    ) -> None:
        super().__init__(call, record, apps, Playout(make_converter), clock, residents)
        self._over = over
        self._failed = failed
        self._mislabelled = mislabelled
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
            self._call(type(tap).__name__, tap.heard, now, pcm, rate)
        if self._looping:
            self._send(now, Frame(rate, pcm, "passed"))
        for name, app in self._ears:
            if self._connection is None:
                return
            try:
                app.audio(self, pcm, rate)
            except Exception:  # noqa: BLE001 - an app's fault costs its own call
                self._app_failed(name)

    def _as_slin(self, now: float, payload: bytes) -> bytes:
        """The samples of a frame of kind 0x10, which is another codec where ``c(slin)`` was forgotten."""
        if not self._sure:
            if self._probe is None:
                self._probe = CodecProbe()
            codec = self._probe.look(now, payload)
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

    def _tell(self, what: Callable[[App], None], *, even_when_over: bool = False) -> None:
        for name, app in self._apps[: self._introduced]:
            if self._connection is None and not even_when_over:
                return  # the app before this one hung up
            self._call(name, what, app)

    def _app_failed(self, name: str) -> None:
        self._log.failure("{name} raised in {leg}; ending its call", name=name, leg=self)
        self.note("app.failed", app=name)
        self._failed(self)


def _silent(frame: Frame) -> Frame:
    return Frame(frame.rate, bytes(len(frame.pcm)), "silence")
