"""The audio that our server plays in the speaking rows: numbered 20 ms frames, as ``frames.h`` reads them."""

from __future__ import annotations

import wave
from pathlib import Path

#: Frames until the numbers repeat: 10 s. The same in ``frames.h`` and ``asyncio_echo.py``.
FRAMES = 500
RATE = 8_000
FRAME_BYTES = 320


def numbered_frames() -> bytes:
    """Return all frames: four letters, the number in four bytes, zeros."""
    return b"".join((b"Spch" + number.to_bytes(4, "little")).ljust(FRAME_BYTES, b"\0") for number in range(FRAMES))


def write_speech(path: Path) -> None:
    """Write the frames as 16-bit mono at 8 kHz, which is not converted."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(numbered_frames())
