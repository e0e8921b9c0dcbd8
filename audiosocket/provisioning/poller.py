"""Where the configuration comes from: database, else local file, else default; the last good one stays.

Polling is the truth and NOTIFY only hurries it. Every reading goes the same way: judge the rows one by
one, distrust a result that shrank too much, plan, apply, save, remember what happened.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import SourceUnavailable
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension
from audiosocket.extensions.reconcile import Plan
from audiosocket.extensions.validation import ValidationResult, Validator
from audiosocket.postgres.database import Row
from audiosocket.provisioning import local_file as cache
from audiosocket.provisioning.refresh_report import ProblemLog, RefreshOptions, RefreshReport, ShrinkGuard

#: How long the start waits for the database before it listens on what the file says, in seconds.
FIRST_WAIT_SECONDS = 0.08
#: The same where there is no file: the default ports are hardly what is wanted, but nobody may wait for long.
FIRST_WAIT_WITHOUT_FILE = 0.4
#: Between two readings that NOTIFY asked for, in seconds; where reading takes long five times as long as that.
HURRY_SECONDS, HURRY_MOST = 0.2, 5.0
#: A disk that does not answer must not keep the configuration from being applied, in seconds.
SAVE_SECONDS = 5.0
#: Rows judged between two turns of the reactor.
PER_TURN = 500


class Table(Protocol):
    """What is needed of ``database.Database`` here."""

    async def read(self, take: Callable[[Sequence[Row]], None]) -> int:
        """Stream the table to ``take``; raises `SourceUnavailable`."""


class Applier(Protocol):
    """What is needed of ``listeners.Listeners`` here."""

    @property
    def extensions(self) -> dict[int, Extension]:
        """What runs."""

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        """Make what is open equal ``desired``."""

    def preview(self, desired: Sequence[Extension]) -> Plan:
        """What `apply` would do."""


class Poller(Service):
    """Keeps the listeners equal to the best configuration there is.

    ``table`` is None without a database. ``in_thread`` runs blocking file work off the reactor.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        listeners: Applier,
        table: Table | None,
        path: Path,
        in_thread: Callable[..., Deferred[Any]],
        *,
        interval: float,
        automatic: bool,
        limit: int,
    ) -> None:
        self._reactor = reactor
        self._listeners = listeners
        self._table = table
        self._path = path
        self._in_thread = in_thread
        self._interval = interval
        self._automatic = automatic
        self._limit = limit
        # Reading may take seconds (a frozen server); applying what we have must not wait for it.
        self._reading = DeferredLock()
        self._applying = DeferredLock()
        self._waiting: dict[RefreshOptions, list[Deferred[RefreshReport]]] = {}
        self._timer: IDelayedCall | None = None
        self._hurry: IDelayedCall | None = None
        self._last_read = 0.0
        self._read_took = 0.0
        self._doubt = ShrinkGuard()
        self._loaded = cache.Loaded(None)
        self._working: set[Deferred[Any]] = set()
        self._complain = ProblemLog()
        #: "database", "file" or "default", and since when (seconds since the epoch).
        self.source = "none"
        self.source_since = time.time()
        #: What is wrong with the local file, if anything.
        self.file_trouble = ""
        self.last: RefreshReport | None = None
        self.last_success: float | None = None

    # life

    def startService(self) -> None:
        super().startService()
        self._run(self._begin())

    async def stopService(self) -> None:
        super().stopService()
        for timer in (self._timer, self._hurry):
            if timer is not None and timer.active():
                timer.cancel()
        for work in list(self._working):
            work.cancel()
        async with self._applying:  # what the API began ends before the file thread does
            return

    def _run(self, work: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
        deferred: Deferred[Any] = ensureDeferred(work)
        self._working.add(deferred)

        def done(result: Any) -> None:
            self._working.discard(deferred)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._log.failure("keeping the current configuration: a reading went wrong", result)

        deferred.addBoth(done)
        return deferred

    async def _begin(self) -> None:
        """Listen within a fraction of a second: on the table if it answers by then, else on the file."""
        self._loaded = loaded = cache.load(self._path, self._limit)
        self.file_trouble = loaded.trouble
        if loaded.trouble:
            self._log.error("{trouble}", trouble=loaded.trouble)
        if self._table is not None:
            seconds = FIRST_WAIT_SECONDS if loaded.extensions is not None else FIRST_WAIT_WITHOUT_FILE
            patience: Deferred[None] = deferLater(self._reactor, seconds)
            self._run(self._attempt("start")).addBoth(lambda _: patience.cancel())
            await patience.addErrback(_expect_cancel)
            if not self.running:
                return
        async with self._applying:
            if self.source == "none":
                await self._fall_back(loaded)
        self._schedule()

    async def _fall_back(self, loaded: cache.Loaded) -> None:
        self._complain(loaded.problems, loaded.rejected, str(self._path))
        if loaded.extensions is not None:
            self._set_source("file", loaded.saved_at)
            await self._listeners.apply(loaded.extensions)
        else:
            self._set_source("default", None)
            await self._listeners.apply([DEFAULT_EXTENSION])
        count = len(self._listeners.extensions)
        self._log.info("running {n} extensions from the {source}", n=count, source=self.source)

    def _set_source(self, source: str, since: float | None) -> None:
        self.source = source
        self.source_since = since if since is not None else time.time()

    # when to read

    def hurry(self) -> None:
        """Something changed in the table: read it soon, but not for every change of a storm."""
        if not self._automatic or not self.running or (self._hurry is not None and self._hurry.active()):
            return
        pause = min(max(HURRY_SECONDS, 5 * self._read_took), HURRY_MOST)
        wait = max(0.0, self._last_read + pause - self._reactor.seconds())
        self._hurry = self._reactor.callLater(wait, lambda: self._run(self._attempt("notify")))

    def database_came_up(self) -> None:
        """The database answers again: without polling this is the only chance for the first reading."""
        if self.running and (self._automatic or self.source != "database"):
            self._run(self._attempt("reconnect"))

    def _schedule(self) -> None:
        if self.running:
            self._timer = self._reactor.callLater(self._interval, self._poll)

    def _poll(self) -> None:
        self._run(self._look_again()).addBoth(lambda _: self._schedule())

    async def _look_again(self) -> None:
        reads = self._table is not None and self._automatic
        report = await self._attempt("poll") if reads else None
        if self.running and (report is None or report.result == "held_back"):
            # Nothing was applied, but a port that could not be had may be free by now.
            async with self._applying:
                await self._listeners.apply(list(self._listeners.extensions.values()))

    async def _attempt(self, trigger: str) -> RefreshReport | None:
        """A reading nobody waits for: its trouble is remembered, and logged when it is new."""
        try:
            return await self.refresh(trigger)
        except SourceUnavailable:
            return None

    # reading

    async def refresh(
        self, trigger: str, *, force: bool = False, dry_run: bool = False, but: Collection[int] = ()
    ) -> RefreshReport:
        """Read the table and apply it. Raises `SourceUnavailable`; the running configuration stays then.

        ``force`` applies a suspiciously small result at once; ``but`` names extensions whose absence is
        expected, because somebody has just removed them.
        """
        wish = RefreshOptions(force, dry_run, frozenset(but))
        shared: Deferred[RefreshReport] = Deferred()
        sharers = self._waiting.setdefault(wish, [])
        sharers.append(shared)
        if len(sharers) == 1:  # fifty clicks at once are one reading
            self._run(self._share(trigger, wish, sharers))
        return await shared

    async def _share(self, trigger: str, wish: RefreshOptions, sharers: list[Deferred[RefreshReport]]) -> None:
        """Do for all of ``sharers`` what they wish; whoever comes after it began waits for the next one."""
        try:
            async with self._reading:
                self._waiting.pop(wish)
                report = await self._refresh(trigger, wish)
        except CancelledError:
            self._waiting.pop(wish, None)
            _fail(sharers, SourceUnavailable("the server is stopping"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is news for those who asked
            _fail(sharers, error)
        else:
            for sharer in sharers:
                sharer.callback(report)

    async def _refresh(self, trigger: str, wish: RefreshOptions) -> RefreshReport:
        started = self._reactor.seconds()
        self._last_read = started
        report = RefreshReport(trigger, result="failed", reason="the server is stopping")
        try:
            verdict = await self._read()
            self._last_read = self._reactor.seconds()
            self._read_took = self._last_read - started
            async with self._applying:
                await self._decide(report, verdict, wish)
        except CancelledError:
            raise
        except Exception as error:
            report.reason = str(error)
            raise
        finally:
            report.seconds = self._reactor.seconds() - started
            if not wish.dry_run:
                self._remember(report)
        return report

    def _in_force(self) -> dict[int, Extension]:
        """What runs; as long as nothing does, what ran last."""
        if self.source == "none" and self._loaded.extensions is not None:
            return {extension.id: extension for extension in self._loaded.extensions}
        return self._listeners.extensions

    async def _read(self) -> ValidationResult:
        if self._table is None:
            raise SourceUnavailable("no database is configured; set DB_HOST to use one")
        validator = Validator(self._in_force().values(), self._limit)
        await self._table.read(validator.add_rows)
        while not validator.validate_pending(PER_TURN):
            await deferLater(self._reactor, 0)
        return validator.result()

    async def _decide(self, report: RefreshReport, verdict: ValidationResult, wish: RefreshOptions) -> None:
        if not self.running:
            raise SourceUnavailable("the server is stopping")
        report.rejected, report.problems = verdict.rejected, verdict.problems
        report.reason = ""
        if wish.dry_run:
            report.result = "previewed"
            report.describe(self._listeners.preview(verdict.extensions))
            return
        running = len(self._in_force().keys() - wish.but)
        if not wish.force and self._doubt.holds(verdict, running, report.trigger, self._reactor.seconds()):
            report.hold_back(len(verdict.extensions), running)
            return
        self._doubt.forget()
        before = self.source
        plan = await self._listeners.apply(verdict.extensions)
        report.describe(plan)
        report.result = "unchanged" if plan.empty else "applied"
        self._set_source("database", None)
        self._complain(verdict.problems, verdict.rejected, "extension_ia")
        changed = not plan.empty or before != "database"
        if changed:
            self._log.info(
                "configuration from the database applied ({trigger}): {added} added, {updated} updated, "
                "{removed} removed, {total_active} active",
                trigger=report.trigger,
                **report.stats,
            )
        await self._save(only_if_missing=not changed and not self.file_trouble)

    async def _save(self, *, only_if_missing: bool) -> None:
        try:
            await self._write(list(self._listeners.extensions.values()), self.source, only_if_missing)
        except OSError as error:
            trouble = f"{self._path} cannot be written: {error.strerror}"
            if trouble != self.file_trouble:
                self._log.error("{trouble}; the configuration is applied all the same", trouble=trouble)
            self.file_trouble = trouble

    async def _write(self, extensions: Sequence[Extension], source: str, only_if_missing: bool = False) -> None:
        work = cache.save_if_missing if only_if_missing else cache.save
        try:
            await self._in_thread(work, self._path, extensions, source).addTimeout(SAVE_SECONDS, self._reactor)
        except defer.TimeoutError:
            raise OSError(errno.ETIMEDOUT, f"the disk does not answer within {SAVE_SECONDS:g} s") from None
        if not only_if_missing:
            self.file_trouble = ""

    def _remember(self, report: RefreshReport) -> None:
        before = self.last
        self.last = report
        if report.result in {"applied", "unchanged"}:
            self.last_success = report.at
        elif self.running and (before is None or (before.result, before.reason) != (report.result, report.reason)):
            self._log.warn("extensions stay as they are: {reason}", reason=report.reason)

    # without a database

    async def keep(self, change: Callable[[Mapping[int, Extension]], Sequence[Extension]]) -> Plan:
        """Apply and save what ``change`` makes of what runs, where there is no database.

        Raises what ``change`` raises, and OSError when the local file cannot be written; nothing is applied
        then. Two changes at once are made one after the other.
        """
        async with self._applying:
            extensions = sorted(change(self._listeners.extensions), key=lambda extension: extension.id)
            await self._write(extensions, "api")
            plan = await self._listeners.apply(extensions)
            self._set_source("file", None)
            return plan


def _expect_cancel(why: Failure) -> None:
    why.trap(CancelledError)


def _fail(sharers: Sequence[Deferred[RefreshReport]], error: Exception) -> None:
    for sharer in sharers:
        sharer.errback(error)
