"""How much of the caller's time has been sent to the bot: gaps are filled with silence, and only once. Pure."""

from __future__ import annotations

#: A caller who sends nothing for so long is silent; the bot is sent silence from then on.
GAP_MS = 60
#: What is sent may be so far ahead of the time.
AHEAD_MS = 40
#: Frames in whose place silence was sent come within this time, if they come.
LATE_MS = 2_000
FRAME_MS = 20


class UplinkPace:
    """Times in milliseconds of the leg's clock."""

    def __init__(self) -> None:
        self._covered_ms = 0.0
        self._late_until_ms = float("-inf")

    def start(self, now_ms: float) -> None:
        """The bot is sent audio from now on."""
        self._covered_ms = now_ms

    def take(self, now_ms: float, length_ms: float) -> bool:
        """A frame came; false when silence was sent in its place already.

        Sent as well, late frames would delay all that follows for the rest of the call.
        """
        end_ms = self._covered_ms + length_ms
        if end_ms > now_ms + AHEAD_MS:
            if now_ms < self._late_until_ms:
                return False
            end_ms = now_ms + AHEAD_MS  # the sender's clock is a little fast
        self._covered_ms = end_ms
        return True

    def fill(self, now_ms: float) -> bool:
        """Whether a frame of silence is to be sent now."""
        if now_ms - self._covered_ms <= GAP_MS:
            return False
        self._covered_ms += FRAME_MS
        self._late_until_ms = now_ms + LATE_MS
        return True
