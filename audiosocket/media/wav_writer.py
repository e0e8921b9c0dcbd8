"""A stereo WAV that is valid at any time, also after ``kill -9`` in the middle of writing.

Samples are written first and the sizes in the header after them, each with one `os.pwrite`: the header never
claims more than the file has. (Between the creation of the file and its first header, some microseconds, it is
empty.) Nothing is synced to the disk: a power failure may lose the last seconds.

Everything here blocks, and is called in one thread.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from audiosocket.media.wav import HEADER_BYTES, wav_header
from audiosocket.wire import SAMPLE_BYTES

CHANNELS = 2
FRAME_BYTES = SAMPLE_BYTES * CHANNELS
#: Where the header has the sample rate.
RATE_AT = 24
_NUMBER = struct.Struct("<I")
#: The limit of the 32 bit sizes in the header: 37 hours at 8 kHz, 6 at 48 kHz.
MAX_DATA_BYTES = 0xFFFFFFFF - HEADER_BYTES
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StereoWavWriter:
    """A WAV of 16 bit stereo at ``rate`` Hz, readable by its owner only (mode 0600).

    Raises `FileExistsError` when ``path`` exists, also as a symbolic link, and `OSError` when it cannot be
    created. At most ``limit_bytes`` of samples are written.
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

    @classmethod
    def reopen(cls, path: Path, limit_bytes: int = MAX_DATA_BYTES) -> StereoWavWriter:
        """Go on with a file that this class has written; raises OSError, or ValueError for another file."""
        writer = cls.__new__(cls)
        writer.path = path
        writer._limit = min(limit_bytes, MAX_DATA_BYTES) // FRAME_BYTES * FRAME_BYTES
        writer._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            writer.rate, writer._size = _layout(os.pread(writer._descriptor, HEADER_BYTES, 0), path)
        except BaseException:
            writer.close()
            raise
        return writer

    @property
    def duration_ms(self) -> float:
        """Milliseconds of audio in the file."""
        return self._size // FRAME_BYTES * 1000 / self.rate

    @property
    def full(self) -> bool:
        """Whether the limit is reached, so that further audio is dropped."""
        return self._size >= self._limit

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._descriptor < 0

    def append(self, frames: bytes) -> None:
        """Append interleaved samples, left first; what exceeds the limit is dropped.

        Raises `OSError` when writing fails: the file stays valid as it was before, and the next call writes to the
        same position. Raises `ValueError` for an incomplete frame.
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
        """Close the file, which is valid already; do nothing when closed already."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, data: bytes, offset: int) -> None:
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written


def open_recording(directory: Path, stem: str, rate: int) -> StereoWavWriter:
    """Create ``stem.wav`` in ``directory`` (created if missing), or ``stem-2.wav``, ``stem-3.wav`` … if it exists.

    Raises `OSError` when that fails, and `ValueError` for a stem that is not a plain file name.
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


def _layout(header: bytes, path: Path) -> tuple[int, int]:
    """Return the sample rate and the bytes of samples; raises ValueError."""
    if len(header) == HEADER_BYTES:
        rate, size = _NUMBER.unpack_from(header, RATE_AT)[0], _NUMBER.unpack_from(header, HEADER_BYTES - 4)[0]
        if header == wav_header(rate, CHANNELS, size):
            return rate, size
    raise ValueError(f"{path} is no recording of this server")
