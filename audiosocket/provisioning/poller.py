"""When the table is read: at the start, after notifications, on request, and at regular intervals.

Polling finds every change; a notification only makes it earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import SourceUnavailable
from audiosocket.extensions.model import Extension
from audiosocket.extensions.reconcile import Plan
from audiosocket.provisioning.refresh import Applier, Configuration, Table
from audiosocket.provisioning.refresh_report import RefreshOptions, RefreshReport

#: How long the start waits for the database before it listens on the ports of the file, in seconds.
FIRST_WAIT_SECONDS = 0.08
#: The same without a file: the default ports are rarely those wanted, but calls must not wait for long.
FIRST_WAIT_SECONDS_WITHOUT_FILE = 0.4
#: Least time between two refreshes after notifications: 0.2 s, or 5 times as long as reading takes, up to 5 s.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS, PAUSE_FACTOR = 0.2, 5.0, 5


class Poller(Service):
    """Keeps the listeners equal to the best configuration there is: table, else local file, else default.

    ``table`` is None without a database. ``in_thread`` runs blocking file work outside the reactor. ``interval``
    is the time between two readings in seconds; without ``automatic`` the table is read at the start and on
    request only. At most ``limit`` extensions run.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        listeners: Applier,
        table: Table | None,
        path: Path,
        in_thread: Callable[..., Deferred[Any]],
        *,
        interval: float,
        automatic: bool,
        limit: int,
    ) -> None:
        self.configuration = Configuration(
            clock, listeners, table, path, in_thread, lambda: bool(self.running), limit
        )
        self._clock = clock
        self._has_table = table is not None
        self._interval = interval
        self._automatic = automatic
        # reading may take seconds (a frozen server); applying the file must not wait for it
        self._reading = DeferredLock()
        self._waiting: dict[RefreshOptions, list[Deferred[RefreshReport]]] = {}
        self._poll_timer: IDelayedCall | None = None
        self._notify_timer: IDelayedCall | None = None
        self._working: set[Deferred[Any]] = set()

    def startService(self) -> None:
        super().startService()
        self._run(self._begin())

    async def stopService(self) -> None:
        super().stopService()
        for timer in (self._poll_timer, self._notify_timer):
            if timer is not None and timer.active():
                timer.cancel()
        for work in list(self._working):
            work.cancel()
        await self.configuration.wait_until_applied()  # what the API began ends before the file thread does

    def poll_every(self, seconds: float) -> None:
        """Read the table so often from now on, or from the next reading on where one is due before."""
        self._interval = seconds
        timer = self._poll_timer
        if timer is not None and timer.active() and timer.getTime() - self._clock.seconds() > seconds:
            timer.reset(seconds)

    def refresh_soon(self) -> None:
        """Read the table after a notification, but not for each of many that arrive in close succession."""
        waits = self._notify_timer is not None and self._notify_timer.active()
        if not self._automatic or not self.running or waits:
            return
        pause = min(max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * self.configuration.read_seconds), MAX_PAUSE_SECONDS)
        wait = max(0.0, self.configuration.last_read + pause - self._clock.seconds())
        self._notify_timer = self._clock.callLater(wait, lambda: self._run(self._attempt("notify")))

    def database_came_up(self) -> None:
        """Read the table: without polling, a table that could not be read at the start is read now."""
        if self.running and (self._automatic or self.configuration.source != "database"):
            self._run(self._attempt("reconnect"))

    async def refresh(
        self, trigger: str, *, force: bool = False, dry_run: bool = False, but: Collection[int] = ()
    ) -> RefreshReport:
        """Read the table and apply it. Raises `SourceUnavailable`; what runs stays then.

        ``force`` applies a suspiciously small result at once; ``but`` are ids of extensions whose absence is
        expected, because they were just removed.
        """
        options = RefreshOptions(force, dry_run, frozenset(but))
        shared: Deferred[RefreshReport] = Deferred()
        callers = self._waiting.setdefault(options, [])
        callers.append(shared)
        if len(callers) == 1:  # fifty requests at once are one reading
            self._run(self._refresh_for(trigger, options, callers))
        return await shared

    def read_again(self, trigger: str) -> None:
        """Read and apply the table, or the local file where there is no database; errors are logged."""
        if self.running:
            self._run(self._attempt(trigger) if self._has_table else self.configuration.reload())

    async def keep(self, change: Callable[[Mapping[int, Extension]], Sequence[Extension]]) -> Plan:
        """See `Configuration.keep`."""
        return await self.configuration.keep(change)

    async def _begin(self) -> None:
        """Listen within a fraction of a second: on the table if it answers by then, else on the file."""
        has_file = self.configuration.load()
        if self._has_table:
            seconds = FIRST_WAIT_SECONDS if has_file else FIRST_WAIT_SECONDS_WITHOUT_FILE
            first_wait: Deferred[None] = deferLater(self._clock, seconds)
            self._run(self._attempt("start")).addBoth(lambda _: first_wait.cancel())
            await first_wait.addErrback(_expect_cancel)
            if not self.running:
                return
        await self.configuration.fall_back()
        self._schedule()

    def _schedule(self) -> None:
        if self.running:
            self._poll_timer = self._clock.callLater(self._interval, self._poll)

    def _poll(self) -> None:
        self._run(self._look_again()).addBoth(lambda _: self._schedule())

    async def _look_again(self) -> None:
        reads = self._has_table and self._automatic
        report = await self._attempt("poll") if reads else None
        if self.running and (report is None or report.result == "held_back"):
            await self.configuration.reapply()

    async def _attempt(self, trigger: str) -> RefreshReport | None:
        """Refresh without a caller: an error is remembered, and logged when it is new."""
        try:
            return await self.refresh(trigger)
        except SourceUnavailable:
            return None

    async def _refresh_for(
        self, trigger: str, options: RefreshOptions, callers: list[Deferred[RefreshReport]]
    ) -> None:
        """Refresh once for all ``callers``; one that comes after the reading began waits for the next."""
        try:
            async with self._reading:
                self._waiting.pop(options)
                report = await self.configuration.refresh(trigger, options)
        except CancelledError:
            self._waiting.pop(options, None)
            _fail(callers, SourceUnavailable("the server is stopping"))
        except Exception as error:  # noqa: BLE001 - each caller gets it
            _fail(callers, error)
        else:
            for caller in callers:
                caller.callback(report)

    def _run(self, work: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred.fromCoroutine(work)
        self._working.add(deferred)

        def done(result: Any) -> None:
            self._working.discard(deferred)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._log.failure("keeping the current configuration: a refresh failed unexpectedly", result)

        deferred.addBoth(done)
        return deferred


def _expect_cancel(failure: Failure) -> None:
    failure.trap(CancelledError)


def _fail(callers: Sequence[Deferred[RefreshReport]], error: Exception) -> None:
    for caller in callers:
        caller.errback(error)
