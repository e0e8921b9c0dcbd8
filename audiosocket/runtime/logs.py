"""The log file: one event, one line, with the form operators' scripts know; rotated and bounded.

``twistd`` wants a dotted name to make its observer from, so the choice made in the options is kept here
between parsing them and starting the log.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol, TextIO

from constantly import NamedConstant
from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

FILE_NAME = "audiosocket.log"
#: Namespaces whose lines below a warning say nothing to an operator.
CHATTER = ("twisted.internet.protocol.Factory", "twisted.web.server.Site", "admin.site.AdminSite")

#: Namespaces and levels whose verdict is remembered.
KINDS_MOST = 1_000
_PORT_LINE = re.compile(r"\S+ starting on \S+|\(\S+ Port \S+ Closed\)")
# C0, DEL, C1, line and paragraph separators, the marks that turn the direction of text, and surrogates,
# which no file takes.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class LogPlan:
    """Where and how to log; sizes in bytes."""

    directory: Path
    format: str = "text"
    level: str = "info"
    rotate_bytes: int = 10_000_000
    keep_files: int = 10
    echo: bool = True


#: Set by the options before twistd asks for the observer.
plan: LogPlan | None = None
#: Where lines go, once there is an observer.
_lines: _Lines | None = None


def escape(text: str) -> str:
    """``text`` on one line: control characters, and those that reorder text, as escapes."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


#: A format of nothing but text and names in braces: no calls, no escapes, no format specs.
_PLAIN = re.compile(r"(?:[^{}]|\{[a-z_][a-z0-9_]*\})*", re.IGNORECASE)


@lru_cache(maxsize=4)
def _second(when: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _time(event: LogEvent) -> tuple[str, int]:
    when = event.get("log_time") or time.time()
    return _second(int(when)), int(when * 1000) % 1000


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    name = level.name if level is not None else "info"
    return {"warn": "WARNING"}.get(name, name.upper())


def _module(event: LogEvent) -> str:
    return escape(str(event.get("log_namespace") or event.get("log_system") or "-"))


def _text(event: LogEvent) -> str:
    """As `formatEvent`, at a tenth of its price for a format of plain names, which nearly all are."""
    form = event.get("log_format")
    if not isinstance(form, str) or not _is_plain(form) or "log_flattened" in event:
        return formatEvent(event)
    try:
        return form.format_map(event)
    except Exception:  # noqa: BLE001 - whatever a value's own formatting raises, Twisted's way reports it
        return formatEvent(event)


@lru_cache(maxsize=512)
def _is_plain(form: str) -> bool:
    return _PLAIN.fullmatch(form) is not None


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback().strip() if failure is not None else ""


def as_line(event: LogEvent) -> str:
    """``2026-01-31 10:15:23,456 - module - LEVEL - text``, in local time."""
    stamp, thousandths = _time(event)
    text = _text(event)
    traceback = _traceback(event)
    if traceback:
        text = f"{text} | {traceback}" if text else traceback
    return f"{stamp},{thousandths:03d} - {_module(event)} - {_level(event)} - {escape(text)}\n"


def as_json_line(event: LogEvent) -> str:
    """The same event as one JSON object, with the scalar fields of the event beside its text."""
    stamp, thousandths = _time(event)
    record: dict[str, Any] = {
        key: value for key, value in event.items() if not key.startswith("log_") and _fits_json(value)
    }
    record.update(ts=f"{stamp},{thousandths:03d}", level=_level(event), module=_module(event), text=_text(event))
    traceback = _traceback(event)
    if traceback:
        record["traceback"] = traceback
    return json.dumps(record, ensure_ascii=True) + "\n"


def _fits_json(value: object) -> bool:
    """A scalar that strict readers take: no NaN, and no integer that no reader could hold."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**64)


def observer(chosen: LogPlan) -> ILogObserver:
    """The observer that writes as planned; makes the directory. Raises OSError."""
    chosen.directory.mkdir(parents=True, exist_ok=True)
    file = LogFile(
        FILE_NAME,
        str(chosen.directory),
        rotateLength=chosen.rotate_bytes,
        maxRotatedFiles=chosen.keep_files,
    )
    outs: list[Output] = [file]
    if chosen.echo:
        outs.append(_forgiving(sys.__stdout__ or sys.stdout))
    global _lines  # noqa: PLW0603 - twistd keeps the observer to itself, and workers' lines go the same way
    _lines = _Lines(formatter(chosen.format), outs)
    return FilteringLogObserver(_lines, wanted(chosen.level))


def formatter(form: str) -> Callable[[LogEvent], str]:
    """What makes lines of events: of text, or of JSON where ``form`` is "json"."""
    return as_json_line if form == "json" else as_line


def write(text: str) -> None:
    """Append lines that a worker has made, to wherever our own go."""
    if _lines is not None:
        _lines.write(text)


def wanted(level: str) -> list[ILogFilterPredicate]:
    """What keeps lines below ``level``, and Twisted's chatter, out of the log."""
    return [_Wanted(level)]


def _forgiving(stream: TextIO) -> TextIO:
    """A terminal whose encoding lacks a letter shows an escape, and not nothing."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def check(chosen: LogPlan) -> None:
    """Raises OSError when the log cannot be written as planned."""
    os.close(os.open(chosen.directory / FILE_NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666))


class Output(Protocol):
    """The part of a file that a log needs."""

    def write(self, text: str, /) -> object:
        """Append ``text``."""

    def flush(self) -> object:
        """Hand it to the system."""


@implementer(ILogObserver)
class _Lines:
    """Formats each event once and writes it to every output; a full disk or closed pipe loses the line only."""

    def __init__(self, line: Callable[[LogEvent], str], outs: Sequence[Output]) -> None:
        self._line = line
        self._outs = outs

    def __call__(self, event: LogEvent) -> None:
        self.write(self._line(event))

    def write(self, text: str) -> None:
        """Append finished lines."""
        for out in self._outs:
            with suppress(OSError, ValueError):  # where could this be told?
                out.write(text)
                out.flush()


@implementer(ILogFilterPredicate)
class _Wanted:
    """Asks Twisted's own predicate once for each namespace and level: its answer costs more than a line.

    Twisted says "Factory starting on port", too; our listeners say it with extension, role and address.
    """

    def __init__(self, level: str) -> None:
        self._severe = LogLevelFilterPredicate(LogLevel.levelWithName(level))
        for namespace in CHATTER:
            self._severe.setLogLevelForNamespace(namespace, LogLevel.warn)
        self._known: dict[tuple[object, object], NamedConstant] = {}

    def __call__(self, event: LogEvent) -> NamedConstant:
        kind = (event.get("log_namespace"), event.get("log_level"))
        if kind[0] == "log_legacy" and _PORT_LINE.fullmatch(formatEvent(event)):
            return PredicateResult.no
        verdict = self._known.get(kind)
        if verdict is None:
            if len(self._known) >= KINDS_MOST:
                self._known.clear()
            verdict = self._known[kind] = self._severe(event)
        return verdict


def twistd_observer() -> ILogObserver:
    """What ``twistd --logger`` calls; the options have made the plan by then."""
    if plan is None:
        raise RuntimeError("the options of 'twistd audiosocket' were not parsed before the log was started")
    return observer(plan)
