"""Parse one row of the table or one JSON entry into an `Extension`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeGuard

from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import COLUMNS, MAX_INTEGER, MAX_TEXT, Extension

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)


def parse_row(row: Mapping[str, object]) -> Extension:
    """Return the extension in a database row (column names as keys); raises `InvalidExtension`."""
    return parse_json({key: row.get(column) for column, key in COLUMNS.items()})


def parse_json(entry: object) -> Extension:
    """Return the extension in an entry of the local file or a request body; raises `InvalidExtension`.

    Text is trimmed; ports may be integers or text; a return port of ``0``, ``""`` or null means none.
    Missing optional keys (all but ``id``, ``ramal_ia``, ``porta_ia``) count as empty.
    """
    if not isinstance(entry, Mapping):
        raise InvalidExtension("is not an object")
    port = _port(entry, "porta_ia")
    if port is None:
        raise InvalidExtension("porta_ia is blank; it must be a TCP port (1 to 65535)", "porta_ia")
    return_port = _port(entry, "porta_retorno")
    if return_port == port:
        raise InvalidExtension(f"porta_retorno is {port}, the same as porta_ia", "porta_retorno")
    number = _text(entry, "ramal_ia")
    if not number:
        raise InvalidExtension("ramal_ia is blank; visitors need a number to call", "ramal_ia")
    return Extension(
        id=_integer(entry, "id", None),
        number=number,
        return_number=_text(entry, "ramal_retorno"),
        server_ip=_text(entry, "ip_servidor") or "0.0.0.0",  # noqa: S104
        port=port,
        return_port=return_port,
        condominium_id=_integer(entry, "condominio_id", 0),
    )


def _shown(value: object) -> str:
    try:
        text = repr(value[:60] if isinstance(value, str | bytes) else value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, deeply nested lists
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= 60 else text[:57] + "..."


def is_scalar(value: object) -> TypeGuard[str | int]:
    """Return whether ``value`` is text or an integer, but not one of thousands of digits.

    Python refuses to convert such an integer to text.
    """
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 10**MAX_TEXT
    return isinstance(value, str)


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not is_scalar(value):
        raise InvalidExtension(f"{key} is {_shown(value)}, not text", key)
    text = str(value).strip()
    if len(text) > MAX_TEXT:
        raise InvalidExtension(f"{key} has {len(text)} characters, more than {MAX_TEXT}", key)
    if not text.isprintable():
        raise InvalidExtension(f"{key} is {_shown(text)}: control characters are not allowed", key)
    return text


def _port(entry: Mapping[str, object], key: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if not is_scalar(value):
        raise InvalidExtension(f"{key} is {_shown(value)}, not a TCP port (1 to 65535)", key)
    text = str(value).strip()
    if not text:
        return None
    number = int(text) if _PORT.fullmatch(text) else -1
    if number == 0 and key == "porta_retorno":
        return None
    if not 1 <= number <= 65_535:
        raise InvalidExtension(f"{key} is {_shown(value)}, not a TCP port (1 to 65535)", key)
    return number


def _integer(entry: Mapping[str, object], key: str, default: int | None) -> int:
    value = entry.get(key)
    if (value is None or value == "") and default is not None:
        return default
    text = str(value).strip() if is_scalar(value) else ""
    if not _INTEGER.fullmatch(text):
        raise InvalidExtension(f"{key} is {_shown(value)}, not an integer", key)
    if abs(int(text)) > MAX_INTEGER:
        raise InvalidExtension(f"{key} is {text}, out of the range of an integer column", key)
    return int(text)
