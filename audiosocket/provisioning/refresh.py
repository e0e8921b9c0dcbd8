"""The configuration in force: read the table, decide whether to believe it, apply it, save it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.errors import SourceUnavailable
from audiosocket.extensions.changes import describe_changes
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension
from audiosocket.extensions.reconcile import Plan
from audiosocket.extensions.validation import ValidationResult, Validator
from audiosocket.postgres.database import Row
from audiosocket.provisioning import local_file
from audiosocket.provisioning.refresh_report import ProblemLog, RefreshOptions, RefreshReport, ShrinkGuard

#: A disk that does not answer must not keep the configuration from being applied, in seconds.
SAVE_SECONDS = 5.0
#: Rows validated between two turns of the reactor.
ROWS_PER_TURN = 500


class Table(Protocol):
    """`Database`, as far as it is read."""

    async def read(self, take: Callable[[Sequence[Row]], None]) -> int:
        """Pass the rows to ``take``, page by page; raises `SourceUnavailable`."""


class Applier(Protocol):
    """`Listeners`, as far as a configuration is applied."""

    @property
    def extensions(self) -> dict[int, Extension]:
        """The running extensions, by id."""

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        """Open and close ports until they are as ``desired``."""

    def preview(self, desired: Sequence[Extension]) -> Plan:
        """Return what `apply` would do."""


class Configuration:
    """What runs, where it came from, and how the last refresh ended.

    Where a refresh fails, what runs goes on running. ``table`` is None without a database. ``in_thread`` runs
    blocking file work outside the reactor; ``is_running`` is false once the server stops.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        listeners: Applier,
        table: Table | None,
        path: Path,
        in_thread: Callable[..., Deferred[Any]],
        is_running: Callable[[], bool],
        limit: int,
    ) -> None:
        self._clock = clock
        self._listeners = listeners
        self._table = table
        self._path = path
        self._in_thread = in_thread
        self._is_running = is_running
        self._limit = limit
        self._applying = DeferredLock()
        self._shrink_guard = ShrinkGuard()
        self._log_problems = ProblemLog()
        self._loaded = local_file.Loaded(None)
        #: When the table was read last (seconds of ``clock``), and how long that took.
        self.last_read = 0.0
        self.read_seconds = 0.0
        #: "database", "file", "default", or "none" before anything was applied, and since when (epoch seconds).
        self.source = "none"
        self.source_since = time.time()
        #: What is wrong with the local file, if anything.
        self.file_trouble = ""
        self.last: RefreshReport | None = None
        self.last_success: float | None = None
        #: What requests are changing now: extensions to be (id 0: a new one), ids to be removed.
        self.requested: set[Extension | int] = set()

    @property
    def running(self) -> list[Extension]:
        """The extensions that run, in the order of their ids."""
        return [extension for _, extension in sorted(self._listeners.extensions.items())]

    def load(self) -> bool:
        """Load the local file; return whether it can be used."""
        self._loaded = loaded = local_file.load(self._path, self._limit)
        self.file_trouble = loaded.trouble
        if loaded.trouble:
            self._log.error("{trouble}", trouble=loaded.trouble)
        return loaded.extensions is not None

    async def fall_back(self) -> None:
        """Apply the local file, or the default without one, unless the table was applied already."""
        async with self._applying:
            if self.source != "none":
                return
            loaded = self._loaded
            self._log_problems(loaded.problems, loaded.rejected, str(self._path))
            if loaded.extensions is not None:
                self._set_source("file", loaded.saved_at)
                await self._listeners.apply(loaded.extensions)
            else:
                self._set_source("default", None)
                await self._listeners.apply([DEFAULT_EXTENSION])
            count = len(self._listeners.extensions)
            self._log.info("running {n} extensions from the {source}", n=count, source=self.source)

    async def reload(self) -> None:
        """Read the local file again and apply it; without one, or when it cannot be used, what runs stays."""
        async with self._applying:
            loaded = await self._in_thread(local_file.read, self._path, self._limit)
            self.file_trouble = loaded.trouble
            if loaded.extensions is None:
                if loaded.trouble:
                    self._log.error("{trouble}; extensions stay as they are", trouble=loaded.trouble)
                return
            if not loaded.extensions and self._listeners.extensions:
                self._log.warn("{path} has no extension; extensions stay as they are", path=str(self._path))
                return
            self._log_problems(loaded.problems, loaded.rejected, str(self._path))
            self._set_source("file", loaded.saved_at)
            earlier = dict(self._listeners.extensions)
            await self._listeners.apply(loaded.extensions)
            self._log_changes(earlier, str(self._path))
            self._log.info("{path} was read again: {n} extensions", path=str(self._path), n=len(loaded.extensions))

    async def reapply(self) -> None:
        """Apply what runs once more: a port that was in use may be free by now."""
        async with self._applying:
            await self._listeners.apply(list(self._listeners.extensions.values()))

    async def wait_until_applied(self) -> None:
        """Wait for a change that is being applied."""
        async with self._applying:
            return

    async def refresh(self, trigger: str, options: RefreshOptions) -> RefreshReport:
        """Read the table and apply it; raises `SourceUnavailable`."""
        started = self.last_read = self._clock.seconds()
        report = RefreshReport(trigger, result="failed", reason="the server is stopping")
        try:
            read = await self._read()
            self.last_read = self._clock.seconds()
            self.read_seconds = self.last_read - started
            async with self._applying:
                await self._decide(report, read, options)
        except CancelledError:
            raise
        except Exception as error:
            report.reason = str(error)
            raise
        finally:
            report.seconds = self._clock.seconds() - started
            if not options.dry_run:
                self._remember(report)
        return report

    async def keep(self, change: Callable[[Mapping[int, Extension]], Sequence[Extension]]) -> Plan:
        """Save and apply what ``change`` makes of the running extensions, where there is no database.

        Raises what ``change`` raises, and OSError when the local file cannot be written; nothing is applied then.
        Two changes at once are made one after the other.
        """
        async with self._applying:
            extensions = sorted(change(self._listeners.extensions), key=lambda extension: extension.id)
            await self._write(extensions, "api")
            plan = await self._listeners.apply(extensions)
            self._set_source("file", None)
            return plan

    def _in_force(self) -> dict[int, Extension]:
        """Return what runs; before anything does, what ran last."""
        if self.source == "none" and self._loaded.extensions is not None:
            return {extension.id: extension for extension in self._loaded.extensions}
        return self._listeners.extensions

    async def _read(self) -> ValidationResult:
        if self._table is None:
            raise SourceUnavailable("no database is configured; set DB_HOST to use one")
        validator = Validator(self._in_force().values(), self._limit)
        await self._table.read(validator.add_rows)
        while not validator.validate_pending(ROWS_PER_TURN):
            await deferLater(self._clock, 0)
        return validator.result()

    async def _decide(self, report: RefreshReport, read: ValidationResult, options: RefreshOptions) -> None:
        if not self._is_running():
            raise SourceUnavailable("the server is stopping")
        report.rejected, report.problems = read.rejected, read.problems
        report.reason = ""
        if options.dry_run:
            report.result = "previewed"
            report.describe(self._listeners.preview(read.extensions))
            return
        running = len(self._in_force().keys() - options.but)
        now = self._clock.seconds()
        if not options.force and self._shrink_guard.holds(read, running, report.trigger, now):
            report.hold_back(len(read.extensions), running)
            return
        self._shrink_guard.forget()
        before, earlier = self.source, dict(self._listeners.extensions)
        plan = await self._listeners.apply(read.extensions)
        report.describe(plan)
        report.result = "unchanged" if plan.empty else "applied"
        self._set_source("database", None)
        self._log_problems(read.problems, read.rejected, "extension_ia")
        if before != "none":
            self._log_changes(earlier, f"the table ({report.trigger})")
        changed = not plan.empty or before != "database"
        if changed:
            self._log.info(
                "configuration from the database applied ({trigger}): {added} added, {updated} updated, "
                "{removed} removed, {total_active} active",
                trigger=report.trigger,
                **report.stats,
            )
        await self._save(only_if_missing=not changed and not self.file_trouble)

    def _log_changes(self, earlier: Mapping[int, Extension], source: str) -> None:
        """Log what differs now; what a request is changing is logged with the request."""
        after = self._listeners.extensions
        differ = {key for key in earlier.keys() | after.keys() if earlier.get(key) != after.get(key)}
        told = sorted(key for key in differ if not self._is_requested(key, after.get(key)))
        for change in describe_changes(told, earlier, after):
            self._log.info("{change}; from {source}", change=change, source=source)

    def _is_requested(self, key: int, extension: Extension | None) -> bool:
        if extension is None:
            return key in self.requested
        return extension in self.requested or replace(extension, id=0) in self.requested

    async def _save(self, *, only_if_missing: bool) -> None:
        try:
            await self._write(list(self._listeners.extensions.values()), self.source, only_if_missing)
        except OSError as error:
            trouble = f"{self._path} cannot be written: {error.strerror}"
            if trouble != self.file_trouble:
                self._log.error("{trouble}; the configuration is applied all the same", trouble=trouble)
            self.file_trouble = trouble

    async def _write(self, extensions: Sequence[Extension], source: str, only_if_missing: bool = False) -> None:
        work = local_file.save_if_missing if only_if_missing else local_file.save
        try:
            await self._in_thread(work, self._path, extensions, source).addTimeout(SAVE_SECONDS, self._clock)
        except defer.TimeoutError:
            raise OSError(errno.ETIMEDOUT, f"the disk does not answer within {SAVE_SECONDS:g} s") from None
        if not only_if_missing:
            self.file_trouble = ""

    def _set_source(self, source: str, since: float | None) -> None:
        self.source = source
        self.source_since = since if since is not None else time.time()

    def _remember(self, report: RefreshReport) -> None:
        before = self.last
        self.last = report
        if report.result in {"applied", "unchanged"}:
            self.last_success = report.at
        elif self._is_running() and (
            before is None or (before.result, before.reason) != (report.result, report.reason)
        ):
            self._log.warn("extensions stay as they are: {reason}", reason=report.reason)
