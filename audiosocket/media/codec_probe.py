"""Detection of audio that is labelled as signed linear and is not.

``Dial(AudioSocket/host:port/uuid)`` without ``c(slin)`` sends the caller's own codec under kind 0x10 (measured
on Asterisk 22.10). G.711 has 8 bytes per millisecond where slin has 16, in frames of the size of the caller's
packets: 80 to 480 bytes of G.711, 160 to 960 of slin. Two things must agree, since taking slin for G.711 would
spoil a good call: the pace, and the likelihood of each codec (``codec_likelihood.py``). Pauses and lost packets
make slin slow, a burst after a stall makes G.711 fast; then there is no verdict, and the next window is
evaluated.

Evaluating bytes takes 57 us for a frame, counting them half a microsecond. So frames at the pace of slin are only
counted: they are slin once they have kept it for longer than any burst of G.711 lasts. Only slower ones are
evaluated, 10 frames before the first verdict.

Speech codecs have too few bytes to evaluate: 20 every 20 ms are G.729, 33 GSM, 24 every 30 ms G.723.1. Small
frames that come steadily and are slower than G.711 are none of the codecs known here, whatever their bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from audiosocket.media.codec_likelihood import MAX_BYTES, bits_per_byte
from audiosocket.media.pcm import alaw_to_slin, ulaw_to_slin

DECODERS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType({"ulaw": ulaw_to_slin, "alaw": alaw_to_slin})

#: Length of a window while frames are only counted, in milliseconds.
COUNTING_MS = 200.0
#: Length of a window whose frames are evaluated, in milliseconds: with the one before it 0.6 s to the verdict.
EVALUATION_MS = 400.0
#: A gap between frames counts as so many milliseconds at most: longer ones are pauses, or stalls before a burst.
MAX_GAP_MS = 100.0
#: Bytes per millisecond: G.711 has 8 and slin 16, and a pace between these two gives no verdict.
MAX_G711_PACE, MIN_SLIN_PACE = 10.0, 12.0
#: So many windows in a row at the pace of slin are slin, whatever their bytes are: 1.6 s.
FAST_WINDOWS = 8
#: A codec is the likely one if it needs at least so many bits per byte less than the others, ...
MARGIN_BITS = 0.2
#: ... a law so many less than slin, as taking slin for a law is the worse error, ...
SLIN_MARGIN_BITS = 0.5
#: ... and at most so many (random bytes need 8), ...
MAX_BITS = 7.7
#: ... over at least so many bytes.
MIN_EVALUATED_BYTES = 1_000
#: Small frames of a speech codec: their mean size in bytes, mean distance in milliseconds and pace at most.
#: A telephone's packets of slin have 160 bytes at least, and pauses make the distance longer.
MAX_SMALL_BYTES, MAX_SMALL_GAP_MS, MAX_SMALL_PACE = 120.0, 90.0, 6.0
#: Bytes of a window that are evaluated at most, against a flood of frames: 10 frames of 160 bytes.
MAX_EVALUATED_BYTES = 10 * MAX_BYTES
#: Windows without a likely codec before the verdict is ``unknown``, about 5 s; all further windows are that long.
MAX_UNCLEAR_WINDOWS = 12


class CodecProbe:
    """Determines the codec of the frames of kind 0x10 of one leg; ``verdict`` is None until it is known.

    The verdicts ``slin``, ``ulaw`` and ``alaw`` are final. ``unknown`` (not the pace of slin, and no likely codec:
    G.722, or one with small frames as G.729) comes after some seconds and may still change to one of the others.
    """

    __slots__ = (
        "_bits",
        "_bytes",
        "_elapsed_ms",
        "_evaluated",
        "_fast",
        "_frames",
        "_judged_windows",
        "_last_ms",
        "_slow",
        "_unclear",
        "verdict",
    )

    def __init__(self) -> None:
        self.verdict: str | None = None
        self._last_ms: float | None = None
        #: The previous window was slower than slin: frames are evaluated.
        self._slow = False
        #: Windows in a row at the pace of slin; slower ones that were judged; those without a likely codec.
        self._fast = self._judged_windows = self._unclear = 0
        self._begin_window()

    def _begin_window(self) -> None:
        self._elapsed_ms = 0.0
        self._bytes = self._frames = self._evaluated = 0
        self._bits = (0.0, 0.0, 0.0)

    def add(self, now_ms: float, payload: bytes) -> str | None:
        """Take one frame that arrived at ``now_ms`` (milliseconds); return the verdict if it is a new one."""
        if self._last_ms is not None:  # the first frame only starts the clock
            self._elapsed_ms += min(now_ms - self._last_ms, MAX_GAP_MS)
            self._bytes += len(payload)
            self._frames += 1
        self._last_ms = now_ms
        if self._slow:
            self._evaluate(payload)
            many = self._judged_windows >= MAX_UNCLEAR_WINDOWS
            length_ms = EVALUATION_MS * MAX_UNCLEAR_WINDOWS if many else EVALUATION_MS
        else:
            length_ms = COUNTING_MS
        if self._elapsed_ms < length_ms:
            return None
        verdict = self._close_window()
        self._begin_window()
        if verdict is not None:
            self.verdict = verdict
        return verdict

    def _evaluate(self, payload: bytes) -> None:
        if self._evaluated >= MAX_EVALUATED_BYTES:
            return
        bits = bits_per_byte(payload)
        if bits is not None:
            size = min(len(payload), MAX_BYTES)
            self._evaluated += size
            slin, ulaw, alaw = self._bits
            self._bits = (slin + bits[0] * size, ulaw + bits[1] * size, alaw + bits[2] * size)

    def _close_window(self) -> str | None:
        """Return the verdict of the window that is full; None for no new one."""
        pace = self._bytes / self._elapsed_ms
        enough = self._evaluated >= MIN_EVALUATED_BYTES
        codec = self._likely_codec() if enough else None
        self._slow = pace <= MIN_SLIN_PACE
        if not self._slow:
            self._fast += 1
            return "slin" if codec == "slin" or self._fast == FAST_WINDOWS else None
        self._fast = 0
        judged = enough or self._is_small(pace)
        self._judged_windows += judged
        if codec in DECODERS:
            return codec if pace <= MAX_G711_PACE else None
        if judged and codec is None:
            self._unclear += 1
            return "unknown" if self._unclear == MAX_UNCLEAR_WINDOWS else None
        return None

    def _is_small(self, pace: float) -> bool:
        """Return whether the frames of the window are small and steady, as those of speech codecs."""
        return (
            pace <= MAX_SMALL_PACE
            and self._bytes <= MAX_SMALL_BYTES * self._frames
            and self._elapsed_ms <= MAX_SMALL_GAP_MS * self._frames
        )

    def _likely_codec(self) -> str | None:
        """Return the likely codec of the evaluated bytes, or None."""
        slin, ulaw, alaw = (bits / self._evaluated for bits in self._bits)
        law, worse, name = (ulaw, alaw, "ulaw") if ulaw < alaw else (alaw, ulaw, "alaw")
        if min(slin, law) > MAX_BITS:
            return None
        if slin + MARGIN_BITS <= law:
            return "slin"
        return name if law + MARGIN_BITS <= worse and law + SLIN_MARGIN_BITS <= slin else None
