"""Nodes in this process and a real PostgreSQL: what the others see of a node, and the deletion of what is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import psycopg2.extensions
import pytest
import pytest_twisted
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred

from audiosocket import schema
from audiosocket.extensions.model import DEFAULT_EXTENSION
from audiosocket.fleet.node_service import FleetNode
from audiosocket.fleet.node_table import CLEAN
from audiosocket.fleet.this_node import ThisNode
from audiosocket.settings import Settings
from tests.support.admin_client import FakeControl
from tests.support.loopback_server import until
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.reactor import reactor

pytestmark = pytest.mark.usefixtures("no_traceback")

Start = Callable[[str], tuple[MultiService, FleetNode]]


@pytest.fixture
def tables(postgres: PostgresServer, database_name: str) -> Iterator[psycopg2.extensions.connection]:
    """A connection to a database with the tables of a fleet."""
    connection = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(schema.sql(fleet=True))
    yield connection
    connection.close()


@pytest.fixture
def start(tables: psycopg2.extensions.connection, database_settings: Mapping[str, str]) -> Iterator[Start]:
    """Start a node as the server does, by name; each start is another life, each node another machine."""
    servers: list[MultiService] = []
    lives = count()

    def starting(name: str) -> tuple[MultiService, FleetNode]:
        settings = Settings.parse({**database_settings, "NODE_NAME": name, "API_TOKEN": "x" * 40})
        life = next(lives)
        node = ThisNode(settings, settings.db_password, reactor, host=f"machine{life}", life=str(life))
        servers.append(MultiService())
        shown = node.join(servers[-1], FakeControl(), lambda: [DEFAULT_EXTENSION], lambda: 7)
        servers[-1].startService()
        return servers[-1], shown

    yield starting
    for server in servers:
        if server.running:
            pytest_twisted.blockon(stopped(server))


def stopped(server: MultiService) -> Deferred[object]:
    return maybeDeferred(server.stopService)


def run(connection: psycopg2.extensions.connection, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


def waiting(node: FleetNode) -> int:
    database = node.to_json()["database"]
    assert database is not None
    return database["waiting"]


async def test_a_node_that_stops_says_that_it_is_gone_before_its_session_ends(
    start: Start, tables: psycopg2.extensions.connection
) -> None:
    server, node = start("n1")
    states = "select name, state, calls from audiosocket_nodes"
    await until(lambda: run(tables, states) == [("n1", "ready", 7)])
    # No heartbeat is being written, which would take along what is added.
    await until(lambda: not waiting(node))
    await stopped(server)
    assert run(tables, states) == [("n1", "gone", 7)]


async def test_two_nodes_with_one_name_are_noticed_by_the_one_that_is_refused(
    start: Start, tables: psycopg2.extensions.connection
) -> None:
    start("n1")
    await until(lambda: bool(run(tables, "select 1 from audiosocket_nodes")))
    _, second = start("n1")
    assert not second.to_json()["name_shared"]
    await until(lambda: second.to_json()["name_shared"])


async def test_what_is_over_is_deleted_by_the_node_that_has_the_lock(
    tables: psycopg2.extensions.connection,
) -> None:
    run(
        tables,
        "insert into audiosocket_nodes (name, life, place, url, version, generation, calls, state, seen_at) "
        "select 'n' || days, '', '', '', '', '', 0, 'ready', now() - days * interval '1 day' "
        "from unnest('{6, 8}'::integer[]) days",
    )
    run(
        tables,
        "insert into audiosocket_commands (node, action, argument, asked_by, asked_at) "
        "select 'n6', 'drain', hours::text, '', now() - hours * interval '1 hour' "
        "from unnest('{23, 25}'::integer[]) hours",
    )
    run(
        tables,
        "insert into audiosocket_command_results (command_id, node, done, message) "
        "select id, 'n6', true, argument from audiosocket_commands",
    )

    def left() -> list[list[tuple[Any, ...]]]:
        return [
            run(tables, "select name from audiosocket_nodes order by 1"),
            run(tables, "select argument from audiosocket_commands order by 1"),
            run(tables, "select message from audiosocket_command_results order by 1"),
        ]

    other = psycopg2.connect(tables.dsn, password=ROLE_PASSWORD)
    try:
        with other.cursor() as cursor:  # the transaction of another node that deletes at this time
            cursor.execute(CLEAN.partition("nodes as (")[0].rstrip(",\n ") + " select held from lead")
            assert cursor.fetchall() == [(True,)]
            run(tables, CLEAN)
            assert left() == [[("n6",), ("n8",)], [("23",), ("25",)], [("23",), ("25",)]]
        other.rollback()
    finally:
        other.close()
    run(tables, CLEAN)
    assert left() == [[("n6",)], [("23",)], [("23",)]]
