"""WebSocket frames that hold a whole message, pings and pongs: made and read without wsproto. Pure.

That costs a fifth of what wsproto takes. All else (fragments, close frames, violations) is for wsproto. A voice
bot exchanges a hundred messages a second; a hostile one may send two thousand pings in 4 kB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

TEXT, BINARY, PING, PONG = 1, 2, 9, 10
_FIN = 0x80
_MASKED = 0x80
#: A frame larger than this is not collected here: wsproto gets its bytes as they come.
MAX_COLLECTED = 65_536
_MASK_BLOCK = 4_096
#: The second byte of an unmasked frame whose length is in the next two.
_LENGTH_OF_16_BITS = 126
#: The longest payload of a control frame.
_MAX_CONTROL = 125


class Control(NamedTuple):
    """A ping or a pong."""

    opcode: int
    payload: bytes


class Masks:
    """Unpredictable masks of four bytes, drawn from the system in blocks."""

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def next(self) -> bytes:
        """Return a new mask."""
        at = self._at
        if at >= len(self._block):
            self._block, at = os.urandom(_MASK_BLOCK), 0
        self._at = at + 4
        return self._block[at : at + 4]


def client_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """Return a final, masked frame."""
    length = len(payload)
    if length < 126:
        head = bytes((_FIN | opcode, _MASKED | length))
    elif length < 65_536:
        head = bytes((_FIN | opcode, _MASKED | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FIN | opcode, _MASKED | 127)) + length.to_bytes(8, "big")
    words = (length + 3) // 4
    key = _ones(words) * int.from_bytes(mask, "little")
    masked = (int.from_bytes(payload, "little") ^ key).to_bytes(4 * words, "little")
    return head + mask + (masked if length == 4 * words else masked[:length])


@lru_cache(maxsize=64)
def _ones(words: int) -> int:
    """Return a number of so many words of 32 bits, each of them 1: times a mask, it is the mask repeated."""
    return int.from_bytes(b"\1\0\0\0" * words, "little")


_CONTROLS = {_FIN | PING: PING, _FIN | PONG: PONG}


class FrameReader:
    """Splits a server's stream into whole messages, pings and pongs, and bytes for wsproto."""

    def __init__(self) -> None:
        self._buffer = b""
        #: Bytes of a frame that wsproto gets as they come.
        self._passing = 0
        self._in_fragments = False
        #: Whether the last `feed` has left frames that may be complete.
        self.more = False

    def whole(self, data: bytes) -> str | bytes | None:
        """Return the message that is all of ``data``, as of nearly every read; None, and nothing, for all else."""
        size = len(data)
        if (
            size < 4
            or data[1] != _LENGTH_OF_16_BITS
            or size != 4 + (data[2] << 8 | data[3])
            or self._buffer
            or self._passing
            or self._in_fragments
        ):
            return None
        if data[0] == _FIN | TEXT:
            try:
                return str(data[4:], "utf-8")
            except UnicodeDecodeError:
                return None
        return data[4:] if data[0] == _FIN | BINARY else None

    def feed(self, data: bytes, most: int = 0) -> Iterator[str | bytes | Control | memoryview]:
        """Give text (str) and binary (bytes) messages, pings and pongs, and bytes for wsproto as memoryviews.

        With ``most``, it ends after so many messages and pieces for wsproto; `more` is true if frames may be left,
        which come with the next data, which may be empty.
        """
        self.more = False
        left = most
        if self._passing:
            passed, data = data[: self._passing], data[self._passing :]
            self._passing -= len(passed)
            yield memoryview(passed)
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        at = 0
        while at < len(data):
            found = self._header(data, at)
            if found is None:
                break
            start, length = found
            end = start + length
            if end > len(data):
                if length <= MAX_COLLECTED:
                    break
                self._note_fragments(data[at])
                self._passing = end - len(data)
                yield memoryview(data)[at:]
                return
            frame = self._frame(data, at, start, end)
            at = end
            yield frame
            if not isinstance(frame, Control):
                left -= 1
                if not left and at < len(data):
                    self.more = True
                    break
        self._buffer = data[at:] if at else data

    @staticmethod
    def _header(data: bytes, at: int) -> tuple[int, int] | None:
        """Return where the payload starts and how long it is; None while the header is incomplete."""
        if len(data) < at + 2:
            return None
        second = data[at + 1]
        length, start = second & 0x7F, at + 2
        if length == _LENGTH_OF_16_BITS:
            start, length = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
        elif length == 127:
            start, length = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
        if second & _MASKED:
            start += 4
        return None if len(data) < start else (start, length)

    def _frame(self, data: bytes, at: int, start: int, end: int) -> str | bytes | Control | memoryview:
        first = data[at]
        if first in _CONTROLS and data[at + 1] <= _MAX_CONTROL:  # not masked, and not too long
            return Control(_CONTROLS[first], data[start:end])
        if not self._in_fragments and not data[at + 1] & _MASKED:
            if first == _FIN | TEXT:
                try:
                    return str(data[start:end], "utf-8")
                except UnicodeDecodeError:
                    pass  # wsproto knows how to refuse it
            elif first == _FIN | BINARY:
                return data[start:end]
        self._note_fragments(first)
        return memoryview(data)[at:end]

    def _note_fragments(self, first: int) -> None:
        opcode = first & 0x0F
        if opcode <= BINARY:
            self._in_fragments = not first & _FIN
