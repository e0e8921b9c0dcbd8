"""Signed linear audio and G.711 as bytes, with the standard library only.

Audio ("slin" in Asterisk) is signed 16 bit, little endian, one channel, in a ``bytes``; its sample rate in Hz is
passed beside it. Levels are RMS in dB relative to full scale (dBFS): a square wave of
full height is 0, a sine of full height -3.01.

G.711 follows ITU-T Recommendation G.711 (11/1988), tables 1a to 2b; the 16 bit values are those of
Asterisk and SoX (14 bit for u-law and 13 bit for A-law, shifted to the left). Decoding is two
``bytes.translate``; encoding looks every sample up in a table of 64 kB (20 ms at 8 kHz: 2 us and 18 us).
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Iterator
from operator import mul

from audiosocket.wire import SAMPLE_BYTES

FULL_SCALE = 32_768
MAX_SAMPLE = 32_767
#: The `level` of digital silence; a single bit has -90.3.
SILENT_DBFS = -100.0


def to_samples(pcm: bytes) -> array[int]:
    """Return the samples of ``pcm``, -32768 to 32767; half a sample at the end is left out."""
    samples = array("h", pcm[: len(pcm) & ~1])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def from_samples(samples: Iterable[int]) -> bytes:
    """Return ``samples``, -32768 to 32767, as bytes; the inverse of `to_samples`."""
    values = array("h", samples)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def samples_in(rate: int, ms: float) -> int:
    """Return the number of samples of ``ms`` milliseconds at ``rate`` Hz, rounded down."""
    return int(rate * ms / 1000)


def converted_samples(samples: int, source: int, target: int) -> int:
    """Return how many samples ``samples`` at ``source`` Hz become at ``target`` Hz, halves rounded up."""
    return (2 * samples * target + source) // (2 * source)


def duration_ms(pcm: bytes, rate: int) -> float:
    """Return the milliseconds of ``pcm`` at ``rate`` Hz; half a sample at the end does not count."""
    return len(pcm) // SAMPLE_BYTES * 1000 / rate


def silence(rate: int, ms: float) -> bytes:
    """Return ``ms`` milliseconds of zeros at ``rate`` Hz."""
    return bytes(samples_in(rate, ms) * SAMPLE_BYTES)


def tone(rate: int, hz: float, ms: float, level: float = -20.0) -> bytes:
    """Return a sine of ``hz`` lasting ``ms`` milliseconds, with ``level`` in dBFS as `level` measures it.

    It begins at phase zero, and is clipped when ``level`` is above -3.01.
    """
    peak = math.sqrt(2) * FULL_SCALE * 10 ** (level / 20)
    step = 2 * math.pi * hz / rate
    return from_samples(
        max(-FULL_SCALE, min(MAX_SAMPLE, round(peak * math.sin(step * n)))) for n in range(samples_in(rate, ms))
    )


def level(pcm: bytes, every: int = 1) -> float:
    """Return the RMS of ``pcm`` in dBFS, `SILENT_DBFS` for zeros; takes some 20 us for 20 ms at 8 kHz.

    Only one sample in ``every`` counts, which takes as much less time.
    """
    samples = to_samples(pcm)[::every]
    energy = sum(map(mul, samples, samples))
    if not energy:
        return SILENT_DBFS
    return 10 * math.log10(energy / len(samples)) - 20 * math.log10(FULL_SCALE)


def chunks(pcm: bytes, rate: int, ms: int = 20) -> Iterator[bytes]:
    """Yield ``pcm`` in pieces of exactly ``ms`` milliseconds, the last one filled up with zeros.

    Raises `ValueError` when ``ms`` is less than one sample.
    """
    size = samples_in(rate, ms) * SAMPLE_BYTES
    if size <= 0:
        raise ValueError(f"{ms} ms at {rate} Hz is less than one sample")
    for start in range(0, len(pcm), size):
        yield pcm[start : start + size].ljust(size, b"\0")


def _ulaw_value(code: int) -> int:
    """Return the sample of a u-law code: inverted, 8 segments of 16 steps, each twice as wide (table 2)."""
    segment, step = (~code >> 4) & 7, ~code & 0x0F
    magnitude = (((step << 3) + 0x84) << segment) - 0x84
    return magnitude if code & 0x80 else -magnitude


def _alaw_value(code: int) -> int:
    """Return the sample of an A-law code: even bits inverted, the first two segments equally wide (table 1)."""
    code ^= 0x55
    segment, step = (code >> 4) & 7, code & 0x0F
    magnitude = (step << 4) + 8 if segment == 0 else ((step << 4) + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


def _ulaw_codes() -> bytes:
    """Return the u-law code of every 16 bit word, built from runs of equal codes.

    The steps of each segment are twice as wide as those of the one before. Magnitudes are biased by 132, and the
    segments begin at 128: the first step has four words fewer.
    """
    runs = (bytes([0xFF - n]) * (8 << (n >> 4)) for n in range(128))
    positive = b"".join(runs)[4:].ljust(FULL_SCALE + 1, b"\x80")
    return positive[:-1] + bytes(code & 0x7F for code in positive[:0:-1])


def _alaw_codes() -> bytes:
    """Return the A-law code of every 16 bit word, built from runs of equal codes."""
    runs = (bytes([(0x80 | n) ^ 0x55]) * max(16, 8 << (n >> 4)) for n in range(128))
    positive = b"".join(runs)
    return positive + bytes(code & 0x7F for code in reversed(positive))


def _halves(values: Iterable[int]) -> tuple[bytes, bytes]:
    """Return the low and the high bytes of 16 bit values, as tables for ``bytes.translate``."""
    words = [value & 0xFFFF for value in values]
    return bytes(word & 0xFF for word in words), bytes(word >> 8 for word in words)


_ULAW_HALVES = _halves(map(_ulaw_value, range(256)))
_ALAW_HALVES = _halves(map(_alaw_value, range(256)))
_ULAW_CODES = _ulaw_codes()
_ALAW_CODES = _alaw_codes()


def _expand(encoded: bytes, halves: tuple[bytes, bytes]) -> bytes:
    pcm = bytearray(len(encoded) * SAMPLE_BYTES)
    pcm[0::2] = encoded.translate(halves[0])
    pcm[1::2] = encoded.translate(halves[1])
    return bytes(pcm)


def _compress(pcm: bytes, codes: bytes) -> bytes:
    words = array("H", pcm[: len(pcm) & ~1])
    if sys.byteorder == "big":
        words.byteswap()
    return bytes(map(codes.__getitem__, words))


def ulaw_to_slin(encoded: bytes) -> bytes:
    """Return G.711 u-law (PCMU), one byte per sample, decoded; 0xff is 0 and 0x00 is -32124."""
    return _expand(encoded, _ULAW_HALVES)


def alaw_to_slin(encoded: bytes) -> bytes:
    """Return G.711 A-law (PCMA), one byte per sample, decoded; 0xd5 is 8 and 0x2a is -32256."""
    return _expand(encoded, _ALAW_HALVES)


def slin_to_ulaw(pcm: bytes) -> bytes:
    """Return ``pcm`` as G.711 u-law, one byte per sample; zero is 0xff."""
    return _compress(pcm, _ULAW_CODES)


def slin_to_alaw(pcm: bytes) -> bytes:
    """Return ``pcm`` as G.711 A-law, one byte per sample; zero is 0xd5."""
    return _compress(pcm, _ALAW_CODES)
