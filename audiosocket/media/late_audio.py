"""How far a bot's audio is behind its time, and by how much that can be shortened. Pure; times in milliseconds.

A bot that sends at the pace of speech and is late for a while sends what it held back in one go. Silence was
played meanwhile, so all that follows waits as long, for as long as the bot goes on without a pause. What waits and
was not needed for a second is made up for: as many silent frames are left out as silence was played, no others.
Nothing is left out where more waits than that: such a bot sends ahead of time.
"""

from __future__ import annotations

from math import inf

#: Audio that is missing for longer begins a new utterance; for less it is only late, and no silence is played.
LATE_MS, PAUSE_MS = 80, 1_000
#: So long at the pace of speech, and nothing of what always waited was needed.
WINDOW_MS = 1_000
#: The pace of speech, in milliseconds of audio for each millisecond.
LEAST_PACE, MOST_PACE = 0.8, 1.2
#: What may wait.
RESERVE_MS = 20


class LateAudio:
    """The audio of one bot since the last end of an utterance."""

    def __init__(self) -> None:
        self.over()

    def over(self) -> None:
        """Forget the utterance, which has ended, was dropped or is held back: a gap after it is no under-run."""
        #: When all audio so far will have been played, while more of the same utterance may come.
        self._ends_ms: float | None = None
        #: Silence that was played in the place of late audio, and not made up for.
        self._behind_ms = 0.0
        self._since_ms = -inf
        self._least_ms = inf
        self._arrived_ms = 0.0
        self._surplus_ms = 0.0

    def arrived(self, now_ms: float, length_ms: float, waiting_ms: float) -> float:
        """Take audio, with ``waiting_ms`` queued before it; return for how long audio was missing, mostly 0."""
        gap_ms, ends_ms = 0.0, self._ends_ms
        if ends_ms is None or ends_ms < now_ms:
            if ends_ms is not None and LATE_MS < now_ms - ends_ms < PAUSE_MS:
                gap_ms = now_ms - ends_ms
                self._behind_ms = min(self._behind_ms + gap_ms, PAUSE_MS)
            ends_ms = now_ms
        self._ends_ms = ends_ms + length_ms
        if self._behind_ms:
            self._look(now_ms, length_ms, waiting_ms)
        return gap_ms

    def _look(self, now_ms: float, length_ms: float, waiting_ms: float) -> None:
        passed_ms = now_ms - self._since_ms
        if passed_ms >= WINDOW_MS:
            paced = LEAST_PACE <= self._arrived_ms / passed_ms <= MOST_PACE
            surplus_ms = self._least_ms - RESERVE_MS
            late = paced and surplus_ms <= self._behind_ms + LATE_MS
            self._surplus_ms = min(surplus_ms, self._behind_ms) if late else 0.0
            self._since_ms, self._least_ms, self._arrived_ms = now_ms, inf, 0.0
        self._least_ms = min(self._least_ms, waiting_ms)
        self._arrived_ms += length_ms

    def wants_shorter(self, length_ms: float) -> bool:
        """Return whether ``length_ms`` of silence in the bot's audio can be left out."""
        return self._surplus_ms >= length_ms

    def shortened(self, length_ms: float) -> None:
        """Note that so much was left out."""
        self._surplus_ms -= length_ms
        self._behind_ms = max(0.0, self._behind_ms - length_ms)
        if self._ends_ms is not None:
            self._ends_ms -= length_ms
