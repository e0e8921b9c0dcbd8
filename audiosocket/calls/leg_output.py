"""What leaves on the connection of a leg: what apps play or pass on, silence, and when each frame is sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Any

from twisted.python.failure import Failure

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.leg_apps import LegApps
from audiosocket.calls.leg_interfaces import Connection
from audiosocket.calls.sound import SAMPLED_FRAMES
from audiosocket.interfaces import Tap
from audiosocket.media.playout import MAX_PASSED_MS, Playout
from audiosocket.media.playout_queue import Converter, Frame, MarkReached
from audiosocket.transport.clock import MediaClock
from audiosocket.wire import audio_header


class LegOutput(ABC):
    """The outgoing half of `leg.Leg`, and its `transport.clock.ClockMember`.

    A base class and not a part of the leg: a frame of 20 ms costs no call more.
    """

    __slots__ = (
        "_apps",
        "_clears",
        "_clock",
        "_connection",
        "_on_tick",
        "_playout",
        "_seconds",
        "_taps",
        "call",
        "due_ms",
        "state",
    )

    def __init__(
        self,
        call: Call,
        state: LegState,
        apps: LegApps,
        clock: MediaClock,
        make_converter: Callable[[int, int], Converter],
    ) -> None:
        self.call = call
        self.state = state
        self._apps = apps
        self._clock = clock
        self._seconds = clock.seconds
        self._playout = Playout(make_converter)
        self._connection: Connection | None = None
        self._taps: tuple[Tap, ...] = ()
        #: How often the queue was cleared.
        self._clears = 0
        #: Whether the connection is read on the clock's ticks: until the first frame is passed on.
        self._on_tick = False
        #: `transport.clock.ClockMember`: no turn is wanted before this.
        self.due_ms = -inf

    # for the leg to implement

    @abstractmethod
    def app_failed(self, name: str, failure: Failure | None = None) -> None:
        """End the call because ``name`` raised; without ``failure`` it is the current exception."""

    @abstractmethod
    def _report_mark(self, mark: MarkReached) -> None:
        """Report to the apps that what was queued before a mark has been sent."""

    # called by apps, see `interfaces.Leg`

    @property
    def rate(self) -> int:
        return self._playout.rate

    @property
    def now_ms(self) -> float:
        return self._clock.now_ms()

    @property
    def queued_ms(self) -> int:
        return self._playout.queued_ms

    @property
    def heard_ms(self) -> int:
        return self._playout.heard_ms

    @property
    def ahead_ms(self) -> float:
        return self._playout.ahead_ms(self._clock.now_ms())

    def play(self, pcm: bytes, rate: int | None = None, *, live: bool = False) -> bool:
        playout = self._playout
        if not rate:
            rate = playout.rate
        if live and self._connection is not None:
            now = self._seconds() * 1000
            if playout.speak_at_once(now, pcm, rate):
                if self._connection.send_frames(audio_header(rate, len(pcm)) + pcm):
                    self._sent(now, pcm, rate)
                self.due_ms = playout.due_ms
                return True
        taken = playout.play(pcm, rate)
        if live and self._connection is not None:
            self._send_live()
        return taken

    def pause(self, paused: bool) -> None:
        self._playout.pause(paused)

    def pass_on(self, pcm: bytes, rate: int, *, at_most_ms: float = MAX_PASSED_MS) -> None:
        if not pcm:
            return
        header = audio_header(rate, len(pcm))  # raises here, in the app, and not when the frame is sent
        if self._on_tick and not self._playout.speaking:
            self._read_on_tick(False)
        now = self._seconds() * 1000
        if self._playout.pass_on(now, pcm, rate, at_most_ms):
            connection = self._connection
            if connection is not None and connection.send_frames(header + pcm):
                self._sent(now, pcm, rate)
        self.due_ms = self._playout.due_ms

    def mark(self, name: str) -> None:
        self._playout.mark(name)
        self.due_ms = -inf

    def clear(self) -> int:
        self._clears += 1
        return self._playout.clear()

    def tap(self, listener: Tap) -> None:
        self._taps += (listener,)

    # called by the switchboard

    @property
    def playout(self) -> Playout:
        """The outgoing queue and its counters."""
        return self._playout

    # called by the clock

    def tick(self, now: float) -> None:
        """Send what is due at ``now`` (milliseconds)."""
        try:
            due = self._playout.tick(now)
        except Exception:  # noqa: BLE001 - a leg without audio must not stay in its call
            self.app_failed("playout")
            return
        self.due_ms = self._playout.due_ms
        if self._playout.late != self.state.late_turns:
            self.state.late_turns = self._playout.late
            at = now / 1000 - self.call.started
            self.state.late.add(at, at)
        self.state.underruns = self._playout.underruns
        clears = self._clears
        for item in due:
            if self._connection is None:
                return
            cleared = self._clears != clears  # by an app, at a mark before this item
            if isinstance(item, Frame):
                self._send(now, _silent(item) if cleared else item)
            elif not cleared:
                self._report_mark(item)

    def _send(self, now: float, frame: Frame) -> None:
        rate, pcm, source = frame
        connection = self._connection
        if connection is not None and connection.send_frames(audio_header(rate, len(pcm)) + pcm):
            if source == "silence":
                self.state.silence_out += 1
            self._sent(now, pcm, rate)

    def _send_live(self) -> None:
        """Send the frames of live audio that may leave before their tick."""
        now = self._seconds() * 1000
        for rate, pcm, _ in self._playout.take_live(now):
            connection = self._connection
            if connection is not None and connection.send_frames(audio_header(rate, len(pcm)) + pcm):
                self._sent(now, pcm, rate)
        self.due_ms = self._playout.due_ms

    def _sent(self, now: float, pcm: bytes, rate: int) -> None:
        state = self.state
        state.frames_out += 1
        if not state.frames_out % SAMPLED_FRAMES:
            state.sound_out.sample(now / 1000 - self.call.started, pcm)
        if self._taps:
            leg: Any = self  # it is a `leg.Leg`, which this module cannot import
            for tap in self._taps:
                self._apps.call(leg, type(tap).__name__, tap.sent, now, pcm, rate)

    def _read_on_tick(self, on_tick: bool) -> None:
        self._on_tick = on_tick
        if self._connection is not None:
            self._connection.read_on_tick(on_tick)


def _silent(frame: Frame) -> Frame:
    return Frame(frame.rate, bytes(len(frame.pcm)), "silence")
