"""What the nodes share in PostgreSQL: one supervised session that writes in batches, asks, and is notified.

Nothing on the path of a call waits for it. A PostgreSQL that is away costs the rows that find the queue full.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import psycopg2
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import SourceUnavailable
from audiosocket.fleet.writes import Group, Row, Statement, Writes
from audiosocket.json_shapes.connections import FleetDatabaseJSON
from audiosocket.outbound.supervision import ConnectionSupervisor
from audiosocket.postgres.connection import IDatabaseReactor
from audiosocket.postgres.extension_table import transaction
from audiosocket.postgres.leftovers import Leftovers
from audiosocket.postgres.session import Session, Timeouts
from audiosocket.postgres.session_opener import SessionOpener
from audiosocket.postgres.target import Target
from audiosocket.runtime.deferreds import Unfinished, shielded

#: The channel of all notifications between nodes.
CHANNEL = "audiosocket_fleet"
#: How long a row waits for others to be written with it, in seconds.
GATHER_SECONDS = 0.02
#: Pause after PostgreSQL could not run a statement now and may later, in seconds.
LATER_SECONDS = 1.0
#: How long a stop waits for the last rows to be written, in seconds.
STOP_SECONDS = 1.0

_NOTIFY = Statement(f"select pg_notify('{CHANNEL}', payload) from unnest(%s::text[]) payload")  # noqa: S608
#: Errors that may be about one row of many; ValueError is psycopg2's for a text with a NUL.
_ABOUT_A_ROW = (psycopg2.DataError, psycopg2.IntegrityError, ValueError)
_log = Logger()


class FleetDatabase(Service):
    """Writes rows soon, asks questions with a time-out, and passes on the notifications of other nodes.

    ``password`` is as for `Target`. ``came_up`` is called each time the session is open: earlier notifications are
    lost then.
    """

    def __init__(
        self,
        target: Target,
        reactor: IDatabaseReactor,
        *,
        timeouts: Timeouts | None = None,
        writes: Writes | None = None,
    ) -> None:
        self._reactor = reactor
        self._timeouts = timeouts or Timeouts()
        self._writes = Writes() if writes is None else writes
        self._supervisor: ConnectionSupervisor[Session] = ConnectionSupervisor(
            self._open,
            Session.ping,
            self._changed,
            reactor,
            self._timeouts.intervals(),
            unavailable=SourceUnavailable,
        )
        self._leftovers = Leftovers(self._sessions, reactor)
        self._opener = SessionOpener(target, reactor, self._timeouts, self._leftovers)
        self._state, self._since = "connecting", reactor.seconds()
        #: Why PostgreSQL refused rows, until it has taken a batch.
        self._trouble = ""
        self._flushing: defer.Deferred[None] | None = None
        self._work = Unfinished()
        self._hears: dict[str, Callable[[str], object]] = {}
        self._came_up: list[Callable[[], object]] = []

    @property
    def is_up(self) -> bool:
        """Whether the session is open; a server that has just been frozen is not noticed yet."""
        return self._supervisor.connection is not None

    def hear(self, kind: str, heard: Callable[[str], object]) -> None:
        """Have ``heard`` called with the text of each notification of this kind, also from this node."""
        self._hears[kind] = heard

    def when_up(self, came_up: Callable[[], object]) -> None:
        """Have ``came_up`` called each time the session opens: earlier notifications were missed."""
        self._came_up.append(came_up)

    def write(self, statement: Statement, row: Row, key: Hashable = None) -> bool:
        """Have a row written within some 20 ms, or once PostgreSQL is back; see `Writes.add`. Never blocks."""
        taken = self._writes.add(statement, row, key)
        self._flush_soon()
        return taken

    def notify(self, kind: str, text: str) -> None:
        """Tell all nodes, after what was written before; ``text`` has at most some 7,000 characters."""
        self.write(_NOTIFY, (f"{kind} {text}",))

    async def ask(self, sql: str, values: Sequence[object] = (), seconds: float = 1.0) -> list[Row]:
        """Return what one statement returns, run at once and committed by itself; text is ``str``.

        Raises `SourceUnavailable` without a session and after ``seconds``. A statement that was sent is run to
        its end, which may be after that; one that still waited is never run.
        """
        session = self._supervisor.connection
        if session is None:
            raise SourceUnavailable(self._supervisor.reason or "not connected yet")
        end = self._reactor.seconds() + seconds
        try:
            await session.lock.acquire().addTimeout(seconds, self._reactor)
        except defer.TimeoutError:
            raise SourceUnavailable(f"PostgreSQL was busy for {seconds:g} s") from None
        running = shielded(self._work.run(_run(session, sql, values)), _ignore)
        try:
            return await running.addTimeout(max(0.001, end - self._reactor.seconds()), self._reactor)
        except defer.TimeoutError:
            raise SourceUnavailable(f"no answer from PostgreSQL within {seconds:g} s") from None

    def to_json(self) -> FleetDatabaseJSON:
        """Return the state of the session and of the queue."""
        return {
            "state": self._state,
            "since_seconds": round(self._reactor.seconds() - self._since, 1),
            "reason": self._supervisor.reason or self._trouble,
            "waiting": len(self._writes),
            "written_total": self._writes.written,
            "dropped_total": self._writes.dropped,
            "refused_total": self._writes.refused,
        }

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()
        self._supervisor.start()

    def stopService(self) -> defer.Deferred[None]:
        """Write what waits and finish what was asked, for at most a second; then close the session."""
        super().stopService()
        return defer.Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._flush_soon()
        waiting = shielded(self._work.ended(), _ignore)
        try:
            await waiting.addTimeout(STOP_SECONDS, self._reactor)
        except defer.TimeoutError:
            _log.info("{count} row(s) of the fleet were not written", count=len(self._writes))
        await self._supervisor.stop()
        self._state, self._since = "down", self._reactor.seconds()
        await self._work.ended()

    def _flush_soon(self) -> None:
        if self._flushing is None and self.is_up and len(self._writes):
            self._flushing = self._work.run(self._flush())

    async def _flush(self) -> None:
        pause = GATHER_SECONDS
        try:
            while (session := self._supervisor.connection) is not None and len(self._writes):
                if pause:
                    await deferLater(self._reactor, pause)
                async with session.lock:
                    pause = await self._write_batch(session)
        except Exception:  # noqa: BLE001 - a bug here must not end the writing for good
            _log.failure("unexpected error while rows of the fleet were written")
            self._writes.done(sum(len(group.rows) for group in self._writes.take()))
        finally:
            self._flushing = None

    async def _write_batch(self, session: Session) -> float:
        """Write one batch; return the seconds until the next may be tried."""
        groups = self._writes.take()
        try:
            await self._commit(session, groups)
            self._writes.done()
            self._trouble = ""
        except SourceUnavailable as problem:
            if session.lost or _may_work_later(problem):
                self._writes.put_back()
                return LATER_SECONDS
            self._writes.done(await self._one_by_one(session, groups))
        return 0.0

    async def _commit(self, session: Session, groups: Sequence[Group]) -> None:
        """Write the groups in one transaction, then pass on what they returned."""

        async def work(session: Session) -> list[list[Row]]:
            return [await _rows(session, group.statement.sql, group.columns()) for group in groups]

        for group, rows in zip(groups, await transaction(session, "read write", work), strict=True):
            _call(group.statement.answered, rows)

    async def _one_by_one(self, session: Session, groups: Sequence[Group]) -> int:
        """Write the groups one by one, rows with a wrong value left out; return how many rows were refused."""
        refused = 0
        for group in groups:
            try:
                await self._commit(session, [group])
            except SourceUnavailable as problem:
                single = group.single()
                if len(single) > 1 and isinstance(problem.__cause__, _ABOUT_A_ROW):
                    refused += await self._one_by_one(session, single)
                else:
                    refused += len(single)
                    self._refused(str(problem))
        return refused

    def _refused(self, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            _log.warn("PostgreSQL refuses rows of the fleet: {reason}", reason=reason)

    async def _open(self, lost: Callable[[], None]) -> Session:
        return await self._opener.open(self._prepare, on_lost=lost, notified=self._notified)

    async def _prepare(self, session: Session) -> None:
        await self._leftovers.end(session, allowed=1)
        await session.run(f"listen {CHANNEL}")

    def _sessions(self) -> list[Session]:
        return [] if self._supervisor.connection is None else [self._supervisor.connection]

    def _changed(self) -> None:
        state = "up" if self.is_up else "down"
        if state != self._state:
            self._state, self._since = state, self._reactor.seconds()
            if state == "up":
                _log.info("the database of the fleet is up")
                for each in self._came_up:
                    _call(each)
            elif self.running:
                _log.warn(
                    "the database of the fleet is down: {reason}; this node goes on alone",
                    reason=self._supervisor.reason,
                )
        self._flush_soon()

    def _notified(self, payloads: Sequence[str]) -> None:
        for payload in dict.fromkeys(payloads):
            kind, _, text = payload.partition(" ")
            if kind in self._hears:
                _call(self._hears[kind], text)


def _may_work_later(problem: SourceUnavailable) -> bool:
    """Return whether it failed for a reason that passes: a lock, a time limit, a server that only reads."""
    passing = psycopg2.OperationalError | psycopg2.InternalError
    return isinstance(problem.__cause__, passing)


async def _run(session: Session, sql: str, values: Sequence[object]) -> list[Row]:
    """Run a statement on a session whose lock is held, and release it."""
    try:
        return await _rows(session, sql, values)
    finally:
        session.lock.release()


async def _rows(session: Session, sql: str, values: Sequence[object]) -> list[Row]:
    answer = await session.run(sql, list(values))
    return [tuple(_text(value) for value in row) for row in answer.rows]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _call(callback: Callable[..., object], *values: object) -> None:
    """Call a callback; its error must not end the work that called it."""
    called: defer.Deferred[object] = defer.maybeDeferred(callback, *values)
    called.addErrback(lambda failure: _log.failure("a callback of the fleet failed", failure))


def _ignore(outcome: object) -> None:
    """Note work that ended after its caller had given up."""
    if isinstance(outcome, Failure):
        _log.debug("late: {reason}", reason=outcome.getErrorMessage())
