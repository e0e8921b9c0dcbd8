"""Log lines: one event is one line of text or JSON, whatever is in it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any
from uuid import UUID

from twisted.logger import LogEvent, formatEvent

#: Levels of containers in a field that JSON lines show.
MAX_DEPTH = 4
_NO_VALUE = object()
_TRACEBACK = "Traceback (most recent call last):"
# C0, DEL, C1, line and paragraph separators, the marks that change the direction of text, and surrogates, which
# cannot be encoded.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: A format of text and names in braces only: no calls, no escapes, no format specifications.
_PLAIN = re.compile(r"(?:[^{}]|\{[a-z_][a-z0-9_]*\})*", re.IGNORECASE)


def formatter(form: str) -> Callable[[LogEvent], str]:
    """Return the function that formats events: as JSON where ``form`` is "json", else as text."""
    return as_json_line if form == "json" else as_line


def as_line(event: LogEvent) -> str:
    """Return ``2026-01-31 10:15:23,456 - module - LEVEL - text`` with a line feed, in local time."""
    stamp, milliseconds = _time(event)
    text = _text(event)
    traceback = _traceback(event)
    if traceback:
        text = f"{text} | {traceback}" if text else traceback
    return f"{stamp},{milliseconds:03d} - {_module(event)} - {_level(event)} - {escape(text)}\n"


def as_json_line(event: LogEvent) -> str:
    """Return the event as one JSON object with a line feed: the same, and the fields of the event.

    ``ts`` is ISO 8601 in local time with its offset.
    """
    stamp, milliseconds = _time(event)
    record: dict[str, Any] = {}
    for key, value in event.items():
        if not key.startswith("log_") and (fitting := _for_json(value)) is not _NO_VALUE:
            record[key] = fitting
    zone = _zone(int(event.get("log_time") or time.time()))
    record.update(
        ts=f"{stamp.replace(' ', 'T')}.{milliseconds:03d}{zone}",
        level=_level(event),
        module=_module(event),
        text=_text(event),
    )
    traceback = _traceback(event)
    if traceback:
        record["traceback"] = traceback
    return json.dumps(record, ensure_ascii=True) + "\n"


def readable(line: str) -> str:
    """Return a line of text for a terminal: one with a traceback on as many lines as the traceback has."""
    text, found, trace = line.partition(_TRACEBACK + "\\n")
    return (
        text.removesuffix(" ") + "\n" + found.replace("\\n", "\n") + trace.replace("\\n", "\n") if found else line
    )


def escape(text: str) -> str:
    """Return ``text`` on one line, with escapes for control characters and those that reorder text."""
    if text.isprintable():  # what is escaped is not, and this is ten times as fast
        return text
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


@lru_cache(maxsize=4)
def _zone(when: int) -> str:
    offset = time.strftime("%z", time.localtime(when))
    return f"{offset[:3]}:{offset[3:5]}"


@lru_cache(maxsize=4)
def _second(when: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _time(event: LogEvent) -> tuple[str, int]:
    when = event.get("log_time") or time.time()
    return _second(int(when)), int(when * 1000) % 1000


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    name = level.name if level is not None else "info"
    return "WARNING" if name == "warn" else name.upper()


def _module(event: LogEvent) -> str:
    return escape(str(event.get("log_namespace") or event.get("log_system") or "-"))


def _text(event: LogEvent) -> str:
    """Return what `formatEvent` returns, ten times as fast for plain formats, which nearly all are."""
    form = event.get("log_format")
    if not isinstance(form, str) or not _is_plain(form) or "log_flattened" in event:
        return formatEvent(event)
    try:
        return form.format_map(event)
    except Exception:  # noqa: BLE001 - whatever the formatting of a value raises, formatEvent reports it
        return formatEvent(event)


@lru_cache(maxsize=512)
def _is_plain(form: str) -> bool:
    return _PLAIN.fullmatch(form) is not None


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback().strip() if failure is not None else ""


def _for_json(value: object, depth: int = 0) -> Any:
    """Return the value as strict readers of JSON accept it, `_NO_VALUE` for one that has no such form.

    Accepted are no NaN, no integer beyond 64 bits, and containers of `MAX_DEPTH` levels.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NO_VALUE
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**64 else _NO_VALUE
    if isinstance(value, UUID | PurePath | IPv4Address | IPv6Address):
        return str(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth < MAX_DEPTH:
        if not isinstance(value, Mapping):
            return [fitting for one in value if (fitting := _for_json(one, depth + 1)) is not _NO_VALUE]
        return {
            str(key): fitting
            for key, one in value.items()
            if isinstance(key, str | int) and (fitting := _for_json(one, depth + 1)) is not _NO_VALUE
        }
    return _NO_VALUE
