"""A recognisable second of sound, and finding what was said in what was heard.

The search is a normalised cross-correlation of a short, loud piece of what was said with everything heard, by
FFT: levels and codecs do not matter, other speech does not match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiosocket.caller_report import SILENCE_PEAK
from audiosocket.caller_rules import HeardFrame
from audiosocket.resample import convert
from audiosocket.wire import SAMPLE_BYTES

Samples = NDArray[np.float64]

#: Four notes of a pentatonic scale in Hz, a quarter of a second each, struck like a bell.
NOTES = (659.26, 783.99, 987.77, 880.0)
NOTE_SECONDS = 0.25
NOTE_PEAK = 9_000
#: Milliseconds of sound that are looked for, and how alike (0 to 1) what is found must be.
PIECE_MS = 300
ALIKE = 0.6
#: Seconds of what is said from which the piece is chosen.
CHOSEN_SECONDS = 15
#: Samples that are searched (8 s at 192 kHz, 3 min at 8 kHz); what comes later is not looked at.
MAX_SEARCHED = 1_500_000


class Echo(NamedTuple):
    """What was said came back: after how long (ms), and how alike it was (1: sample by sample)."""

    delay_ms: float
    likeness: float


def tone_pattern(rate: int) -> bytes:
    """One second of slin at ``rate`` Hz: four notes, so that every piece of it is unlike the others."""
    time = np.arange(int(rate * NOTE_SECONDS)) / rate
    shape = np.minimum(1.0, time / 0.004) * np.exp(-7 * time)
    notes = [np.sin(2 * np.pi * hz * time) + 0.25 * np.sin(4 * np.pi * hz * time) for hz in NOTES]
    return (np.concatenate([note * shape for note in notes]) * NOTE_PEAK / 1.25).astype("<i2").tobytes()


class Piece(NamedTuple):
    """The piece of what is said that is looked for: slin at ``rate`` Hz, ``at_ms`` after the sound's beginning."""

    at_ms: float
    rate: int
    pcm: bytes


def choose_piece(said: bytes, rate: int) -> Piece | None:
    """The first 300 ms that are loud for this sound, in its first 15 s; None when all that is silence."""
    size = rate * PIECE_MS // 1000
    start = _first_loud(_samples(said[: rate * CHOSEN_SECONDS * SAMPLE_BYTES]), size, rate // 50)
    if start is None:
        return None
    return Piece(start * 1000 / rate, rate, said[start * SAMPLE_BYTES : (start + size) * SAMPLE_BYTES])


def find_echo(piece: Piece, said_at_ms: float, heard: Sequence[HeardFrame]) -> Echo | None:
    """Where ``piece`` of a sound said from ``said_at_ms`` of the call on is heard again, if it is.

    What was heard before that, or at another rate than most of it, is not searched.
    """
    listened = main_rate(frame for frame in heard if frame.at_ms >= said_at_ms)
    if listened is None:
        return None
    wanted = _samples(convert(piece.pcm, piece.rate, listened))
    frames = [frame for frame in heard if frame.rate == listened and frame.at_ms >= said_at_ms]
    positions, pcm = _line_up(frames)
    found = _best(wanted, _samples(pcm))
    if found is None:
        return None
    where, likeness = found
    frame = int(np.searchsorted(positions, where, side="right")) - 1
    came_at = frames[frame].at_ms + (where - positions[frame]) * 1000 / listened
    return Echo(came_at - said_at_ms - piece.at_ms, likeness)


def main_rate(frames: Iterable[HeardFrame]) -> int | None:
    """The rate in Hz of most of ``frames``: a server may start at another before it knows its caller's."""
    rates = Counter(frame.rate for frame in frames)
    return rates.most_common(1)[0][0] if rates else None


def as_one_sound(frames: Sequence[HeardFrame]) -> tuple[bytes, int]:
    """All frames as one slin at the rate of most of them, in Hz; raises `ValueError` for no frames."""
    rate = main_rate(frames)
    if rate is None:
        raise ValueError("nothing was heard")
    runs = groupby(frames, key=lambda frame: frame.rate)
    return b"".join(convert(b"".join(_whole(run)), source, rate) for source, run in runs), rate


def _whole(frames: Iterator[HeardFrame]) -> Iterator[bytes]:
    for frame in frames:
        yield frame.pcm[: len(frame.pcm) // SAMPLE_BYTES * SAMPLE_BYTES]


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def _first_loud(samples: Samples, size: int, step: int) -> int | None:
    """Where the first piece of ``size`` samples begins that is at least half as loud as the loudest."""
    energy = np.concatenate(([0.0], np.cumsum(samples * samples)))
    starts = np.arange(0, max(1, samples.size - size + 1), step)
    energies = energy[np.minimum(starts + size, samples.size)] - energy[starts]
    if energies.max() <= min(size, samples.size) * SILENCE_PEAK**2 / 4:
        return None
    return int(starts[np.flatnonzero(energies >= energies.max() / 4)[0]])


def _line_up(frames: Sequence[HeardFrame]) -> tuple[list[int], bytes]:
    """The first sample of each frame in the whole, and the whole."""
    positions: list[int] = []
    parts: list[bytes] = []
    size = 0
    for pcm in _whole(iter(frames)):
        if size > MAX_SEARCHED:
            break
        positions.append(size)
        parts.append(pcm)
        size += len(pcm) // SAMPLE_BYTES
    return positions, b"".join(parts)


def _best(wanted: Samples, heard: Samples) -> tuple[int, float] | None:
    """The first place at which ``heard`` is most like ``wanted``, if it is at all."""
    if not 0 < wanted.size <= heard.size:
        return None
    size = 1 << (heard.size + wanted.size - 1).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size))
    products = np.fft.irfft(spectrum, size)[: heard.size - wanted.size + 1]
    energy = np.concatenate(([0.0], np.cumsum(heard * heard)))
    energies = energy[wanted.size :] - energy[: -wanted.size]
    # A stretch as quiet as silence would match anything by chance.
    floor = wanted.size * SILENCE_PEAK**2 / 4
    likeness = np.where(
        energies > floor, products / np.sqrt(np.maximum(energies, floor) * float(wanted @ wanted)), 0.0
    )
    most = float(likeness.max())
    if most < ALIKE:
        return None
    where = int(np.flatnonzero(likeness >= most * 0.98)[0])
    where += int(np.argmax(likeness[where : where + 8]))
    return where, min(1.0, float(likeness[where]))
