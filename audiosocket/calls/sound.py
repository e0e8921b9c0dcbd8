"""How loud one direction of a leg is, and when there was sound in it. Pure: the time is an argument, in seconds.

One frame in `SAMPLED_FRAMES` is compared with a fixed threshold. That does not tell speech from noise, as
``media/voice_activity.py`` does for 20 times the time. The level is computed when it is asked for.
"""

from __future__ import annotations

from math import inf

from audiosocket.media.pcm import SILENT_DBFS, level
from audiosocket.wire import SAMPLE_BYTES

#: One frame in so many is looked at: six in a second, in packets of 20 ms.
SAMPLED_FRAMES = 8
#: The spans that are kept; beyond that the two that are closest become one.
MAX_SPANS = 100
#: Sound after a pause of less than this belongs to the same span, in seconds.
JOIN_SECONDS = 0.6
#: A level is out of date after this, in seconds.
LEVEL_SECONDS = 1.0
#: What is kept of a frame, in bytes: 20 ms at 48 kHz.
MAX_KEPT = 1_920
#: A level is computed from about so many samples, in some 7 us.
LEVEL_SAMPLES = 50
#: One sample in so many is compared.
_STEP = 8
#: High bytes of quiet samples: from -512 to 511, which is 36 dB below full scale.
_QUIET = b"\x00\x01\xfe\xff"


class Spans:
    """Spans of time, the oldest first, as pairs of seconds; at most `MAX_SPANS`."""

    __slots__ = ("_closed", "_end", "_start")

    def __init__(self) -> None:
        #: All but the last one.
        self._closed: list[tuple[float, float]] = []
        self._start = self._end = -inf

    def add(self, start: float, end: float) -> None:
        """Add a span that ends after all others; less than `JOIN_SECONDS` after the last, it prolongs that."""
        if start - self._end >= JOIN_SECONDS:
            if self._end > -inf:
                self._closed.append((self._start, self._end))
            self._start = start
            if len(self._closed) >= MAX_SPANS:
                self._join_closest()
        self._end = end

    def to_json(self) -> list[list[float]]:
        """Return them for the API, with milliseconds."""
        last = [(self._start, self._end)] if self._end > -inf else []
        return [[round(start, 3), round(end, 3)] for start, end in self._closed + last]

    def _join_closest(self) -> None:
        spans = self._closed
        at = min(range(1, len(spans)), key=lambda n: spans[n][0] - spans[n - 1][1])
        spans[at - 1 : at + 1] = [(spans[at - 1][0], spans[at][1])]


class Sound:
    """What was looked at of one direction of a leg."""

    __slots__ = ("_at", "_pcm", "spans")

    def __init__(self) -> None:
        #: When there was sound.
        self.spans = Spans()
        self._at = 0.0
        self._pcm = b""

    def sample(self, at: float, pcm: bytes) -> None:
        """Look at a frame of signed linear that was there at ``at``; takes half a microsecond."""
        self._at = at
        self._pcm = pcm = pcm if len(pcm) <= MAX_KEPT else pcm[-MAX_KEPT:]
        if len(pcm[1 :: SAMPLE_BYTES * _STEP].translate(None, _QUIET)) > 1:
            self.spans.add(at, at)

    def level(self, at: float) -> float | None:
        """Return the RMS of the latest frame in dBFS, `SILENT_DBFS` for silence; None where that is too old."""
        if not self._pcm or at - self._at > LEVEL_SECONDS:
            return None
        if not self._pcm.strip(b"\0"):
            return SILENT_DBFS
        return round(level(self._pcm, every=max(1, len(self._pcm) // SAMPLE_BYTES // LEVEL_SAMPLES)), 1)

    def forget(self) -> None:
        """Drop the latest frame: no level is asked for any more."""
        self._pcm = b""
