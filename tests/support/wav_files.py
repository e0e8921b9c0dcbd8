"""WAV files, valid and damaged, built chunk by chunk."""

from __future__ import annotations

import struct

from audiosocket.media.pcm import tone

#: Half a second at 8 kHz.
TONE = tone(8000, 1000, 500)
KSDATAFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content + bytes(len(content) & 1)


def fmt(tag: int, channels: int, rate: int, bits: int, *, extra: bytes = b"", block: int | None = None) -> bytes:
    size = bits // 8 * channels if block is None else block
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * size, size, bits) + extra)


def extensible(tag: int, channels: int, rate: int, bits: int, valid: int) -> bytes:
    extra = struct.pack("<HHIH", 22, valid, 0, tag) + KSDATAFORMAT_TAIL
    return fmt(0xFFFE, channels, rate, bits, extra=extra)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def plain(data: bytes, tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16) -> bytes:
    return riff(fmt(tag, channels, rate, bits), chunk(b"data", data))
