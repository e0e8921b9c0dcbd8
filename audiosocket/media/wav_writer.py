"""A stereo WAV that is valid whenever one looks, also after ``kill -9`` in the middle of writing.

Samples are written first and the sizes in the header after them, in one `os.pwrite` each time: the header
never promises what is not there. (Between the creation of the file and its first header, some
microseconds, it is empty.) Nothing is forced to the disk: a power cut may cost the last seconds.

Everything here blocks and belongs to one worker thread.
"""

from __future__ import annotations

import os
from pathlib import Path

from audiosocket.media.wav import HEADER_BYTES, wav_header

CHANNELS = 2
FRAME_BYTES = 2 * CHANNELS
#: What the 32 bits of the header's sizes can say: 37 hours at 8 kHz, 6 at 48 kHz.
MAX_DATA_BYTES = 0xFFFFFFFF - HEADER_BYTES
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StereoWavWriter:
    """A WAV of 16 bit stereo at ``rate`` Hz, created for its owner alone (mode 0600).

    Raises `FileExistsError` when there is a ``path`` already, a symbolic link included, and `OSError`
    when it cannot be created. ``limit_bytes`` bounds the samples.
    """

    def __init__(self, path: Path, rate: int, limit_bytes: int = MAX_DATA_BYTES) -> None:
        self.path = path
        self.rate = rate
        self._limit = min(limit_bytes, MAX_DATA_BYTES) // FRAME_BYTES * FRAME_BYTES
        self._size = 0
        self._descriptor = os.open(path, _FLAGS, 0o600)
        try:
            self._write(wav_header(rate, CHANNELS, 0), 0)
        except OSError:
            self.close()
            raise

    @property
    def duration_ms(self) -> float:
        """Milliseconds of audio in the file."""
        return self._size // FRAME_BYTES * 1000 / self.rate

    @property
    def full(self) -> bool:
        """Whether the limit is reached and further audio is left out."""
        return self._size >= self._limit

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._descriptor < 0

    def append(self, frames: bytes) -> None:
        """Add interleaved samples, left first; what does not fit under the limit is left out.

        Raises `OSError` when the disk is full or broken: the file stays valid as it was before, and
        the next call tries the same place again. Raises `ValueError` for half a frame.
        """
        if len(frames) % FRAME_BYTES:
            raise ValueError(f"{len(frames)} bytes are not whole frames of {FRAME_BYTES}")
        frames = frames[: self._limit - self._size]
        if not frames:
            return
        self._write(frames, HEADER_BYTES + self._size)
        size = self._size + len(frames)
        self._write(wav_header(self.rate, CHANNELS, size), 0)
        self._size = size

    def close(self) -> None:
        """Close the file; it needs nothing more to be valid. Harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, data: bytes, offset: int) -> None:
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written


def open_recording(directory: Path, stem: str, rate: int) -> StereoWavWriter:
    """A new ``stem.wav`` in ``directory`` (made if missing), or ``stem-2.wav``, ``stem-3.wav`` … if taken.

    Raises `OSError` when that is impossible and `ValueError` for a stem that is not a plain file name.
    """
    if not stem or stem.startswith(".") or "/" in stem or "\0" in stem:
        raise ValueError(f"{stem!r} is not a file name for a recording")
    directory.mkdir(parents=True, exist_ok=True)
    path, number = directory / f"{stem}.wav", 1
    while True:
        try:
            return StereoWavWriter(path, rate)
        except FileExistsError:
            number += 1
            path = directory / f"{stem}-{number}.wav"
