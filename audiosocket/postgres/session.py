"""One PostgreSQL session on which nothing waits without a time-out; it knows no table."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import extensions
from twisted.internet import defer, error
from twisted.python.failure import Failure

from audiosocket.errors import SourceUnavailable
from audiosocket.outbound.resolver import Resolver
from audiosocket.outbound.supervision import Intervals
from audiosocket.postgres.connect_errors import connect_error
from audiosocket.postgres.connection import IDatabaseReactor, SafeConnection, one_line


@dataclass(frozen=True)
class Timeouts:
    """All time-outs and intervals towards PostgreSQL, in seconds.

    A frozen server is noticed within ``heartbeat + statement``; one that is back is found within
    ``1.2 * longest_pause + connect``. ``server_lock`` and ``server_statement`` are limits that the server keeps,
    below ``statement`` so that a slow table costs a statement and not the connection. ``turn`` is how long a
    transaction waits for those before it, ``notification`` how long a notification of our own may take. A session
    that lived for ``steady`` ends a row of failures.
    """

    lookup: float = 5.0
    connect: float = 5.0
    statement: float = 5.0
    server_statement: float = 4.0
    server_lock: float = 3.0
    turn: float = 10.0
    notification: float = 2.0
    heartbeat: float = 10.0
    first_pause: float = 0.5
    longest_pause: float = 15.0
    steady: float = 5.0

    def limits(self) -> dict[str, int]:
        """Return the limits that the server keeps for one transaction, in milliseconds."""
        return {
            "statement_timeout": int(self.server_statement * 1000),
            "lock_timeout": int(self.server_lock * 1000),
            # a server that can no longer reach us must not keep our locks and our slot for hours
            "idle_in_transaction_session_timeout": 10_000,
        }

    def intervals(self) -> Intervals:
        """Return those that concern supervision."""
        return Intervals(self.heartbeat, self.first_pause, self.longest_pause, self.steady)


@dataclass(frozen=True)
class ConnectionParameters:
    """Where the database is, and as whom to connect. ``host`` is a name, an address or a socket directory."""

    host: str
    port: int
    name: str
    user: str
    password: str
    sslmode: str
    sslrootcert: str = ""

    def parameters(self, hostaddr: str, timeouts: Timeouts) -> dict[str, Any]:
        """Return libpq's parameters; ``hostaddr`` is empty for a Unix socket.

        The server's limits are not among them: a pooler such as pgbouncer refuses the parameter ``options``.
        """
        given = {
            "host": self.host,
            "hostaddr": hostaddr,
            "user": self.user,
            "password": self.password,
            "sslrootcert": self.sslrootcert,
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
        }


#: A database without an encoding stores any byte, but fails a query of a client that asked for UTF-8 when a row is
#: not UTF-8: one such row would hide all others.
_INTRODUCTION = """
    select pid, backend_start, case current_setting('server_encoding')
        when 'SQL_ASCII' then set_config('client_encoding', 'SQL_ASCII', false) end
    from pg_stat_activity where pid = pg_backend_pid()
"""

#: Keys of an advisory lock that our sessions hold as long as they last. A pooler that passes on process numbers
#: may give our backend to somebody else, but resets it first, and the lock is gone then.
MARK = (0x4155_444F, secrets.randbelow(2**31))
#: For how long PostgreSQL keeps a connection whose client is gone, in seconds and attempts.
_KEEPALIVES = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}

#: Process number and start of a session's backend: unique, also after the number has been used again.
Identity = tuple[object, object]


@dataclass(frozen=True)
class Answer:
    """What one statement returned: its rows (none for a command) and how many rows it touched."""

    rows: list[tuple[Any, ...]]
    count: int


class Session:
    """An open connection; made by `open`. ``lost`` says why it ended and is empty while it lives.

    Statements run one after another: a caller holds ``lock`` while it sends any.
    """

    def __init__(
        self,
        reactor: IDatabaseReactor,
        timeouts: Timeouts,
        on_lost: Callable[[], None],
        notified: Callable[[Sequence[str]], None],
        measure: Callable[[float], object],
    ) -> None:
        self._measure = measure
        self.lost = ""
        #: The backend, where it is certain that it serves this session only, else None.
        self.identity: Identity | None = None
        self._local_limits = ""
        self.lock = defer.DeferredLock()
        self._reactor = reactor
        self._timeouts = timeouts
        self._on_lost = on_lost
        self._connection = SafeConnection(reactor, self._connection_lost, notified)

    @classmethod
    async def open(
        cls,
        target: ConnectionParameters,
        reactor: IDatabaseReactor,
        resolver: Resolver,
        timeouts: Timeouts,
        *,
        on_lost: Callable[[], None] = lambda: None,
        notified: Callable[[Sequence[str]], None] = lambda _: None,
        measure: Callable[[float], object] = lambda _: None,
    ) -> Session:
        """Return a session with the first address that answers; raises `SourceUnavailable`.

        ``on_lost`` is called when it ends, before the statements in progress fail; ``notified`` with the payloads
        of notifications, those that arrived together in one call; ``measure`` with the duration of each statement,
        in seconds.
        """
        addresses = await _addresses(target.host, resolver, timeouts)
        problems: list[str] = []
        end = reactor.seconds() + timeouts.connect
        for index, address in enumerate(addresses):
            session = cls(reactor, timeouts, on_lost, notified, measure)
            share = (end - reactor.seconds()) / (len(addresses) - index)
            try:
                await session._connect(max(share, 0.1), target.parameters(address, timeouts))
            except defer.TimeoutError:
                problems.append(f"no answer within {timeouts.connect:g} s")
            except (psycopg2.Error, error.ConnectionDone, error.ConnectionLost) as problem:
                problems.append(connect_error(one_line(problem)))
            else:
                await session._introduce()
                return session
        raise SourceUnavailable("; ".join(dict.fromkeys(problems)))

    async def _connect(self, seconds: float, parameters: dict[str, Any]) -> None:
        await self._connection.connect(seconds, **parameters)
        extensions.register_type(extensions.BYTES, self._connection.pollable())

    async def _introduce(self) -> None:
        try:
            answer = await self.run(_INTRODUCTION)
            pid, start = answer.rows[0][:2]
            if pid == self._connection.backend_pid:
                self.identity = (pid, start)
                await self._limit(self._timeouts.limits() | _KEEPALIVES)
                await self.run("select pg_advisory_lock_shared(%s, %s)", MARK)
            else:
                limits = self._timeouts.limits().items()
                self._local_limits = "".join(f"; set local {name} = {value}" for name, value in limits)
        except BaseException:
            self.close("not opened")
            raise

    async def _limit(self, limits: Mapping[str, int]) -> None:
        values = [part for name, value in limits.items() for part in (name, str(value))]
        await self.run(f"select {', '.join(['set_config(%s, %s, false)'] * len(limits))}", values)

    async def begin(self, mode: str) -> None:
        """Begin a transaction, ``mode`` being "read only" or "read write", under the server's limits.

        Through a pooler the limits are set for this transaction only: the next one may have another backend, which
        other clients use, too.
        """
        await self.run(f"begin {mode}{self._local_limits}")

    @property
    def pooled(self) -> bool:
        """Whether a pooler, or anything else that is not the server, answers; its backends are not ours."""
        return self.identity is None

    async def run(self, sql: str, values: object = None) -> Answer:
        """Return the answer to one statement; raises `SourceUnavailable`, its cause is psycopg2's error.

        No answer within ``Timeouts.statement`` ends the session.
        """
        if self.lost:
            raise SourceUnavailable(self.lost)
        limit = self._timeouts.statement
        timer = self._reactor.callLater(limit, self.close, f"no answer within {limit:g} s")
        began = self._reactor.seconds()
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
        except (ValueError, OverflowError) as problem:  # for example a date that Python does not have
            raise SourceUnavailable(f"a value in the answer cannot be read: {one_line(problem)}") from problem
        finally:
            self._measure(self._reactor.seconds() - began)
            if timer.active():
                timer.cancel()

    async def ping(self) -> None:
        """Close the session if the server does not answer; a session in use has time-outs of its own."""
        if self.lock.locked:
            return
        async with self.lock:
            try:
                await self.run("select 1")
            except SourceUnavailable as problem:
                self.close(str(problem))

    def close(self, reason: str) -> None:
        """End the session at once; statements in progress fail."""
        if self.lost:
            return
        self.lost = reason
        self._on_lost()  # before the statements in progress fail: their callers may ask for the state
        self._connection.close()

    def _connection_lost(self, failure: Failure) -> None:
        self.close(one_line(failure.value))


async def _addresses(host: str, resolver: Resolver, timeouts: Timeouts) -> Sequence[str]:
    """Return the addresses of ``host``, one empty one for a socket directory."""
    if host.startswith(("/", "@")):
        return ("",)
    try:
        return await resolver.addresses(host, timeouts.lookup)
    except defer.TimeoutError:
        raise SourceUnavailable(f"no answer from the name server within {timeouts.lookup:g} s") from None
    except error.DNSLookupError as problem:
        raise SourceUnavailable(" ".join(map(str, problem.args))) from None
