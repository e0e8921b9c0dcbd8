"""How evenly the frames of a peer arrive: the jitter of RFC 3550, D(i, j). Pure: the time is an argument."""

from __future__ import annotations

from audiosocket.wire import FRAME_MS

#: A caller who sends nothing for so long pauses, in seconds; the next frame is not late.
PAUSE_SECONDS = 2.0
FRAME_SECONDS = FRAME_MS / 1000


class Pace:
    """When frames of 20 ms were paid for last, some together: measuring each of them would cost more."""

    __slots__ = ("_at", "_to_come")

    def __init__(self) -> None:
        self._at = 0.0
        #: How many of the paid frames were to come then.
        self._to_come = 0

    def measure(self, now: float, left: int, to_come: int) -> float | None:
        """Return by how much the time since the last payment differs from the audio that came; None after a pause.

        ``left`` frames of it have not come; ``to_come`` are paid for at ``now``. In seconds of a steady clock.
        """
        took, self._at = now - self._at, now
        came, self._to_come = self._to_come - left, to_come
        difference = abs(took - came * FRAME_SECONDS)
        return difference if difference < PAUSE_SECONDS else None
