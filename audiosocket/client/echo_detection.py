"""A recognisable second of sound, and finding what was said in what was heard.

The search is a normalised cross-correlation of short, loud pieces of what was said with everything heard, by
FFT: levels and codecs do not matter, other sounds do not match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from audiosocket.client.report import SILENCE_PEAK
from audiosocket.client.rules import HeardFrame
from audiosocket.media.resample import convert
from audiosocket.wire import SAMPLE_BYTES

Samples = NDArray[np.float64]

#: Four notes in Hz, a quarter of a second each, struck like a bell and rising as a bird's do. Steady notes
#: would be found again in every other sound that has the same note in it, a server's chime for one.
NOTES = (640.0, 790.0, 1010.0, 860.0)
NOTE_SECONDS = 0.25
NOTE_RISE = 1.25
NOTE_PEAK = 9_000
#: Milliseconds of a piece of sound that is looked for, and from one such piece to the next.
PIECE_MS = 200
PIECES_APART_MS = 250
MAX_PIECES = 4
#: How alike (0 to 1) what is found must be, and where there is no need to look for another piece.
ALIKE = 0.6
CERTAIN = 0.9
#: Seconds of what is said from which the pieces are chosen.
CHOSEN_SECONDS = 15
#: Samples that are searched (8 s at 192 kHz, 3 min at 8 kHz); what comes later is not looked at.
MAX_SEARCHED = 1_500_000


class Echo(NamedTuple):
    """What was said came back: after how long (ms), and how alike it was (1: sample by sample)."""

    delay_ms: float
    likeness: float


def tone_pattern(rate: int) -> bytes:
    """One second of slin at ``rate`` Hz: four notes, so that every piece of it is unlike everything else."""
    time = np.arange(int(rate * NOTE_SECONDS)) / rate
    shape = np.minimum(1.0, time / 0.004) * np.exp(-7 * time)
    turns = time + time**2 * (NOTE_RISE - 1) / (2 * NOTE_SECONDS)
    notes = [np.sin(2 * np.pi * hz * turns) + 0.25 * np.sin(4 * np.pi * hz * turns) for hz in NOTES]
    return (np.concatenate([note * shape for note in notes]) * NOTE_PEAK / 1.25).astype("<i2").tobytes()


class Piece(NamedTuple):
    """A piece of what is said that is looked for: slin at ``rate`` Hz, ``at_ms`` after the sound's beginning."""

    at_ms: float
    rate: int
    pcm: bytes


def choose_pieces(said: bytes, rate: int) -> list[Piece]:
    """Up to four pieces of 200 ms that are loud for this sound, in its first 15 s; none when that is silence.

    More than one, because a server that once runs short puts a hole into the sound.
    """
    size = rate * PIECE_MS // 1000
    pieces: list[Piece] = []
    for start in _loud(_samples(said[: rate * CHOSEN_SECONDS * SAMPLE_BYTES]), size, rate // 50):
        at_ms = start * 1000 / rate
        if not pieces or at_ms >= pieces[-1].at_ms + PIECES_APART_MS:
            pieces.append(Piece(at_ms, rate, said[start * SAMPLE_BYTES : (start + size) * SAMPLE_BYTES]))
        if len(pieces) == MAX_PIECES:
            break
    return pieces


def find_echo(pieces: Sequence[Piece], said_at_ms: float, heard: Sequence[HeardFrame]) -> Echo | None:
    """Where the first of ``pieces`` that came through, or else the one most alike, is heard again, if it is.

    The sound was said from ``said_at_ms`` of the call on. What was heard before that, or at another rate than
    most of it, is not searched.
    """
    listened = main_rate(frame for frame in heard if frame.at_ms >= said_at_ms)
    if listened is None:
        return None
    frames = [frame for frame in heard if frame.rate == listened and frame.at_ms >= said_at_ms]
    positions, pcm = _line_up(frames)
    samples, best = _samples(pcm), None
    for piece in pieces:
        found = _best(_samples(convert(piece.pcm, piece.rate, listened)), samples)
        if found is None:
            continue
        where, likeness = found
        frame = int(np.searchsorted(positions, where, side="right")) - 1
        came_at = frames[frame].at_ms + (where - positions[frame]) * 1000 / listened
        echo = Echo(max(0.0, came_at - said_at_ms - piece.at_ms), likeness)
        if likeness >= CERTAIN:
            return echo
        if best is None or likeness > best.likeness:
            best = echo
    return best


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


def _loud(samples: Samples, size: int, step: int) -> list[int]:
    """Where pieces of ``size`` samples begin that are at least half as loud as the loudest."""
    energy = np.concatenate(([0.0], np.cumsum(samples * samples)))
    starts = np.arange(0, max(1, samples.size - size + 1), step)
    energies = energy[np.minimum(starts + size, samples.size)] - energy[starts]
    if energies.max() <= min(size, samples.size) * SILENCE_PEAK**2 / 4:
        return []
    return [int(start) for start in starts[energies >= energies.max() / 4]]


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
