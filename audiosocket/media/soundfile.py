"""Sound files, read as slin at the rate of a leg.

WAV with PCM of 8 to 32 bits, float, A-law or u-law, plain or extensible, up to 8 channels (averaged to one), 4 to
384 kHz; and Asterisk's files without a header, whose suffix gives the rate or the law (``sound_formats.py``).
Files are read block by block, so memory is the result plus 1 MB. Reading blocks, and importing this module takes a
tenth of a second (numpy, soxr; see ``lazy_imports.py``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from audiosocket.errors import InvalidSound
from audiosocket.media.pcm import FULL_SCALE, alaw_to_slin, converted_samples, ulaw_to_slin
from audiosocket.media.resample import Floats, convert_blocks
from audiosocket.media.sound_formats import sound_layout
from audiosocket.media.wav import Encoding, WavLayout
from audiosocket.wire import SAMPLE_BYTES

#: The size of a file and of the converted sound at most: 3.4 hours at 8 kHz.
MAX_SOUND_BYTES = 200_000_000
_BLOCK_FRAMES = 1 << 15


def read_wav(path: Path, rate: int) -> bytes:
    """Return the sound in ``path`` as slin at ``rate`` Hz; blocks, so call it in a thread.

    Raises `InvalidSound` with the file and the cause: missing, not a file, unreadable, empty, too large, damaged,
    not a WAV, compressed.
    """
    with _naming(path), open(path, "rb", opener=_open_nonblocking) as source:
        return _read(source, path, rate)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn errors inside into an `InvalidSound` with the name of the file."""
    if "\0" in str(path):
        raise InvalidSound(f"sound file {str(path)!r}: its name contains a NUL character")
    try:
        yield
    except InvalidSound as why:
        raise InvalidSound(f"sound file {path}: {why}") from None
    except OSError as why:
        raise InvalidSound(f"sound file {path}: {why.strerror or why}") from why


def _open_nonblocking(path: str, flags: int) -> int:
    """Open for reading without waiting for a writer, in case this is a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read(source: BinaryIO, path: Path, rate: int) -> bytes:
    status = os.fstat(source.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise InvalidSound("it is not a plain file")
    if status.st_size > MAX_SOUND_BYTES:
        raise InvalidSound(f"{status.st_size} bytes; at most {MAX_SOUND_BYTES} are read")
    layout = sound_layout(source, path, status.st_size)
    if not layout.frames:
        raise InvalidSound("it contains no audio")
    size = converted_samples(layout.frames, layout.rate, rate) * SAMPLE_BYTES
    if size > MAX_SOUND_BYTES:
        raise InvalidSound(f"it becomes {size} bytes at {rate} Hz; at most {MAX_SOUND_BYTES} are kept")
    return convert_blocks(_blocks(source, layout), layout.rate, rate)


def _blocks(source: BinaryIO, layout: WavLayout) -> Iterator[Floats]:
    """Yield the samples as one channel of float32, in units of one slin step."""
    source.seek(layout.offset)
    left = layout.length
    while left > 0:
        raw = source.read(min(left, _BLOCK_FRAMES * layout.block))
        left -= len(raw)
        raw = raw[: len(raw) - len(raw) % layout.block]
        if not raw:
            return
        samples = _decode(raw, layout.encoding, layout.width)
        if layout.channels > 1:
            samples = samples.reshape(-1, layout.channels).mean(axis=1)
        yield samples.astype(np.float32)


def _decode(raw: bytes, encoding: Encoding, width: int) -> NDArray[Any]:
    if encoding is Encoding.ULAW or encoding is Encoding.ALAW:
        slin = ulaw_to_slin(raw) if encoding is Encoding.ULAW else alaw_to_slin(raw)
        return np.frombuffer(slin, "<i2").astype(np.float32)
    if encoding is Encoding.FLOAT:
        samples: NDArray[Any] = np.nan_to_num(np.frombuffer(raw, f"<f{width}"), posinf=1.0, neginf=-1.0)
        return samples.clip(-1.0, 1.0) * FULL_SCALE
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) * 256
    if width == 2:
        return np.frombuffer(raw, "<i2").astype(np.float32)
    if width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw = wide.tobytes()
    return np.frombuffer(raw, "<i4").astype(np.float64) / 65_536


@dataclass(frozen=True)
class Sound:
    """A sound that was read; ``identity`` is time of change (ns), size and inode, taken before reading."""

    identity: tuple[int, int, int]
    pcm: bytes


def read_if_changed(path: Path, rate: int, kept: Sound | None) -> Sound:
    """Return the sound as the file is now, ``kept`` if the file has not changed; blocks."""
    with _naming(path):
        status = path.stat()
    identity = (status.st_mtime_ns, status.st_size, status.st_ino)
    if kept is not None and kept.identity == identity:
        return kept
    return Sound(identity, read_wav(path, rate))
