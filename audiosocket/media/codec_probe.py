"""Recognises audio that is labelled as signed linear and is not.

``Dial(AudioSocket/host:port/uuid)`` without ``c(slin)`` sends the caller's own codec under kind 0x10 (measured on
Asterisk 22.10). G.711 is 8 bytes a millisecond where slin has 16, in frames of the caller's packets: 80 to 480
bytes of G.711, 160 to 960 of slin. Two things must agree, for taking honest slin for G.711 would spoil a good
call: the pace, and what the bytes are when read as each codec (``evidence.py``). Pauses and lost packets make slin
slow, a lump after a stall makes G.711 fast; then nothing is said and the next window is looked at.

Weighing bytes costs 57 us a frame, counting them half a microsecond. So nothing is weighed of what has the pace of
slin: that is slin once it has kept it for longer than any lump of G.711 lasts. Only what is slower is weighed, 10
frames of it before the first verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from audiosocket.media.codec_likelihood import MOST_BYTES, bits_per_byte
from audiosocket.media.pcm import alaw_to_slin, ulaw_to_slin

DECODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType({"ulaw": ulaw_to_slin, "alaw": alaw_to_slin})

#: Audio whose pace is taken while nothing is weighed, in milliseconds.
STRETCH_MS = 200.0
#: Audio that is weighed and judged together, in milliseconds: with the stretch before it 0.6 s to the verdict.
WINDOW_MS = 400.0
#: A gap between frames counts for so many milliseconds at most: longer ones are pauses, or stalls before a lump.
GAP_MS = 100.0
#: Bytes a millisecond: G.711 has 8 and slin 16, and between these two nothing is said.
G711_MOST, SLIN_LEAST = 10.0, 12.0
#: So many stretches in a row with the pace of slin are slin, whatever the bytes look like: 1.6 s.
FAST_STRETCHES = 8
#: A reading makes sense when it needs at least so many bits a byte less than the others, ...
MARGIN_BITS = 0.2
#: ... a law so many less than slin, as taking slin for a law is the worse mistake, ...
SLIN_MARGIN_BITS = 0.5
#: ... and less than these (random bytes need 8), ...
NOISE_BITS = 7.7
#: ... over at least so many bytes.
LEAST_BYTES = 1_000
#: Bytes of a window that are weighed at most, against a flood of frames: 10 frames of 160 bytes.
MOST_WEIGHED = 10 * MOST_BYTES
#: Windows that make no sense before ``unknown`` is said, about 5 s; and all further windows are as long as that.
PATIENCE = 12


class CodecProbe:
    """Looks at the frames of kind 0x10 of one leg until it is sure what they are; ``verdict`` is None before.

    Verdicts: ``slin``, ``ulaw`` and ``alaw`` are final. ``unknown`` (not the pace of slin, and no reading makes
    sense: G.722, most likely) is said after some seconds and may still become one of the others.
    """

    __slots__ = (
        "_bits",
        "_bytes",
        "_elapsed_ms",
        "_fast",
        "_judged",
        "_last_ms",
        "_senseless",
        "_slow",
        "_weighed",
        "verdict",
    )

    def __init__(self) -> None:
        self.verdict: str | None = None
        self._last_ms: float | None = None
        #: The stretch before was not of the pace of slin: frames are weighed.
        self._slow = False
        #: Stretches in a row at the pace of slin; windows with enough to judge by; those that made no sense.
        self._fast = self._judged = self._senseless = 0
        self._begin()

    def _begin(self) -> None:
        self._elapsed_ms = 0.0
        self._bytes = self._weighed = 0
        self._bits = (0.0, 0.0, 0.0)

    def look(self, now_ms: float, payload: bytes) -> str | None:
        """Take one frame, as it came at ``now_ms`` (milliseconds); the verdict if this frame brought a new one."""
        if self._last_ms is not None:  # the first frame only starts the time
            self._elapsed_ms += min(now_ms - self._last_ms, GAP_MS)
            self._bytes += len(payload)
        self._last_ms = now_ms
        if self._slow:
            self._weigh(payload)
            wanted = WINDOW_MS if self._judged < PATIENCE else WINDOW_MS * PATIENCE
        else:
            wanted = STRETCH_MS
        if self._elapsed_ms < wanted:
            return None
        verdict = self._judge()
        self._begin()
        if verdict is not None:
            self.verdict = verdict
        return verdict

    def _weigh(self, payload: bytes) -> None:
        if self._weighed >= MOST_WEIGHED:
            return
        bits = bits_per_byte(payload)
        if bits is not None:
            size = min(len(payload), MOST_BYTES)
            self._weighed += size
            slin, ulaw, alaw = self._bits
            self._bits = (slin + bits[0] * size, ulaw + bits[1] * size, alaw + bits[2] * size)

    def _judge(self) -> str | None:
        """What the stretch or window that is full says; None for nothing new."""
        pace = self._bytes / self._elapsed_ms
        enough = self._weighed >= LEAST_BYTES
        reading = self._reading() if enough else None
        self._judged += enough
        self._slow = pace <= SLIN_LEAST
        if not self._slow:
            self._fast += 1
            return "slin" if reading == "slin" or self._fast == FAST_STRETCHES else None
        self._fast = 0
        if reading in DECODERS:
            return reading if pace <= G711_MOST else None
        if enough and reading is None:
            self._senseless += 1
            return "unknown" if self._senseless == PATIENCE else None
        return None

    def _reading(self) -> str | None:
        """The one reading that makes sense of what was weighed; None when there is none."""
        slin, ulaw, alaw = (bits / self._weighed for bits in self._bits)
        law, worse, name = (ulaw, alaw, "ulaw") if ulaw < alaw else (alaw, ulaw, "alaw")
        if min(slin, law) > NOISE_BITS:
            return None
        if slin + MARGIN_BITS <= law:
            return "slin"
        return name if law + MARGIN_BITS <= worse and law + SLIN_MARGIN_BITS <= slin else None
