"""Sample-rate conversion of slin: whole sounds with soxr, streams with an FIR filter of our own.

`convert` is for whole sounds (files): soxr's HQ, with errors below the rounding to 16 bit (-88 dB).

`StreamConverter` is for streams. soxr holds back 12 to 60 ms of a stream and returns it in bursts, so this is a
polyphase Kaiser-windowed sinc over 56 samples of the slower rate:

* delay: 28 samples of the slower rate plus at most one of the faster are held back: 3.5 ms between
  8 kHz and anything above, 1.75 ms between 16 and 24 kHz, 0.65 ms between 44.1 and 48 kHz. The output
  itself is not shifted: sample 0 out is sample 0 in.
* pass band: within 0.1 dB up to 0.85 of the slower Nyquist (3.4 of 4 kHz), -6 dB at 0.92;
* images and aliases, from the slower Nyquist on: -72 dB or less, measured over all 72 pairs;
* DC is exact: silence stays silence and full scale stays full scale.
* CPU: `StreamConverter.feed` of 20 ms takes 15 to 35 us between 8, 16, 24 and 48 kHz, 40 to 60 us with
  44.1 kHz on one side and up to 200 us between 44.1 and 192 kHz (numpy 2.4; a noisy virtual core).

Coefficients are integers and every sum stays below 2**53, so float64 arithmetic is exact: the same
samples come out however the stream was split and in whatever order the BLAS library adds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

from audiosocket.media.pcm import FULL_SCALE, converted_samples
from audiosocket.wire import SAMPLE_BYTES

Floats = NDArray[np.float32]
_SLIN = np.dtype("<i2")

#: Half the filter, in samples of the slower rate.
_REACH = 28
_KAISER_BETA = 7.0
#: Where the filter is at -6 dB, as a part of the slower Nyquist.
_CUTOFF = 0.92
#: Coefficients are multiples of 2**-30: 2**30 x 2**15 x (sum of magnitudes, below 4) stays under 2**53.
_UNIT = 2.0**30
#: Coefficients that a pair of rates may need (16 MB); all pairs of common rates need less than a tenth.
_MAX_COEFFICIENTS = 2_000_000
_ROWS = 64
_BLOCK = 1 << 16


def convert(pcm: bytes, source: int, target: int) -> bytes:
    """Convert a whole sound from ``source`` to ``target`` Hz, without delay or samples lost at either end.

    The result has `converted_samples` samples; half a sample at the end of ``pcm`` is dropped.
    """
    samples = np.frombuffer(pcm, _SLIN, len(pcm) // SAMPLE_BYTES)
    blocks = (samples[n : n + _BLOCK].astype(np.float32) for n in range(0, len(samples), _BLOCK))
    return convert_blocks(blocks, source, target)


def convert_blocks(blocks: Iterable[Floats], source: int, target: int) -> bytes:
    """Convert as `convert` does, from blocks of float32 samples in units of one slin step."""
    pieces: list[bytes] = []
    taken = 0
    if source == target:
        return b"".join(_to_slin(block) for block in blocks)
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        taken += len(block)
        pieces.append(_to_slin(stream.resample_chunk(block)))
    pieces.append(_to_slin(stream.resample_chunk(np.zeros(0, np.float32), last=True)))
    size = converted_samples(taken, source, target) * SAMPLE_BYTES
    return b"".join(pieces)[:size].ljust(size, b"\0")


def _to_slin(samples: NDArray[np.floating]) -> bytes:
    pcm: bytes = np.clip(np.rint(samples), -FULL_SCALE, FULL_SCALE - 1).astype(_SLIN).tobytes()
    return pcm


@dataclass(frozen=True)
class _Filter:
    """One period: ``outputs`` samples from ``inputs``, with ``reach`` more inputs on either side.

    ``matrix`` has one row per sample of that window and one column per output.
    """

    inputs: int
    outputs: int
    reach: int
    matrix: NDArray[np.float64]


@lru_cache(maxsize=128)
def _design(source: int, target: int) -> _Filter:
    divisor = math.gcd(source, target)
    inputs, outputs = source // divisor, target // divisor
    ratio = max(1.0, inputs / outputs)
    reach = math.ceil(_REACH * ratio)
    # Several short periods in one make the matrix multiplication cheaper, at the price of some zeros.
    times = max(1, reach // 2 // inputs)
    inputs, outputs = inputs * times, outputs * times
    window = inputs + 2 * reach
    if window * outputs > _MAX_COEFFICIENTS:
        raise ValueError(f"cannot convert a stream from {source} to {target} Hz: no small common divisor")
    wanted = np.arange(outputs) * inputs / outputs
    away = (wanted[None, :] - (np.arange(window) - reach)[:, None]) / ratio
    inside = np.maximum(0.0, 1 - (away / _REACH) ** 2)
    matrix = np.sinc(away * _CUTOFF) * np.i0(_KAISER_BETA * np.sqrt(inside)) * (abs(away) < _REACH)
    matrix = np.rint(matrix / matrix.sum(axis=0) * _UNIT)
    return _Filter(inputs, outputs, reach, matrix)


class StreamConverter:
    """Converts slin in pieces of any size, odd ones included, from one rate to another.

    The output does not depend on how the input was split. Raises `ValueError` for a pair of rates without a
    usable common divisor (all nine rates of AudioSocket have one).
    """

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self._filter = None if source == target else _design(source, target)
        self._odd = b""
        self._restart()

    def _restart(self) -> None:
        reach = self._filter.reach if self._filter else 0
        self._taken = 0
        self._given = 0
        #: The first period not yet returned whole, and the input from ``reach`` before it on.
        self._period = 0
        self._history: NDArray[np.int16] = np.zeros(reach, _SLIN)

    @property
    def delay_ms(self) -> float:
        """Milliseconds of audio held back while streaming; `flush` returns them."""
        return self._filter.reach * 1000 / self.source if self._filter else 0.0

    def feed(self, pcm: bytes) -> bytes:
        """Take ``pcm`` and return the converted samples that are ready; may be empty."""
        if self._odd:
            pcm = self._odd + pcm
        even = len(pcm) & ~1
        self._odd = pcm[even:]
        if self._filter is None:
            return pcm[:even]
        self._taken += even // 2
        self._history = np.concatenate((self._history, np.frombuffer(pcm, _SLIN, even // 2)))
        ready = self._taken - self._filter.reach
        return self._give(-(-ready * self._filter.outputs // self._filter.inputs))

    def flush(self) -> bytes:
        """Return the rest, so that `converted_samples` were returned in total, and begin a new stream."""
        self._odd = b""
        if self._filter is None:
            return b""
        rest = self._give(converted_samples(self._taken, self.source, self.target))
        self._restart()
        return rest

    def _give(self, end: int) -> bytes:
        """Return the output samples from the end of the last call up to ``end``."""
        design = self._filter
        if design is None or end <= self._given:
            return b""
        first = self._period * design.outputs
        out = self._multiply(design, -(-(end - first) // design.outputs))
        pcm = _to_slin(out[self._given - first : end - first] / _UNIT)
        done = (end - first) // design.outputs
        self._given = end
        self._period += done
        self._history = self._history[done * design.inputs :].copy()
        return pcm

    def _multiply(self, design: _Filter, periods: int) -> NDArray[np.float64]:
        """Return the next ``periods`` whole periods; missing input counts as silence."""
        history = np.zeros(periods * design.inputs + 2 * design.reach)
        known = self._history[: len(history)]
        history[: len(known)] = known
        step = history.itemsize
        shape, strides = (periods, len(design.matrix)), (design.inputs * step, step)
        windows: NDArray[np.float64] = np.ndarray(shape, np.float64, history, 0, strides)
        rows = [windows[n : n + _ROWS].copy() @ design.matrix for n in range(0, periods, _ROWS)]
        return (rows[0] if len(rows) == 1 else np.concatenate(rows)).ravel()
