"""The visitor's name: recorded to memory, ended by the voice, played to the resident, gone with the call."""

from __future__ import annotations

from collections.abc import Callable

from audiosocket.media.voice_activity import SpeechStarted, SpeechStopped, VoiceActivity, VoiceEvent
from audiosocket.prompts.player import Sound
from audiosocket.wire import SAMPLE_BYTES

#: Silence that ends a name, in milliseconds.
QUIET_MS = 1_500
#: What is kept before and after speech, in milliseconds.
MARGIN_MS = 200
#: The most that is kept, in seconds of audio: that is the longest name.
MAX_SECONDS = 11
#: A leg at a higher rate is not recorded at it, in Hz: nobody hears the difference, and 200 visits weigh it.
MAX_RATE = 48_000


class NameRecording:
    """One recording, from ``now_ms`` of the leg's clock on. ``started`` and ``ended`` tell of speech."""

    def __init__(self, now_ms: float, started: Callable[[], None], ended: Callable[[], None]) -> None:
        self._voice = VoiceActivity(now_ms, quiet_ms=QUIET_MS)
        self._started = started
        self._ended = ended
        self._since_ms = now_ms
        self._rate = 0
        self._pcm = bytearray()
        self._speech: tuple[float, float] | None = None
        self._now_ms = now_ms

    def hear(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """A frame of the visitor's; what comes at another rate than the first one is left out."""
        if not self._rate and rate <= MAX_RATE:
            self._rate = rate
        if rate == self._rate and len(self._pcm) < MAX_SECONDS * rate * SAMPLE_BYTES:
            if not self._pcm:
                self._since_ms = now_ms - len(pcm) / SAMPLE_BYTES * 1000 / rate
            self._pcm += pcm[: len(pcm) & ~1]
        self._now_ms = now_ms
        for event in self._voice.feed(now_ms, pcm, rate):
            self._take(event)

    def sound(self) -> Sound | None:
        """What was said, without the silence around it; None when nothing was."""
        if self._speech is None or not self._rate:
            return None
        began, stopped = self._speech
        if self._voice.speaking:
            stopped = self._now_ms
        first, last = self._at(began - MARGIN_MS), self._at(stopped + MARGIN_MS)
        return Sound(bytes(self._pcm[first:last]), self._rate)

    def _at(self, ms: float) -> int:
        return max(0, round((ms - self._since_ms) * self._rate / 1000)) * SAMPLE_BYTES

    def _take(self, event: VoiceEvent) -> None:
        if isinstance(event, SpeechStarted):
            if self._speech is None:
                self._speech = event.at_ms, event.at_ms
                self._started()
        elif isinstance(event, SpeechStopped) and self._speech is not None:
            self._speech = self._speech[0], event.at_ms
            self._ended()
