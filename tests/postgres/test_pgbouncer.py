"""The table through a real pgbouncer: no start-up options, no limits left behind, no notifications promised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from twisted.internet.threads import deferToThread

from audiosocket import schema
from audiosocket.outbound.resolver import Resolver
from audiosocket.postgres.database import Database, DatabaseState, Row, Timeouts
from audiosocket.postgres.session import ConnectionParameters, Session
from audiosocket.settings import Settings
from tests.support.loopback_server import until
from tests.support.pgbouncer import PgBouncer, needs_pgbouncer
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.reactor import reactor

pytestmark = [needs_pgbouncer, pytest.mark.usefixtures("no_traceback"), pytest.mark.deadline(60)]

TIMEOUTS = Timeouts(heartbeat=0.3, first_pause=0.05, longest_pause=0.2, steady=0.2, notification=0.5)


@pytest.fixture(params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bouncer(postgres: PostgresServer, database_with_table: str, mode: str) -> Iterator[PgBouncer]:
    with PgBouncer(postgres, mode) as running:
        yield running


def target(bouncer: PgBouncer, database: str) -> ConnectionParameters:
    return ConnectionParameters("127.0.0.1", bouncer.port, database, ROLE, ROLE_PASSWORD, "prefer")


async def test_the_limits_hold_in_each_transaction_and_for_nobody_else(
    bouncer: PgBouncer, database_with_table: str
) -> None:
    lookup = Resolver(reactor, reactor)
    session = await Session.open(target(bouncer, database_with_table), reactor, lookup, TIMEOUTS)
    assert session.pooled
    for _ in range(2):
        await session.begin("read only")
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        shown = [(await session.run(f"show {name}")).rows[0][0] for name in names]
        assert shown == [b"4s", b"3s", b"10s"]
        await session.run("commit")
        assert (await session.run("show statement_timeout")).rows[0][0] == b"0"
    session.close("done")


async def test_rows_are_read_and_written_and_changes_noticed(
    bouncer: PgBouncer, postgres: PostgresServer, database_with_table: str, mode: str
) -> None:
    changes: list[None] = []
    states: list[DatabaseState] = []
    settings = Settings.parse(
        {
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(bouncer.port),
            "DB_NAME": database_with_table,
            "DB_USER": ROLE,
            "DB_PASSWORD": ROLE_PASSWORD,
        }
    )
    database = Database(
        settings,
        ROLE_PASSWORD,
        reactor,
        listen=True,
        changed=lambda: changes.append(None),
        state_changed=states.append,
        timeouts=TIMEOUTS,
    )
    database.startService()
    try:
        new = {
            "extension_ia_number": "1000",
            "extension_ia_return": "",
            "extension_ia_ip": "",
            "condominium_id": 0,
        }
        new_id = await database.insert({**new, "extension_ia_number_port": "8080"}, lambda rows: None)
        rows: list[Row] = []
        assert await database.read(rows.extend) == 1
        assert rows[0]["extension_ia_id"] == new_id
        if mode == "session":
            await until(lambda: database.state.listening)
            before = len(changes)
            await deferToThread(postgres.execute, database_with_table, "notify change_record_extension_ia, 'x'")
            await until(lambda: len(changes) > before)
            assert database.state.reason == ""
        else:
            await until(lambda: "pool_mode=transaction" in database.state.reason)
            assert database.state.state == "up"
            assert not database.state.listening
            assert database.state.backends == 1
            assert await database.read(lambda rows: None) == 1
    finally:
        await database.stopService()


async def test_the_table_is_created_through_it(bouncer: PgBouncer, database_with_table: str) -> None:
    settings = schema.load_settings(
        Path("/none"),
        {
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(bouncer.port),
            "DB_NAME": database_with_table,
            "DB_USER": ROLE,
            "DB_PASSWORD": ROLE_PASSWORD,
        },
    )
    assert "are in place" in await deferToThread(schema.apply, settings)


async def test_no_session_of_another_client_is_ended(
    bouncer: PgBouncer, postgres: PostgresServer, database_with_table: str
) -> None:
    """What was our backend may be that of another program by the time that we connect again."""
    settings = Settings.parse(
        {"DB_HOST": "127.0.0.1", "DB_PORT": str(bouncer.port), "DB_NAME": database_with_table, "DB_USER": ROLE}
    )
    database = Database(
        settings,
        ROLE_PASSWORD,
        reactor,
        listen=False,
        changed=lambda: None,
        state_changed=lambda _: None,
        timeouts=TIMEOUTS,
    )
    database.startService()
    try:
        await database.read(lambda rows: None)
        session = database._query.connection
        assert session is not None
        others: list[psycopg2.extensions.connection] = [
            await deferToThread(
                psycopg2.connect,
                host="127.0.0.1",
                port=bouncer.port,
                dbname=database_with_table,
                user=ROLE,
                password=ROLE_PASSWORD,
            )
            for _ in range(3)
        ]
        for other in others:
            await deferToThread(_ask, other)  # holds a backend in either mode
        session.close("lost")
        await until(lambda: database.state.state == "up" and database._query.connection is not session)
        await database.read(lambda rows: None)
        for other in others:
            await deferToThread(_ask, other)
            other.close()
    finally:
        await database.stopService()


def _ask(connection: psycopg2.extensions.connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1")
