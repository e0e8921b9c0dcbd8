"""What one process hands over to the next, as bytes. Pure.

A value is made of dictionaries with texts as keys, lists, texts, numbers, booleans, None and bytes. It is written
as JSON, with the bytes behind it: audio in base64 would cost a third more, and several times the processor time.
The next process may be of another version. Keys may be added; `FORMAT` changes when a key gets another meaning.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from audiosocket.errors import AudioSocketError

#: The meaning of the keys; the next process refuses another one.
FORMAT = 1

_HEAD = struct.Struct(">HII")
#: In the JSON, the place of bytes is an object with this key and their number.
_BYTES = "\0"
_DAMAGED = (ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error)


class UnreadableHandOver(AudioSocketError):
    """What was handed over is of another format, or damaged."""


def encode(value: Any) -> bytes:
    """Return ``value`` as bytes. Raises TypeError for what it cannot be made of."""
    blobs: list[bytes] = []

    def put(blob: object) -> dict[str, int]:
        if not isinstance(blob, bytes | bytearray):
            raise TypeError(f"{type(blob).__name__} cannot be handed over")
        blobs.append(bytes(blob))
        return {_BYTES: len(blobs) - 1}

    text = json.dumps(value, default=put, separators=(",", ":")).encode()
    lengths = struct.pack(f">{len(blobs)}I", *map(len, blobs))
    return b"".join([_HEAD.pack(FORMAT, len(text), len(blobs)), lengths, text, *blobs])


def decode(data: bytes) -> Any:
    """Return the value that was encoded; raises `UnreadableHandOver`."""
    try:
        number, size, count = _HEAD.unpack_from(data)
        if number != FORMAT:
            raise UnreadableHandOver(f"it has the format {number}, and this version reads {FORMAT}")
        lengths = struct.unpack_from(f">{count}I", data, _HEAD.size)
        start = _HEAD.size + 4 * count
        at = start + size
        if at + sum(lengths) != len(data):
            raise UnreadableHandOver(f"it has {len(data)} bytes instead of {at + sum(lengths)}")
        blobs = []
        for length in lengths:
            blobs.append(data[at : at + length])
            at += length

        def take(found: dict[str, Any]) -> Any:
            return blobs[found[_BYTES]] if len(found) == 1 and _BYTES in found else found

        return json.loads(data[start : start + size], object_hook=take)
    except _DAMAGED as error:
        raise UnreadableHandOver(f"it is damaged ({type(error).__name__}: {error})") from None
