"""JSON objects in WebSocket messages, read without ever raising."""

from __future__ import annotations

import binascii
import json
from typing import Any

from audiosocket.bots.events import Message


def read_object(message: Message) -> dict[str, Any] | None:
    """The object in a text message; None for anything else."""
    if not isinstance(message, str):
        return None
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def inner(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under ``name``, empty when there is none."""
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def text_of(found: dict[str, Any], name: str) -> str:
    """The text or number under ``name`` as text, empty for anything else."""
    value = found.get(name)
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def decode_base64(text: Any) -> bytes | None:
    """The bytes of a base64 text; None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        return binascii.a2b_base64(text)
    except (binascii.Error, ValueError):
        return None


def decode_plain_base64(text: str) -> bytes | None:
    """The bytes of a base64 text without any other character, filled up with ``=``; None for all other texts."""
    try:
        found = binascii.a2b_base64(text)
    except ValueError:
        return None
    # Other characters are left out when decoding, so that the length tells whether there were any.
    size = len(text)
    padding = (2 if text.endswith("==") else 1) if text.endswith("=") else 0
    return found if not size % 4 and len(found) == size // 4 * 3 - padding else None


def encode_base64(payload: bytes) -> str:
    """``payload`` as base64 text without line breaks."""
    return binascii.b2a_base64(payload, newline=False).decode("ascii")


def dump(value: Any) -> str:
    """A compact JSON text in ASCII: a lone surrogate in a name of the bot's could not be sent as UTF-8."""
    return json.dumps(value, separators=(",", ":"))
