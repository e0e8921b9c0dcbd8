"""The two directions of a leg as the channels of one recording, aligned in time.

Frames arrive with jitter: over TCP they are late, and after a stall many come at once. So the samples of a track
are joined without gaps as long as they keep up with the clock, and silence is inserted only where a frame *and
all that follow it within the settle time* are more than 60 ms late: then there was a pause, as long as the
earliest of them is late. A track that runs ahead is left unchanged.

What `StereoAligner.take` returns is final, so it stays behind the clock by the settle time.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from audiosocket.media.pcm import converted_samples
from audiosocket.media.playout_queue import Converter
from audiosocket.wire import SAMPLE_BYTES

SETTLE_MS = 200
LATE_MS = 60
#: Frames are dropped while their track is further ahead of the clock than this.
MAX_AHEAD_MS = 30_000
#: With this many frames within the settle time the earliest one gives the length of a pause; with fewer, jitter is
#: allowed for.
_ENOUGH_FRAMES = 8
#: Frames considered at most.
_MAX_FRAMES = 64
_MAX_JITTER_MS = 100
_JITTER_FRAMES = 50


@dataclass(frozen=True)
class _Frame:
    """``due`` is when it arrived and should end, ``samples`` its length, both at the rate of the recording."""

    due: int
    pcm: bytes
    rate: int
    samples: int


class _Track:
    """One direction, as samples at ``rate`` Hz."""

    def __init__(self, rate: int, converter: Callable[[int, int], Converter], settle: int) -> None:
        self._rate = rate
        self._new_converter = converter
        self._settle = settle
        self._late = rate * LATE_MS // 1000
        self._max_jitter = rate * _MAX_JITTER_MS // 1000
        self._waiting: deque[_Frame] = deque()
        self._waiting_samples = 0
        self._ready = bytearray()
        self._taken = 0
        self._in_silence = True
        self._lateness: deque[int] = deque(maxlen=_JITTER_FRAMES)
        self._converter: Converter | None = None
        self._converter_rate = rate
        #: Samples the converter took and gave since it was last flushed.
        self._fed = 0
        self._given = 0

    @property
    def written(self) -> int:
        """The length of the track in samples, without what the converter holds back."""
        return self._taken + len(self._ready) // SAMPLE_BYTES

    @property
    def end(self) -> int:
        """The length of the track when all frames are written without a gap."""
        return self.written + self._held + self._waiting_samples

    @property
    def _held(self) -> int:
        return converted_samples(self._fed, self._converter_rate, self._rate) - self._given

    def add(self, frame: _Frame) -> None:
        self._waiting.append(frame)
        self._waiting_samples += frame.samples

    def fill(self, until: int, *, final: bool) -> None:
        """Write frames and silence up to ``until`` at least; with ``final`` all frames."""
        while self.written < until or (final and self._waiting):
            gap = self._gap() if self._waiting else until - self.written - self._held
            if self._waiting and gap <= 0:
                self._place(self._waiting.popleft())
                continue
            self._finish_conversion()
            # Beyond ``until`` frames yet to come can show that the pause is shorter.
            self._silence(gap if final else min(gap, until - self.written))
        if final:
            self._finish_conversion()
            self._silence(until - self.written)

    def cut(self, samples: int) -> array[int]:
        """Remove and return the next ``samples`` samples."""
        size = samples * SAMPLE_BYTES
        piece = array("h", bytes(self._ready[:size]))
        del self._ready[:size]
        self._taken += samples
        return piece

    def _gap(self) -> int:
        """Return the samples of silence before the first waiting frame; 0 or less for none."""
        position = self.written + self._held
        horizon = self._waiting[0].due + self._settle
        seen: list[int] = []
        for frame in islice(self._waiting, _MAX_FRAMES):
            if frame.due > horizon:
                break
            position += frame.samples
            seen.append(frame.due - position)
        earliest = min(seen)
        if self._in_silence:
            return earliest
        allowed = self._late
        if len(seen) < _ENOUGH_FRAMES and self._lateness:
            allowed += min(self._max_jitter, max(self._lateness) - min(self._lateness))
        return earliest if earliest > allowed else 0

    def _place(self, frame: _Frame) -> None:
        self._waiting_samples -= frame.samples
        if frame.rate != self._converter_rate:
            self._finish_conversion()
            self._converter_rate = frame.rate
            self._converter = None if frame.rate == self._rate else self._new_converter(frame.rate, self._rate)
        pcm = frame.pcm
        if self._converter is not None:
            pcm = self._converter.feed(frame.pcm)
            self._fed += len(frame.pcm) // SAMPLE_BYTES
            self._given += len(pcm) // SAMPLE_BYTES
        self._ready += pcm
        self._in_silence = False
        self._lateness.append(frame.due - self.written - self._held)

    def _finish_conversion(self) -> None:
        if self._converter is not None:
            self._ready += self._converter.flush()
            self._fed = self._given = 0

    def _silence(self, samples: int) -> None:
        if samples > 0:
            self._ready += bytes(samples * SAMPLE_BYTES)
            self._in_silence = True


class StereoAligner:
    """Aligns the two directions of one leg; times are milliseconds of any clock, ``start_ms`` is its zero.

    ``converter`` makes a `Converter` from a source to a target rate, for frames of another rate than ``rate``.
    """

    def __init__(
        self,
        rate: int,
        converter: Callable[[int, int], Converter],
        start_ms: float = 0.0,
        settle_ms: int = SETTLE_MS,
    ) -> None:
        self.rate = rate
        #: Milliseconds of audio dropped because a track was `MAX_AHEAD_MS` ahead.
        self.dropped_ms = 0.0
        self._start_ms = start_ms
        self._settle = rate * settle_ms // 1000
        self._latest = 0
        self._taken = 0
        self._received = _Track(rate, converter, self._settle)
        self._sent = _Track(rate, converter, self._settle)

    def add_received(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """Add a frame of the left channel that ends now."""
        self._add(self._received, now_ms, pcm, rate)

    def add_sent(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """Add a frame of the right channel that ends now."""
        self._add(self._sent, now_ms, pcm, rate)

    def take(self, now_ms: float, *, final: bool = False) -> bytes:
        """Return the next piece of interleaved stereo, up to the settle time before ``now_ms``.

        With ``final`` everything that is left: up to ``now_ms`` and to the end of the longer track.
        """
        until = max(self._taken, self._position(now_ms) - (0 if final else self._settle))
        tracks = (self._received, self._sent)
        for track in tracks:
            track.fill(until, final=final)
        if final:
            until = max(track.written for track in tracks)
            for track in tracks:
                track.fill(until, final=True)
        stereo = array("h", bytes((until - self._taken) * 2 * SAMPLE_BYTES))
        for channel, track in enumerate(tracks):
            stereo[channel::2] = track.cut(until - self._taken)
        self._taken = until
        return stereo.tobytes()

    def _position(self, now_ms: float) -> int:
        """Return the time in samples; it never goes back."""
        self._latest = max(self._latest, round((now_ms - self._start_ms) * self.rate / 1000))
        return self._latest

    def _add(self, track: _Track, now_ms: float, pcm: bytes, rate: int) -> None:
        due = self._position(now_ms)
        given = len(pcm) // SAMPLE_BYTES
        samples = converted_samples(given, rate, self.rate)
        if track.end + samples - due > self.rate * MAX_AHEAD_MS // 1000:
            self.dropped_ms += given * 1000 / rate
            return
        track.add(_Frame(due, pcm[: given * SAMPLE_BYTES], rate, samples))
