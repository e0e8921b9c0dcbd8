"""What our server says in the speaking rows: a WAV whose 20 ms frames are numbered, as ``frames.h`` reads them."""

from __future__ import annotations

import wave
from pathlib import Path

#: Frames until the numbers begin again: 10 s. The same in ``frames.h`` and ``asyncio_echo.py``.
FRAMES = 500
RATE = 8_000
FRAME_BYTES = 320


def numbered_frames() -> bytes:
    """All frames: four letters, the number in four bytes, zeros."""
    return b"".join((b"Spch" + number.to_bytes(4, "little")).ljust(FRAME_BYTES, b"\0") for number in range(FRAMES))


def write_speech(path: Path) -> None:
    """Write the frames as 16-bit mono at 8 kHz, the rate at which nothing is converted."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(numbered_frames())
