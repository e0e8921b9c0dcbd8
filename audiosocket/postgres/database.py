"""The table ``extension_ia`` through two supervised PostgreSQL sessions: one for queries, one for LISTEN.

Nothing here is on the path of a call, and nothing here waits for PostgreSQL without a time-out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import SourceUnavailable
from audiosocket.outbound.supervision import ConnectionSupervisor
from audiosocket.postgres import extension_table
from audiosocket.postgres.connection import IDatabaseReactor, one_line
from audiosocket.postgres.database_state import DatabaseState
from audiosocket.postgres.extension_table import CHANNEL, COLUMNS, Row
from audiosocket.postgres.leftovers import Leftovers
from audiosocket.postgres.notification_check import NotificationCheck
from audiosocket.postgres.session import Session, Timeouts
from audiosocket.postgres.session_opener import SessionOpener
from audiosocket.postgres.target import Target
from audiosocket.runtime.deferreds import Unfinished, shielded
from audiosocket.runtime.histograms import Histograms
from audiosocket.settings import Settings

__all__ = ["COLUMNS", "Database", "DatabaseState", "Row", "Timeouts"]

T = TypeVar("T")
_log = Logger()


class Database(Service):
    """Reads and writes the table, and reports when it may have changed.

    ``password`` is called in a thread before each connection where it is not text; it may raise `InvalidSetting`.

    ``changed`` is called after notifications (once for those that arrive together; their payloads are ignored) and
    each time listening begins, as earlier notifications are lost. ``state_changed`` is called with the new state
    whenever more than its counters changed.
    """

    def __init__(
        self,
        settings: Settings,
        password: str | Callable[[], str],
        reactor: IDatabaseReactor,
        *,
        listen: bool,
        changed: Callable[[], None],
        state_changed: Callable[[DatabaseState], None],
        timeouts: Timeouts | None = None,
    ) -> None:
        self._reactor = reactor
        self._timeouts = timeouts or Timeouts()
        self._changed = changed
        self._state_changed = state_changed
        self._query = self._supervisor(self._open_query, self._query_changed)
        self._listen = self._supervisor(self._open_listen, self._listen_changed, self._query_is_up)
        self._supervisors = (self._query, self._listen) if listen else (self._query,)
        self._leftovers = Leftovers(self._open_sessions, reactor)
        target = Target(settings, password, reactor)
        self._opener = SessionOpener(target, reactor, self._timeouts, self._leftovers)
        self._notifications = NotificationCheck(timeouts or Timeouts(), reactor)
        self._state = "connecting"
        self._since = reactor.seconds()
        self._table_reason = ""
        self._reported: tuple[object, ...] = ()
        self._reasons_logged: set[str] = set()
        self._not_listening_logged = False
        self._durations = Histograms()
        self._work = Unfinished()

    @property
    def state(self) -> DatabaseState:
        """The state now."""
        reason = self._table_reason
        if self._state != "up":
            reason = self._query.reason
        elif self._listen.attempts and not reason:
            reason = f"notifications do not arrive: {self._listen.reason}"
        return DatabaseState(
            state=self._state,
            since=self._since,
            reason=reason,
            attempts=self._query.attempts,
            next_try_seconds=self._query.next_try_seconds,
            listening=self._listen.connection is not None,
            backends=len(self._open_sessions()),
            reconnects=max(0, self._query.opened - 1),
            queries=self._durations.to_json().get("query"),
        )

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()
        for supervisor in self._supervisors:
            supervisor.start()

    def stopService(self) -> defer.Deferred[None]:
        """Close both sessions whatever they are doing; fires when no work is left."""
        super().stopService()
        return defer.Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for supervisor in reversed(self._supervisors):
            await supervisor.stop()
        self._state, self._since = "down", self._reactor.seconds()
        await self._work.ended()

    async def read(self, take: Callable[[Sequence[Row]], None]) -> int:
        """Pass all rows ordered by id to ``take``, in pages of at most 500 of one snapshot; return their number.

        The reactor has a turn between two pages. What ``take`` raises ends the reading and is raised. Raises
        `SourceUnavailable`. Like every method here it runs to its end when the caller has been cancelled.
        """
        return await self._shielded(self._read(take))

    async def insert(self, values: Row, check: Callable[[Sequence[Row]], None]) -> int:
        """Add a row and return its id; ``check`` is given all rows first and may raise: nothing is written then.

        Raises `SourceUnavailable`, or `ExtensionTaken` or `InvalidExtension` for a constraint of the table.
        """
        return await self._shielded(self._write(lambda s: extension_table.insert(s, values, check)))

    async def update(self, extension_id: int, values: Row, check: Callable[[Sequence[Row]], None]) -> bool:
        """Change the row with this id as `insert` adds one; False, and no check, when there is none."""
        return await self._shielded(self._write(lambda s: extension_table.update(s, extension_id, values, check)))

    async def delete(self, extension_id: int) -> bool:
        """Remove the row with this id; False when there is none. Raises `SourceUnavailable`."""
        return await self._shielded(self._write(lambda s: extension_table.delete(s, extension_id)))

    def _shielded(self, work: Coroutine[defer.Deferred[Any], Any, T]) -> defer.Deferred[T]:
        return shielded(self._work.run(work), _log_lost)

    async def _read(self, take: Callable[[Sequence[Row]], None]) -> int:
        try:
            count = await self._transaction("read only", lambda s: extension_table.read(s, take))
        except SourceUnavailable as problem:
            if self._query.connection is not None:
                self._table_is(str(problem))
            raise
        self._table_is("")
        return count

    async def _write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        try:
            return await self._transaction("read write", work)
        except SourceUnavailable as problem:
            raise extension_table.refusal(problem) from None

    async def _transaction(self, mode: str, work: Callable[[Session], Awaitable[T]]) -> T:
        session = await self._query.ready()
        try:
            await session.lock.acquire().addTimeout(self._timeouts.turn, self._reactor)
        except defer.TimeoutError:
            raise SourceUnavailable("the database is busy with earlier requests; try again") from None
        try:
            return await extension_table.transaction(session, mode, work)
        finally:
            session.lock.release()

    def _supervisor(
        self,
        open_session: Callable[[Callable[[], None]], Awaitable[Session]],
        changed: Callable[[], None],
        allowed: Callable[[], bool] = lambda: True,
    ) -> ConnectionSupervisor[Session]:
        return ConnectionSupervisor(
            open_session,
            Session.ping,
            changed,
            self._reactor,
            self._timeouts.intervals(),
            unavailable=SourceUnavailable,
            allowed=allowed,
        )

    async def _open_query(self, lost: Callable[[], None]) -> Session:
        return await self._opener.open(self._prepare_query, on_lost=lost, measure=self._measure)

    async def _prepare_query(self, session: Session) -> None:
        await self._leftovers.end(session, allowed=1)

    async def _open_listen(self, lost: Callable[[], None]) -> Session:
        await self._leftovers.end(await self._query.ready(), allowed=0)
        return await self._opener.open(
            self._prepare_listen, on_lost=lost, notified=self._notified, measure=self._measure
        )

    async def _prepare_listen(self, session: Session) -> None:
        if session.pooled:
            await self._notifications.check(session, await self._query.ready())
        await session.run(f"listen {CHANNEL}")

    def _measure(self, seconds: float) -> None:
        self._durations.measure("query", seconds * 1000)

    def _open_sessions(self) -> list[Session]:
        return [each.connection for each in self._supervisors if each.connection is not None]

    def _query_is_up(self) -> bool:
        return self._query.connection is not None

    def _query_changed(self) -> None:
        if not self.running:
            return
        state = "up" if self._query_is_up() else "down"
        if state != self._state:
            self._state, self._since = state, self._reactor.seconds()
            self._reasons_logged = {self._query.reason}
            if state == "up":
                self._listen.reason = ""
                _log.info("database is up")
            else:
                _log.warn("database is down: {reason}; trying again", reason=self._query.reason)
        elif self._query.reason not in self._reasons_logged:
            self._reasons_logged.add(self._query.reason)
            _log.info("database is still down: {reason}", reason=self._query.reason)
        if state == "up":
            self._listen.wake()
        elif self._listen.connection is not None:
            # its own loss may stay unnoticed for a while, and it would take the slot of a new query session
            self._listen.connection.close(self._query.reason)
        self._report()

    def _listen_changed(self) -> None:
        if not self.running:
            return
        if self._listen.connection is not None:
            self._not_listening_logged = False
            _log.info("listening for changes of the table")
            self._call(self._changed)
        elif self._listen.attempts == 0:
            if self._query_is_up():
                self._query.wake()
        elif self._query_is_up() and not self._not_listening_logged:
            self._not_listening_logged = True
            _log.warn("notifications do not arrive: {reason}; polling goes on", reason=self._listen.reason)
        self._report()

    def _notified(self, payloads: Sequence[str]) -> None:
        if self._notifications.arrived(payloads):
            return  # nothing else is listened for yet
        _log.debug("{count} notification(s), the last: {payload}", count=len(payloads), payload=payloads[-1][:200])
        self._call(self._changed)

    def _table_is(self, reason: str) -> None:
        """Note why the table cannot be read; empty if it can."""
        if reason == self._table_reason:
            return
        self._table_reason = reason
        if reason:
            _log.warn("extension_ia cannot be read: {reason}", reason=reason)
        else:
            _log.info("extension_ia can be read again")
        self._report()

    def _report(self) -> None:
        state = self.state
        seen = (state.state, state.reason, state.listening, state.backends)
        if self.running and seen != self._reported:
            self._reported = seen
            self._call(self._state_changed, state)

    def _call(self, callback: Callable[..., None], *values: object) -> None:
        """Call a callback; its error must not end the supervision that called it."""
        called = defer.maybeDeferred(callback, *values)
        called.addErrback(lambda failure: _log.failure("a database callback failed", failure))


def _log_lost(outcome: object) -> None:
    """Log the failure of work whose caller was cancelled."""
    if isinstance(outcome, Failure):
        _log.info("work whose caller was cancelled failed: {reason}", reason=one_line(outcome.value))
