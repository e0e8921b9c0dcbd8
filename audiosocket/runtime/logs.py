"""The log of the process: which events are written, and to which outputs; the file is rotated and bounded."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from threading import get_ident
from time import time
from typing import Protocol, TextIO

from constantly import NamedConstant
from twisted.logger import (
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
)
from zope.interface import implementer

from audiosocket.runtime.log_file import AppendedLogFile
from audiosocket.runtime.log_format import formatter, readable

FILE_NAME = "audiosocket.log"
#: Namespaces of which only warnings and errors are logged.
QUIET_NAMESPACES = ("twisted.internet.protocol", "twisted.internet.endpoints", "twisted.web", "klein")
#: Namespaces and levels for which the result of the filter is kept.
MAX_KNOWN_KINDS = 1_000
#: Constants of Twisted, whose look-up in their class is a call.
_INFO, _DROPPED = LogLevel.info, PredicateResult.no
_PORT_LINE = re.compile(r"\S+ starting on \S+|\(\S+ Port \S+ Closed\)")


@dataclass(frozen=True)
class LogPlan:
    """Where and how to log; sizes in bytes."""

    directory: Path
    format: str = "text"
    level: str = "info"
    rotate_bytes: int = 10_000_000
    keep_files: int = 10
    echo: bool = True

    def check(self) -> None:
        """Raise OSError when the log file cannot be written."""
        os.close(os.open(self.directory / FILE_NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644))


class Output(Protocol):
    """The part of a file that a log needs."""

    def write(self, text: str, /) -> object:
        """Append ``text``."""

    def flush(self) -> object:
        """Pass what was written to the system."""


@implementer(ILogObserver)
class LineWriter:
    """Formats each event once and writes it to every output; a full disk or closed pipe loses that line only.

    Between `hold` and `release` lines of the same thread are kept and written in one piece, as a write takes
    longer than a line. A warning or error is written at once, with what was kept before it: what explains the end
    of a process must not wait.
    """

    def __init__(self, line: Callable[[LogEvent], str], outputs: Sequence[Output]) -> None:
        self._line = line
        self._outputs = outputs
        self._held: list[str] = []
        #: The thread whose lines are kept, 0 for none.
        self._holder = 0

    def __call__(self, event: LogEvent) -> None:
        if self._holder and event.get("log_level") is _INFO and get_ident() == self._holder:
            self._held.append(self._line(event))
        else:
            self.write(self._line(event))

    def write(self, text: str) -> None:
        """Append finished lines, after those that are kept."""
        if self._held and get_ident() == self._holder:
            held, self._held = self._held, []
            text = "".join(held) + text
        for output in self._outputs:
            try:
                output.write(text)
                output.flush()
            except (OSError, ValueError):  # there is no other place to report it
                pass

    def hold(self) -> None:
        """Keep lines of this thread until `release`."""
        self._holder = get_ident()

    def release(self) -> None:
        """Write what was kept, and all lines at once from now on."""
        if self._held:
            self.write("")
        self._holder = 0


@implementer(ILogObserver)
class _FilteredLines:
    """Passes on what a filter does not drop; Twisted's own takes several calls for each event."""

    def __init__(self, writer: LineWriter, levels: LevelFilter) -> None:
        self._writer = writer
        self._levels = levels

    def __call__(self, event: LogEvent) -> None:
        if self._levels(event) is not _DROPPED:
            self._writer(event)


class FrequentLogger(Logger):
    """A `Logger` for the lines of every call: `info` makes the same event, and does not check its own level."""

    def info(self, format: str | None = None, **fields: object) -> None:
        fields.update(
            log_logger=self,
            log_level=_INFO,
            log_namespace=self.namespace,
            log_source=self.source,
            log_format=format,
            log_time=time(),
        )
        self.observer(fields)


class _ReadableTracebacks:
    """An output on which a person reads tracebacks line by line; in the file one event stays one line."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, text: str, /) -> object:
        return self._output.write("".join(map(readable, text.splitlines(keepends=True))))

    def flush(self) -> object:
        return self._output.flush()


class ProcessLog:
    """The log that ``twistd --logger`` starts; what the options have chosen is its ``plan``.

    twistd takes a dotted name and calls what it finds there, so the plan and the outputs are kept in one object of
    this module, `process_log`.
    """

    def __init__(self) -> None:
        self.plan: LogPlan | None = None
        self._writer: LineWriter | None = None
        self._file: AppendedLogFile | None = None
        self._levels: LevelFilter | None = None

    def __call__(self) -> ILogObserver:
        """Return the observer of all events; create the directory. Raises OSError."""
        plan = self.plan
        if plan is None:
            raise RuntimeError("the options of 'twistd audiosocket' were not parsed before the log was started")
        plan.directory.mkdir(parents=True, exist_ok=True)
        self._file = AppendedLogFile(
            FILE_NAME, str(plan.directory), rotateLength=plan.rotate_bytes, maxRotatedFiles=plan.keep_files
        )
        outputs: list[Output] = [self._file]
        if plan.echo:
            terminal = _with_escapes(sys.__stdout__ or sys.stdout)
            outputs.append(terminal if plan.format == "json" else _ReadableTracebacks(terminal))
        self._writer = LineWriter(formatter(plan.format), outputs)
        self._levels = LevelFilter(plan.level)
        return _FilteredLines(self._writer, self._levels)

    def set_level(self, level: str) -> None:
        """Log events from this level on; without effect where one of twistd's logs was chosen."""
        if self._levels is not None:
            self._levels.set_level(level)

    def reopen(self) -> None:
        """Go on in the file that has the log's name now; for programs that move it. Raises OSError.

        Without effect where one of twistd's logs was chosen.
        """
        if self.plan is not None and self._file is not None:
            self.plan.directory.mkdir(parents=True, exist_ok=True)
            self._file.reopen()

    def check(self) -> str:
        """Return why lines of the log are lost, empty when they are not; a file that was removed is made anew."""
        return "" if self._file is None else self._file.check()

    def hold(self) -> None:
        """Write the lines of this thread together when `release` is called; see `LineWriter`."""
        if self._writer is not None:
            self._writer.hold()

    def release(self) -> None:
        """Write the lines that `hold` kept."""
        if self._writer is not None:
            self._writer.release()

    def write(self, text: str) -> None:
        """Append lines that a worker has formatted."""
        if self._writer is not None:
            self._writer.write(text)


process_log = ProcessLog()


def level_filter(level: str) -> list[ILogFilterPredicate]:
    """Return the predicate that drops events below ``level`` and routine events of Twisted."""
    return [LevelFilter(level)]


@implementer(ILogFilterPredicate)
class LevelFilter:
    """Calls Twisted's own predicate once for each namespace and level: it takes longer than writing a line.

    Twisted's "Factory starting on port" is dropped: our listeners log it with extension, role and address.
    """

    def __init__(self, level: str) -> None:
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Drop what is below ``level``."""
        self._levels = LogLevelFilterPredicate(LogLevel.levelWithName(level))
        for namespace in QUIET_NAMESPACES:
            self._levels.setLogLevelForNamespace(namespace, LogLevel.warn)
        self._known: dict[tuple[object, object], NamedConstant] = {}

    def __call__(self, event: LogEvent) -> NamedConstant:
        kind = (event.get("log_namespace"), event.get("log_level"))
        if kind[0] == "log_legacy" and _PORT_LINE.fullmatch(formatEvent(event)):
            return PredicateResult.no
        result = self._known.get(kind)
        if result is None:
            if len(self._known) >= MAX_KNOWN_KINDS:
                self._known.clear()
            result = self._known[kind] = self._levels(event)
        return result


def _with_escapes(stream: TextIO) -> TextIO:
    """Make a terminal show an escape for a character that its encoding lacks."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
