"""A second of sound that is easy to recognise, and the search for an echo of the audio sent.

The search is a normalised cross-correlation by FFT of short, loud pieces of the audio sent with all audio
received. Levels and codecs do not matter, other sounds do not match.
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

#: Four notes in Hz, a quarter of a second each, decaying and with a rising pitch: a constant pitch would match
#: every other sound that contains it, for example a server's chime.
NOTES = (640.0, 790.0, 1010.0, 860.0)
NOTE_SECONDS = 0.25
NOTE_RISE = 1.25
NOTE_PEAK = 9_000
#: Milliseconds of a piece of sound that is searched for, and from the start of one to the start of the next.
PIECE_MS = 200
PIECES_APART_MS = 250
MAX_PIECES = 4
#: The correlation (0 to 1) from which a match counts, and from which no other piece is searched for.
ALIKE = 0.6
CERTAIN = 0.9
#: Seconds of the audio sent from which the pieces are chosen.
CHOSEN_SECONDS = 15
#: Samples that are searched (8 s at 192 kHz, 3 min at 8 kHz); later ones are not.
MAX_SEARCHED = 1_500_000


class Echo(NamedTuple):
    """An echo of the audio sent: its delay (ms), and its correlation with it (1: equal)."""

    delay_ms: float
    likeness: float


def tone_pattern(rate: int) -> bytes:
    """Return one second of slin at ``rate`` Hz: four notes, every piece of which is unique."""
    time = np.arange(int(rate * NOTE_SECONDS)) / rate
    shape = np.minimum(1.0, time / 0.004) * np.exp(-7 * time)
    turns = time + time**2 * (NOTE_RISE - 1) / (2 * NOTE_SECONDS)
    notes = [np.sin(2 * np.pi * hz * turns) + 0.25 * np.sin(4 * np.pi * hz * turns) for hz in NOTES]
    return (np.concatenate([note * shape for note in notes]) * NOTE_PEAK / 1.25).astype("<i2").tobytes()


class Piece(NamedTuple):
    """A piece of the audio sent that is searched for: slin at ``rate`` Hz, ``at_ms`` after the start."""

    at_ms: float
    rate: int
    pcm: bytes


def choose_pieces(said: bytes, rate: int) -> list[Piece]:
    """Return up to four pieces of 200 ms that are among the loudest of the first 15 s; none of silence.

    Several, as a server whose queue runs empty inserts silence into the sound.
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
    """Return the echo of the first piece that matches certainly, else of the best match, else None.

    The audio was sent from ``said_at_ms`` of the call on. What was received before that, or at another rate than
    most of it, is not searched.
    """
    rate = main_rate(frame for frame in heard if frame.at_ms >= said_at_ms)
    if rate is None:
        return None
    frames = [frame for frame in heard if frame.rate == rate and frame.at_ms >= said_at_ms]
    positions, pcm = _line_up(frames)
    samples, best = _samples(pcm), None
    for piece in pieces:
        found = _best(_samples(convert(piece.pcm, piece.rate, rate)), samples)
        if found is None:
            continue
        where, likeness = found
        frame = int(np.searchsorted(positions, where, side="right")) - 1
        came_at = frames[frame].at_ms + (where - positions[frame]) * 1000 / rate
        echo = Echo(max(0.0, came_at - said_at_ms - piece.at_ms), likeness)
        if likeness >= CERTAIN:
            return echo
        if best is None or likeness > best.likeness:
            best = echo
    return best


def main_rate(frames: Iterable[HeardFrame]) -> int | None:
    """Return the rate in Hz of most of ``frames``: a server may begin before it knows the caller's rate."""
    rates = Counter(frame.rate for frame in frames)
    return rates.most_common(1)[0][0] if rates else None


def as_one_sound(frames: Sequence[HeardFrame]) -> tuple[bytes, int]:
    """Return all frames as slin at the rate of most of them, and that rate; raise `ValueError` for none."""
    rate = main_rate(frames)
    if rate is None:
        raise ValueError("no audio was received")
    runs = groupby(frames, key=lambda frame: frame.rate)
    return b"".join(convert(b"".join(_whole(run)), source, rate) for source, run in runs), rate


def _whole(frames: Iterator[HeardFrame]) -> Iterator[bytes]:
    for frame in frames:
        yield frame.pcm[: len(frame.pcm) // SAMPLE_BYTES * SAMPLE_BYTES]


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def _loud(samples: Samples, size: int, step: int) -> list[int]:
    """Return the starts of pieces of ``size`` samples that are at least half as loud as the loudest."""
    energy = np.concatenate(([0.0], np.cumsum(samples * samples)))
    starts = np.arange(0, max(1, samples.size - size + 1), step)
    energies = energy[np.minimum(starts + size, samples.size)] - energy[starts]
    if energies.max() <= min(size, samples.size) * SILENCE_PEAK**2 / 4:
        return []
    return [int(start) for start in starts[energies >= energies.max() / 4]]


def _line_up(frames: Sequence[HeardFrame]) -> tuple[list[int], bytes]:
    """Return the position of the first sample of each frame, and all frames as one."""
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
    """Return position and correlation of the best match of ``wanted`` in ``heard``, None for no match."""
    if not 0 < wanted.size <= heard.size:
        return None
    size = 1 << (heard.size + wanted.size - 1).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size))
    products = np.fft.irfft(spectrum, size)[: heard.size - wanted.size + 1]
    energy = np.concatenate(([0.0], np.cumsum(heard * heard)))
    energies = energy[wanted.size :] - energy[: -wanted.size]
    # Near-silence would match anything by chance.
    floor = wanted.size * SILENCE_PEAK**2 / 4
    likeness = np.where(
        energies > floor, products / np.sqrt(np.maximum(energies, floor) * float(wanted @ wanted)), 0.0
    )
    best = float(likeness.max())
    if best < ALIKE:
        return None
    where = int(np.flatnonzero(likeness >= best * 0.98)[0])
    where += int(np.argmax(likeness[where : where + 8]))
    return where, min(1.0, float(likeness[where]))
