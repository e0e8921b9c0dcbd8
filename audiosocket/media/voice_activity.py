"""Voice activity detection: when a caller starts and stops speaking, in the time of the leg.

The detector is WebRTC's (``webrtcvad-wheels``), which works at 8 kHz and takes 16 and 32 kHz as they are; other
rates are converted. An app passes it the frames it gets and handles the events returned::

    self._voice = VoiceActivity(leg.now_ms, quiet_ms=1500, no_input_ms=5000)
    ...
    def audio(self, leg, pcm, rate):
        for event in self._voice.feed(leg.now_ms, pcm, rate):
            if isinstance(event, SpeechStopped): ...

While no frames arrive at all, `VoiceActivity.elapsed` must be called instead. ``bench/`` has what a frame costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import webrtcvad

from audiosocket.media.lazy_imports import stream_converter
from audiosocket.media.playout_queue import Converter
from audiosocket.wire import SAMPLE_BYTES

RATE = 8_000
#: Rates that the detector takes as they are.
NATIVE_RATES = frozenset({8_000, 16_000, 32_000})
WINDOW_MS = 20
#: Speech starts when so many of the last windows are speech; a click is speech to the detector for 80 ms.
START_WINDOWS, MIN_START_SPEECH = 15, 10
#: Speech continues while so many of the last windows are speech.
CONTINUE_WINDOWS, MIN_CONTINUE_SPEECH = 5, 3
_START_MASK, _CONTINUE_MASK = (1 << START_WINDOWS) - 1, (1 << CONTINUE_WINDOWS) - 1


@dataclass(frozen=True)
class SpeechStarted:
    """Speech began at ``at_ms``."""

    at_ms: float


@dataclass(frozen=True)
class SpeechStopped:
    """Speech that began at ``began_ms`` stopped at ``at_ms``."""

    began_ms: float
    at_ms: float


@dataclass(frozen=True)
class NoInput:
    """There was no speech until ``at_ms``; returned once."""

    at_ms: float


VoiceEvent: TypeAlias = SpeechStarted | SpeechStopped | NoInput


class VoiceActivity:
    """The detector for one leg from ``now_ms`` on; all times are milliseconds of `Leg.now_ms`.

    Speech has stopped after ``quiet_ms`` without it. `NoInput` is returned after ``no_input_ms`` without speech,
    never if None. ``strictness`` is WebRTC's mode, 0 (most audio is speech) to 3.
    """

    def __init__(
        self,
        now_ms: float,
        *,
        quiet_ms: float = 800,
        no_input_ms: float | None = None,
        strictness: int = 2,
        make_converter: Callable[[int, int], Converter] = stream_converter,
    ) -> None:
        self._detector = webrtcvad.Vad(strictness)
        self._quiet_ms = quiet_ms
        self._no_input_at_ms = None if no_input_ms is None else now_ms + no_input_ms
        self._make_converter = make_converter
        self._converter: Converter | None = None
        #: The rate of the frames, and the rate at which the detector looks at them.
        self._rate = self._looked_at = RATE
        self._buffer = b""
        #: The last windows, one bit each: whether it was speech; the newest is the lowest.
        self._recent = 0
        self._began_ms: float | None = None
        self._last_ms = now_ms

    @property
    def speaking(self) -> bool:
        """Whether speech has started and not stopped."""
        return self._began_ms is not None

    def feed(self, now_ms: float, pcm: bytes, rate: int) -> list[VoiceEvent]:
        """Take a frame that arrived at ``now_ms``; return its events."""
        if rate != self._rate:
            self._rate, self._buffer = rate, b""
            self._looked_at = rate if rate in NATIVE_RATES else RATE
            self._converter = None if rate in NATIVE_RATES else self._make_converter(rate, RATE)
        samples = pcm if self._converter is None else self._converter.feed(pcm)
        size = self._looked_at * WINDOW_MS // 1000 * SAMPLE_BYTES
        if len(samples) == size and not self._buffer:  # nearly all frames
            return self._window(now_ms, self._detector.is_speech(samples, self._looked_at))
        self._buffer += samples[: len(samples) & ~1]
        events: list[VoiceEvent] = []
        while len(self._buffer) >= size:
            window, self._buffer = self._buffer[:size], self._buffer[size:]
            ends_ms = now_ms - len(self._buffer) / SAMPLE_BYTES * 1000 / self._looked_at
            events += self._window(ends_ms, self._detector.is_speech(window, self._looked_at))
        return events

    def elapsed(self, now_ms: float) -> list[VoiceEvent]:
        """Return the events of the time alone, without a frame."""
        if self._began_ms is not None:
            if now_ms - self._last_ms < self._quiet_ms:
                return []
            stopped = SpeechStopped(self._began_ms, self._last_ms)
            self._began_ms = None
            return [stopped]
        if self._no_input_at_ms is None or now_ms < self._no_input_at_ms:
            return []
        self._no_input_at_ms = None
        return [NoInput(now_ms)]

    def _window(self, ends_ms: float, is_speech: bool) -> list[VoiceEvent]:
        self._recent = recent = (self._recent << 1 | is_speech) & _START_MASK
        if self._began_ms is not None:
            if is_speech and (recent & _CONTINUE_MASK).bit_count() >= MIN_CONTINUE_SPEECH:
                self._last_ms = ends_ms
        elif recent.bit_count() >= MIN_START_SPEECH:
            self._began_ms, self._no_input_at_ms = ends_ms - recent.bit_length() * WINDOW_MS, None
            self._last_ms = ends_ms
            return [SpeechStarted(self._began_ms)]
        return self.elapsed(ends_ms)
