"""How quick a bot is for one leg, in the leg's own clock: shown in the call's JSON and in histograms."""

from __future__ import annotations

from collections.abc import Callable

from audiosocket.media.voice_activity import SpeechStarted, SpeechStopped, VoiceActivity

#: Silence after which the caller has stopped to speak, in milliseconds: a quick bot answers after 300.
QUIET_MS = 200


class Latency:
    """Times in milliseconds. ``measure`` counts each of them by name; the newest is also in `to_json`.

    ``changed`` is called when `to_json` has a new one.
    """

    def __init__(
        self, now_ms: float, measure: Callable[[str, float], None], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._measure = measure
        self._changed = changed
        self._voice = VoiceActivity(now_ms, quiet_ms=QUIET_MS)
        self._connected_at: float | None = None
        #: When the caller stopped to speak, until the bot answers.
        self._stopped_at: float | None = None
        self._figures: dict[str, float] = {}
        self.buffer_peak_ms = 0.0
        self.underruns = 0
        self.responses = 0
        self.clears = 0

    def connected(self, now_ms: float, took_ms: float) -> None:
        """Note that the bot takes the leg's audio from now on."""
        self._connected_at = now_ms
        self._note("connect", took_ms)

    def heard(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """Look for speech in a frame of the caller."""
        for event in self._voice.feed(now_ms, pcm, rate):
            if isinstance(event, SpeechStopped):
                self._stopped_at = event.at_ms
            elif isinstance(event, SpeechStarted):
                self._stopped_at = None

    def spoke(self, now_ms: float, queued_before_ms: float, queued_ms: float) -> None:
        """Note that audio of the bot was queued; the first of an answer is written to the caller at once."""
        self.buffer_peak_ms = max(self.buffer_peak_ms, queued_ms)
        if self._connected_at is not None and "first_audio" not in self._figures:
            self._note("first_audio", now_ms - self._connected_at)
        if queued_before_ms <= 0 and self._stopped_at is not None:
            self.responses += 1
            self._note("response", now_ms - self._stopped_at)
            self._stopped_at = None

    def underran(self, gap_ms: float) -> None:
        """Count audio that was missing in the middle of an utterance."""
        self.underruns += 1
        self._note("underrun", gap_ms)

    def ended(self) -> None:
        """Count the peak of the buffer: the connection of the bot is over."""
        if self._connected_at is not None:
            self._measure("bot_buffer_peak_ms", self.buffer_peak_ms)

    def cleared(self, ahead_ms: float) -> None:
        """Note that the bot dropped its audio; what was written ahead is still heard for ``ahead_ms``."""
        self.clears += 1
        self._note("clear", ahead_ms)

    def to_json(self) -> dict[str, object]:
        """Return the newest figures, as shown in the call."""
        shown: dict[str, object] = {f"{name}_ms": round(value, 1) for name, value in self._figures.items()}
        return {
            **shown,
            "responses": self.responses,
            "clears": self.clears,
            "underruns": self.underruns,
            "buffer_peak_ms": round(self.buffer_peak_ms),
        }

    def _note(self, name: str, value: float) -> None:
        self._figures[name] = value
        self._measure(f"bot_{name}_ms", value)
        self._changed()
