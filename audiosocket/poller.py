"""Where the configuration comes from: database, else local file, else default; the last good one stays.

Polling is the truth and NOTIFY only hurries it. Every reading goes the same way: judge the rows one by
one, distrust a result that shrank too much, plan, apply, save, remember what happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket import cache
from audiosocket.database import Row
from audiosocket.errors import AudioSocketError, SourceUnavailable
from audiosocket.extensions import DEFAULT_EXTENSION, Extension, Judge, Problem, Verdict
from audiosocket.reconcile import Plan, shrinks

#: How long the start waits for the database before it listens on what the file says, in seconds.
FIRST_WAIT_SECONDS = 0.25
#: Between two readings that NOTIFY asked for, in seconds; longer where reading takes long.
HURRY_SECONDS = 0.2
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


@dataclass
class Report:
    """What one reading brought; shown by the API."""

    trigger: str
    result: str = "applied"  # applied | unchanged | held_back | failed | previewed
    reason: str = ""
    at: float = field(default_factory=time.time)
    seconds: float = 0.0
    stats: dict[str, int] = field(default_factory=dict)
    diff: dict[str, list[int]] = field(default_factory=dict)
    rejected: int = 0
    problems: tuple[Problem, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As shown by the API; ``age_seconds`` since it happened."""
        return {
            "trigger": self.trigger,
            "result": self.result,
            "reason": self.reason,
            "age_seconds": round(max(0.0, time.time() - self.at), 1),
            "duration_seconds": round(self.seconds, 3),
            "stats": self.stats,
            "diff": self.diff,
            "rejected": self.rejected,
            "rejected_rows": [problem.as_json() for problem in self.problems],
        }


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
        self._waiting: dict[tuple[bool, bool, tuple[int, ...]], list[Deferred[Report]]] = {}
        self._timer: IDelayedCall | None = None
        self._hurry: IDelayedCall | None = None
        self._last_read = 0.0
        self._suspect = False
        self._working: set[Deferred[Any]] = set()
        self._problem_ids: frozenset[tuple[int | None, str]] = frozenset()
        #: "database", "file" or "default", and since when (seconds since the epoch).
        self.source = "none"
        self.source_since = time.time()
        #: What is wrong with the local file, if anything.
        self.file_trouble = ""
        self.last: Report | None = None
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
        """Listen within a quarter of a second: on the table if it answers by then, else on the file."""
        if self._table is not None:
            patience: Deferred[None] = deferLater(self._reactor, FIRST_WAIT_SECONDS)
            self._run(self._attempt("start")).addBoth(lambda _: patience.cancel())
            await patience.addErrback(_expect_cancel)
        if self.source != "database":
            async with self._applying:
                if self.source != "database":
                    await self._fall_back()
        self._schedule()

    async def _fall_back(self) -> None:
        loaded = cache.load(self._path, self._limit)
        self.file_trouble = loaded.trouble
        if loaded.trouble:
            self._log.error("{trouble}", trouble=loaded.trouble)
        self._complain(loaded.problems, len(loaded.problems), str(self._path))
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
        took = self.last.seconds if self.last is not None else 0.0
        wait = max(0.0, self._last_read + max(HURRY_SECONDS, 5 * took) - self._reactor.seconds())
        self._hurry = self._reactor.callLater(wait, lambda: self._run(self._attempt("notify")))

    def database_came_up(self) -> None:
        """The database answers again: without polling this is the only chance for the first reading."""
        if self.running and (self._automatic or self.source != "database"):
            self._run(self._attempt("reconnect"))

    def _schedule(self) -> None:
        if self.running:
            self._timer = self._reactor.callLater(self._interval, self._poll)

    def _poll(self) -> None:
        reads = self._table is not None and self._automatic
        polled = self._run(self._attempt("poll") if reads else self._retry())
        polled.addBoth(lambda _: self._schedule())

    async def _retry(self) -> None:
        """Nothing to read: only try again for ports that could not be had."""
        async with self._applying:
            await self._listeners.apply(list(self._listeners.extensions.values()))

    async def _attempt(self, trigger: str) -> Report | None:
        """A reading nobody waits for: its trouble is remembered, and logged when it is new."""
        try:
            return await self.refresh(trigger)
        except SourceUnavailable:
            return None

    # reading

    async def refresh(
        self, trigger: str, *, force: bool = False, dry_run: bool = False, but: Collection[int] = ()
    ) -> Report:
        """Read the table and apply it. Raises `SourceUnavailable`; the running configuration stays then.

        ``force`` applies a suspiciously small result at once; ``but`` names extensions whose absence is
        expected, because somebody has just removed them.
        """
        key = (force, dry_run, tuple(but))
        if key in self._waiting:  # fifty clicks at once are one reading
            shared: Deferred[Report] = Deferred()
            self._waiting[key].append(shared)
            return await shared
        sharers = self._waiting[key] = []
        async with self._reading:
            del self._waiting[key]
            try:
                report = await self._refresh(trigger, force=force, dry_run=dry_run, but=but)
            except BaseException as error:
                for sharer in sharers:
                    sharer.errback(error)
                raise
            for sharer in sharers:
                sharer.callback(report)
            return report

    async def _refresh(self, trigger: str, *, force: bool, dry_run: bool, but: Collection[int]) -> Report:
        started = self._reactor.seconds()
        self._last_read = started
        report = Report(trigger)
        try:
            verdict = await self._read()
            self._last_read = self._reactor.seconds()
            async with self._applying:
                await self._decide(report, verdict, force=force, dry_run=dry_run, but=but)
        except AudioSocketError as error:
            report.result, report.reason = "failed", str(error)
            raise
        finally:
            report.seconds = self._reactor.seconds() - started
            if not dry_run:
                self._remember(report)
        return report

    async def _read(self) -> Verdict:
        if self._table is None:
            raise SourceUnavailable("no database is configured; set DB_HOST to use one")
        judge = Judge(self._listeners.extensions.values(), self._limit)
        await self._table.read(judge.offer_rows)
        while not judge.settle(PER_TURN):
            await deferLater(self._reactor, 0)
        return judge.verdict()

    async def _decide(
        self, report: Report, verdict: Verdict, *, force: bool, dry_run: bool, but: Collection[int]
    ) -> None:
        report.rejected, report.problems = verdict.rejected, verdict.problems
        preview = self._listeners.preview(verdict.extensions)
        _describe(report, preview)
        if dry_run:
            report.result = "previewed"
            return
        running = self._listeners.extensions.keys() - set(but)
        if not force and shrinks(len(verdict.extensions), len(running)) and not self._suspect:
            self._suspect = True
            report.result = "held_back"
            report.reason = (
                f"the table has {len(verdict.extensions)} usable rows and {len(running)} extensions run; it is "
                'applied when it looks the same once more, or by POST /api/refresh with {"force": true}'
            )
            report.stats = {"removed": 0, "updated": 0, "added": 0, "total_active": len(running)}
            report.diff = {}
            return
        self._suspect = False
        before = self.source
        plan = await self._listeners.apply(verdict.extensions)
        _describe(report, plan)
        report.result = "unchanged" if plan.empty else "applied"
        self._set_source("database", None)
        self._complain(verdict.problems, verdict.rejected, "extension_ia")
        if not plan.empty or before != "database":
            self._log.info(
                "configuration from the database applied ({trigger}): {added} added, {updated} updated, "
                "{removed} removed, {total_active} active",
                trigger=report.trigger,
                **report.stats,
            )
            await self._save()

    async def _save(self) -> None:
        try:
            await self._in_thread(cache.save, self._path, list(self._listeners.extensions.values()), self.source)
            self.file_trouble = ""
        except OSError as error:
            self.file_trouble = f"{self._path} cannot be written: {error.strerror}"
            self._log.error("{trouble}; the configuration is applied all the same", trouble=self.file_trouble)

    def _remember(self, report: Report) -> None:
        before = self.last
        self.last = report
        if report.result in {"applied", "unchanged"}:
            self.last_success = report.at
        elif before is None or (before.result, before.reason) != (report.result, report.reason):
            self._log.warn("extensions stay as they are: {reason}", reason=report.reason)

    def _complain(self, problems: Sequence[Problem], rejected: int, where: str) -> None:
        """Each bad entry once, not at every reading."""
        now = frozenset((problem.id, problem.reason) for problem in problems)
        for extension_id, reason in sorted(now - self._problem_ids, key=str):
            self._log.error(
                "leaving out extension {id} of {where}: {reason}", id=extension_id, where=where, reason=reason
            )
        if rejected > len(problems) and now != self._problem_ids:
            self._log.error("{n} more entries of {where} are left out", n=rejected - len(problems), where=where)
        self._problem_ids = now

    # without a database

    async def keep(self, extensions: Sequence[Extension]) -> Plan:
        """Apply and save a configuration made through the API, where there is no database.

        Raises OSError when the local file cannot be written; nothing is applied then.
        """
        async with self._applying:
            await self._in_thread(cache.save, self._path, list(extensions), "api")
            plan = await self._listeners.apply(extensions)
            self.file_trouble = ""
            self._set_source("file", None)
            return plan


def _expect_cancel(why: Failure) -> None:
    why.trap(CancelledError)


def _describe(report: Report, plan: Plan) -> None:
    report.stats = plan.stats()
    report.diff = {"added": list(plan.added), "updated": list(plan.updated), "removed": list(plan.removed)}
