"""One PostgreSQL session on which nothing waits without a deadline; it knows nothing of tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import extensions
from twisted.internet import defer, error

from audiosocket.errors import SourceUnavailable
from audiosocket.outbound.resolver import Resolver
from audiosocket.postgres.connection import Reactor, SafeConnection, one_line


@dataclass(frozen=True)
class Timeouts:
    """All deadlines and periods towards PostgreSQL, in seconds.

    A freeze is seen within ``heartbeat + statement``; a server that is back is found within
    ``1.2 * longest_pause + connect``. ``server_lock`` and ``server_statement`` are the server's own
    limits, below ``statement`` so that a slow table costs a statement and not the connection.
    ``steady`` is how long a session must have lived for its loss to count as a new trouble.
    """

    lookup: float = 5.0
    connect: float = 5.0
    statement: float = 5.0
    server_statement: float = 4.0
    server_lock: float = 3.0
    turn: float = 10.0
    heartbeat: float = 10.0
    first_pause: float = 0.5
    longest_pause: float = 15.0
    steady: float = 5.0


@dataclass(frozen=True)
class ConnectionParameters:
    """Where the database is and who asks. ``host`` is a name, an address or a socket directory."""

    host: str
    port: int
    name: str
    user: str
    password: str
    sslmode: str

    def parameters(self, hostaddr: str, pace: Timeouts) -> dict[str, Any]:
        """What libpq is told; ``hostaddr`` is empty for a Unix socket."""
        limits = {
            "statement_timeout": int(pace.server_statement * 1000),
            "lock_timeout": int(pace.server_lock * 1000),
            # a server that has lost sight of us must not keep our locks and our place for hours
            "idle_in_transaction_session_timeout": 10_000,
            "tcp_keepalives_idle": 10,
            "tcp_keepalives_interval": 5,
            "tcp_keepalives_count": 3,
        }
        given = {
            "host": self.host,
            "hostaddr": hostaddr,
            "user": self.user,
            "password": self.password,
        }
        return {
            **{key: value for key, value in given.items() if value},
            "port": self.port,
            "dbname": self.name,
            "sslmode": self.sslmode,
            "gssencmode": "disable",  # looking for a Kerberos ticket may block
            "application_name": "audiosocket",
            "client_encoding": "UTF8",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        }


#: A database without an encoding takes any byte in, and refuses to hand out what is not UTF-8 to a client
#: that asked for UTF-8: one such row would hide all others.
_INTRODUCTION = """
    select pid, backend_start, case current_setting('server_encoding')
        when 'SQL_ASCII' then set_config('client_encoding', 'SQL_ASCII', false) end
    from pg_stat_activity where pid = pg_backend_pid()
"""

#: What tells a session from every other one, also after its process number has been used again.
Identity = tuple[object, object]


@dataclass(frozen=True)
class Answer:
    """What one statement returned: its rows (none for a command) and how many rows it touched."""

    rows: list[tuple[Any, ...]]
    count: int


class Session:
    """An open connection; made by `open`. ``lost`` says why it ended and is empty while it lives.

    Statements run one after another: whoever sends any holds ``lock``.
    """

    def __init__(self, connection: SafeConnection, reactor: Reactor, pace: Timeouts) -> None:
        self.lost = ""
        self.identity: Identity = (0, None)
        self.on_lost: Callable[[], None] | None = None
        self.lock = defer.DeferredLock()
        self._connection = connection
        self._reactor = reactor
        self._pace = pace
        connection.on_lost = lambda failure: self.close(one_line(failure.value))
        extensions.register_type(extensions.BYTES, connection.pollable())

    @classmethod
    async def open(
        cls, target: ConnectionParameters, reactor: Reactor, lookup: Resolver, pace: Timeouts
    ) -> Session:
        """A new session with the first address that answers; raises `SourceUnavailable`."""
        if target.host.startswith(("/", "@")):
            addresses: Sequence[str] = ("",)
        else:
            try:
                addresses = await lookup.addresses(target.host, pace.lookup)
            except defer.TimeoutError:
                raise SourceUnavailable(f"no answer from the name server within {pace.lookup:g} s") from None
            except error.DNSLookupError as problem:
                raise SourceUnavailable(" ".join(map(str, problem.args))) from None
        problems: list[str] = []
        end = reactor.seconds() + pace.connect
        for index, address in enumerate(addresses):
            connection = SafeConnection(reactor)
            share = (end - reactor.seconds()) / (len(addresses) - index)
            try:
                await connection.connect(max(share, 0.1), **target.parameters(address, pace))
            except defer.TimeoutError:
                problems.append(f"no answer within {pace.connect:g} s")
            except (psycopg2.Error, error.ConnectionDone, error.ConnectionLost) as problem:
                problems.append(one_line(problem))
            else:
                session = cls(connection, reactor, pace)
                await session._introduce()
                return session
        raise SourceUnavailable("; ".join(dict.fromkeys(problems)))

    async def _introduce(self) -> None:
        try:
            answer = await self.run(_INTRODUCTION)
        except BaseException:
            self.close("not opened")
            raise
        if answer.rows:
            self.identity = (answer.rows[0][0], answer.rows[0][1])

    def hear(self, notified: Callable[[Sequence[str]], None]) -> None:
        """Calls ``notified`` with the payloads of notifications, those that came together in one call."""
        self._connection.on_notifies = notified

    async def run(self, sql: str, values: object = None) -> Answer:
        """The answer to one statement; raises `SourceUnavailable`, its cause is psycopg2's error.

        No answer within the deadline ends the session.
        """
        if self.lost:
            raise SourceUnavailable(self.lost)
        limit = self._pace.statement
        timer = self._reactor.callLater(limit, self.close, f"no answer within {limit:g} s")
        try:
            cursor = self._connection.cursor()
            await cursor.execute(sql, values)
            rows = cursor.fetchall() if cursor.description else []
            return Answer(rows, cursor.rowcount)
        except (error.ConnectionDone, error.ConnectionLost):
            self.close("the connection was lost")
            raise SourceUnavailable(self.lost) from None
        except psycopg2.Error as problem:
            if problem.diag.severity_nonlocalized in ("FATAL", "PANIC"):  # the end of the connection comes next
                self.close(one_line(problem))
            raise SourceUnavailable(self.lost or one_line(problem)) from problem
        except (ValueError, OverflowError) as problem:  # a date beyond Python's, a number that is none
            raise SourceUnavailable(f"a value in the answer cannot be read: {one_line(problem)}") from problem
        finally:
            if timer.active():
                timer.cancel()

    async def ping(self) -> None:
        """Finds out whether the server still answers; a session in use has its own deadlines."""
        if self.lock.locked:
            return
        async with self.lock:
            try:
                await self.run("select 1")
            except SourceUnavailable as problem:
                self.close(str(problem))

    def close(self, reason: str) -> None:
        """Ends the session at once; statements in progress fail."""
        if self.lost:
            return
        self.lost = reason
        if self.on_lost is not None:
            self.on_lost()  # before those who wait for an answer hear of it: they may ask for the state
        self._connection.close()
