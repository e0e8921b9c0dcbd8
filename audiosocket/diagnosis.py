"""Recognises audio that is labelled as signed linear and is not.

``Dial(AudioSocket/host:port/uuid)`` without ``c(slin)`` sends the caller's own codec under kind 0x10: G.711 as
160 bytes every 20 ms, where 8 kHz slin has 320 (measured on Asterisk 22.10). 160 bytes every 10 ms are honest
slin of a caller with 10 ms packets, so both length and time are looked at. Which law it is, the samples tell:
read with the right one they are smooth, read with the other they are noise.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

from audiosocket.audio import alaw_to_slin, ulaw_to_slin

#: Frames of half the length that are looked at before a verdict: half a second.
PROBE_FRAMES = 25
HALF_FRAME_BYTES = 160
#: Such frames this far apart on average are no slin, in milliseconds: slin of this length comes every 10 ms.
APART_MS = 15.0
#: A smooth reading changes from sample to sample by at most this share of its level; noise by more than 1.
SMOOTH = 1.0

DECODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType({"ulaw": ulaw_to_slin, "alaw": alaw_to_slin})


class CodecProbe:
    """Looks at the first frames of kind 0x10 of one leg. ``verdict`` is None until it is sure.

    Verdicts: ``slin``, ``ulaw``, ``alaw``, or ``unknown`` (size and time of a codec of 64 kbit/s, but neither law
    makes sense of it: G.722, most likely).
    """

    __slots__ = ("_first_ms", "_frames", "verdict")

    def __init__(self) -> None:
        self.verdict: str | None = None
        self._first_ms = 0.0
        self._frames: tuple[bytes, ...] = ()

    def look(self, now_ms: float, payload: bytes) -> str | None:
        """Take one frame, as it came at ``now_ms``; the verdict, once there is one."""
        if self.verdict is not None:
            return self.verdict
        if len(payload) != HALF_FRAME_BYTES:
            self.verdict = "slin"
            return self.verdict
        if not self._frames:
            self._first_ms = now_ms
        self._frames += (payload,)
        if len(self._frames) >= PROBE_FRAMES:
            apart = (now_ms - self._first_ms) / (len(self._frames) - 1)
            self.verdict = "slin" if apart < APART_MS else _which(b"".join(self._frames))
            self._frames = ()
        return self.verdict


def _which(payload: bytes) -> str:
    roughness = {name: _roughness(decode(payload)) for name, decode in DECODERS.items()}
    best = min(roughness, key=roughness.__getitem__)
    return best if roughness[best] <= SMOOTH else "unknown"


def _roughness(pcm: bytes) -> float:
    """Mean change between neighbouring samples as a share of their mean level; 0 for silence."""
    samples = array("h")
    samples.frombytes(pcm)
    middle = sum(samples) / len(samples)
    level = sum(abs(sample - middle) for sample in samples)
    return sum(abs(a - b) for a, b in pairwise(samples)) / level if level else abs(middle) / 32768
