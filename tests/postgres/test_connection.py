"""`audiosocket.postgres.connection` and the session on top of it, against a real PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from psycopg2 import errors as pg
from twisted.internet import defer, error, task
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from audiosocket.errors import SourceUnavailable
from audiosocket.outbound.resolver import Resolver
from audiosocket.postgres.connection import SafeConnection, one_line
from audiosocket.postgres.session import ConnectionParameters, Session, Timeouts
from tests.support.ports import free_port
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.reactor import reactor
from tests.support.slow_resolver import SlowResolver

pytestmark = pytest.mark.usefixtures("no_traceback")

TIMEOUTS = Timeouts(connect=2.0, statement=2.0)


@pytest.fixture
def parameters(postgres: PostgresServer, database_name: str) -> dict[str, Any]:
    return {
        "hostaddr": postgres.host,
        "port": postgres.port,
        "dbname": database_name,
        "user": ROLE,
        "password": ROLE_PASSWORD,
    }


class Reports:
    """What a connection has reported."""

    def __init__(self) -> None:
        self.lost: list[Failure] = []
        self.notified: list[Sequence[str]] = []


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest_twisted.async_yield_fixture
async def connection(parameters: dict[str, Any], reports: Reports) -> AsyncIterator[SafeConnection]:
    connection = SafeConnection(reactor, reports.lost.append, reports.notified.append)
    await connection.connect(5.0, **parameters)
    yield connection
    connection.close()


def target(postgres: PostgresServer, database: str, host: str, port: int | None = None) -> ConnectionParameters:
    return ConnectionParameters(host, port or postgres.port, database, ROLE, ROLE_PASSWORD, "prefer")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def backends(postgres: PostgresServer, database: str) -> int:
    sql = "select count(*) from pg_stat_activity where datname = %s"
    ((count,),) = await deferToThread(postgres.execute, "postgres", sql, [database])
    assert isinstance(count, int)
    return count


async def test_cancelling_a_query_of_a_frozen_server_returns_at_once_and_closes_the_socket(
    connection: SafeConnection, postgres: PostgresServer, reports: Reports
) -> None:
    before = descriptors()
    postgres.freeze()
    asking = connection.runQuery("select 1")
    await task.deferLater(reactor, 0.02)
    asking.cancel()  # txpostgres would wait here, holding the interpreter, until the server answers again
    with pytest.raises(defer.CancelledError):
        await asking
    assert connection.closed
    assert descriptors() == before - 1
    assert len(reports.lost) == 1


async def test_a_time_out_of_a_query_works_as_of_any_deferred(
    connection: SafeConnection, postgres: PostgresServer, database_name: str
) -> None:
    with pytest.raises(defer.TimeoutError):
        await connection.runQuery("select pg_sleep(30)").addTimeout(0.05, reactor)
    assert connection.closed


async def test_a_statement_timeout_is_the_servers_error_and_leaves_the_connection(
    connection: SafeConnection,
) -> None:
    await connection.runOperation("set statement_timeout = 50")
    with pytest.raises(pg.QueryCanceled):
        await connection.runQuery("select pg_sleep(30)")
    assert await connection.runQuery("select 1") == [(1,)]


@pytest.mark.parametrize("how", ["terminate", "kill"])
@pytest.mark.parametrize("busy", [False, True])
async def test_the_loss_is_reported_once_and_without_a_traceback(
    how: str, busy: bool, connection: SafeConnection, postgres: PostgresServer, reports: Reports
) -> None:
    asking = connection.runQuery("select pg_sleep(30)") if busy else None
    if how == "kill":
        await deferToThread(postgres.kill)
    else:
        ended = "select pg_terminate_backend(%s)"
        await deferToThread(postgres.execute, "postgres", ended, [connection.get_backend_pid()])
    while not reports.lost:
        await task.deferLater(reactor, 0.01)
    if asking is not None:
        with pytest.raises(psycopg2.OperationalError):
            await asking
    connection.close()
    assert len(reports.lost) == 1
    assert connection.closed


async def test_notifications_that_arrive_together_are_passed_on_together(
    connection: SafeConnection, postgres: PostgresServer, database_name: str, reports: Reports
) -> None:
    await connection.runOperation("listen a")
    many = "select pg_notify('a', n::text) from generate_series(1, 1000) n"
    await deferToThread(postgres.execute, database_name, many)
    while sum(map(len, reports.notified)) < 1000:
        await task.deferLater(reactor, 0.01)
    assert [payload for payloads in reports.notified for payload in payloads] == [str(n) for n in range(1, 1001)]
    assert len(reports.notified) < 500


async def test_a_failed_connect_leaves_no_descriptor(parameters: dict[str, Any]) -> None:
    closed = free_port()  # whose reservation has a descriptor
    before = descriptors()
    failed = []
    for wrong in ({"password": "no"}, {"dbname": "no"}, {"port": closed}, {"sslmode": "require"}):
        connection = SafeConnection(reactor)
        failed.append(connection)  # nor while it is still referenced
        with pytest.raises(psycopg2.OperationalError):
            await connection.connect(5.0, **{**parameters, **wrong})
        assert connection.closed
    assert descriptors() == before


async def test_connecting_to_a_frozen_server_ends_at_the_time_out(
    parameters: dict[str, Any], postgres: PostgresServer
) -> None:
    postgres.freeze()
    before = descriptors()
    connection = SafeConnection(reactor)
    with pytest.raises(defer.TimeoutError):
        await connection.connect(0.1, **parameters)
    cancelled = SafeConnection(reactor).connect(5.0, **parameters)
    cancelled.cancel()
    with pytest.raises(defer.CancelledError):
        await cancelled
    assert descriptors() == before


async def test_closing_before_connecting_does_nothing() -> None:
    connection = SafeConnection(reactor)
    connection.close()
    assert connection.closed


async def test_a_cancelled_result_that_is_already_on_its_way_is_not_delivered_twice(
    connection: SafeConnection,
) -> None:
    asking = connection.runQuery("select 1")
    cursor = next(iter(connection._cursors))
    while cursor._pollingD is not None:  # until the answer is there and its delivery scheduled
        cursor.doRead()
    asking.cancel()
    with pytest.raises(defer.CancelledError):
        await asking
    await task.deferLater(reactor, 0)  # a second delivery would be logged as AlreadyCalledError
    assert connection.closed


# sessions


async def test_the_second_address_of_a_name_is_tried_when_the_first_refuses(
    postgres: PostgresServer, database_name: str, resolver: SlowResolver
) -> None:
    lookup = Resolver(reactor, reactor)
    opening = defer.ensureDeferred(
        Session.open(target(postgres, database_name, "db.example"), reactor, lookup, TIMEOUTS)
    )
    resolver.answer("127.0.0.2", "127.0.0.1")  # the server listens on 127.0.0.1 only
    session = await opening
    assert (await session.run("select host(inet_server_addr())")).rows == [(b"127.0.0.1",)]
    session.close("done")


async def test_libpq_itself_may_go_on_to_its_next_address(parameters: dict[str, Any]) -> None:
    connection = SafeConnection(reactor)
    await connection.connect(5.0, **{**parameters, "hostaddr": "127.0.0.2,127.0.0.1"})
    assert await connection.runQuery("select 1") == [(1,)]
    connection.close()


async def test_a_name_server_that_does_not_answer(
    postgres: PostgresServer, database_name: str, resolver: SlowResolver
) -> None:
    lookup = Resolver(reactor, reactor)
    with pytest.raises(SourceUnavailable, match=r"no answer from the name server within 0\.05 s"):
        await Session.open(target(postgres, database_name, "db.example"), reactor, lookup, Timeouts(lookup=0.05))


async def test_the_settings_of_a_session_at_the_server(postgres: PostgresServer, database_name: str) -> None:
    lookup = Resolver(reactor, reactor)
    session = await Session.open(target(postgres, database_name, "127.0.0.1"), reactor, lookup, Timeouts())
    settings = "application_name", "statement_timeout", "lock_timeout", "tcp_keepalives_idle"
    shown = [(await session.run(f"show {name}")).rows[0][0] for name in settings]
    assert shown == [b"audiosocket", b"4s", b"3s", b"10"]
    assert session.identity is not None
    assert session.identity[0] == (await session.run("select pg_backend_pid()")).rows[0][0]
    session.close("done")
    with pytest.raises(SourceUnavailable, match="done"):
        await session.run("select 1")


async def test_errors_of_a_statement_keep_their_cause(postgres: PostgresServer, database_name: str) -> None:
    lookup = Resolver(reactor, reactor)
    session = await Session.open(target(postgres, database_name, "127.0.0.1"), reactor, lookup, Timeouts())
    with pytest.raises(SourceUnavailable) as caught:
        await session.run("select 1/0")
    assert str(caught.value) == "division by zero"
    assert isinstance(caught.value.__cause__, pg.DivisionByZero)
    assert session.lost == ""
    session.close("done")


# texts


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (
            psycopg2.OperationalError(
                'connection to server at "db.example" (192.0.2.1), port 5432 failed: Connection refused\n'
                "\tIs the server running on that host and accepting TCP/IP connections?\n"
            ),
            "Connection refused",
        ),
        (
            psycopg2.OperationalError(
                'connection to server on socket "/run/x/.s.PGSQL.5432" failed: FATAL:  role "a" does not exist'
            ),
            'role "a" does not exist',
        ),
        (
            psycopg2.ProgrammingError('relation "t" does not exist\nLINE 1: select\n'),
            'relation "t" does not exist',
        ),
        (psycopg2.Error("bell\a\x1b[31m" + "x" * 500), "bell??[31m" + "x" * 190),
        (psycopg2.InterfaceError(), "InterfaceError"),
        (error.ConnectionDone(), "the connection was lost"),
        (defer.TimeoutError(5, "Deferred"), "no answer in time"),
    ],
)
def test_one_line(problem: BaseException, line: str) -> None:
    assert one_line(problem) == line
