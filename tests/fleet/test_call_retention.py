"""Rows of calls and authorisations that are of no use any more, in a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2.extensions
import pytest

from audiosocket import schema
from audiosocket.fleet.call_statements import CLEAN_CALLS, CLEAN_GATE
from audiosocket.fleet.node_service import CLEAN
from audiosocket.fleet.node_table import LEAD
from tests.support.fleet_table import run
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

#: Number of the call, minutes since its last change, minutes since its end.
CALLS = [
    (1, 0, None),
    (2, 60 * 23, None),
    (3, 60 * 25, None),
    (4, 9, 9),
    (5, 11, 11),
    (6, 60 * 25, 60 * 25),
]


@pytest.fixture
def table(postgres: PostgresServer, database_name: str) -> Iterator[psycopg2.extensions.connection]:
    connection = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    run(connection, schema.sql(fleet=True))
    for number, changed, ended in CALLS:
        run(
            connection,
            "insert into audiosocket_calls "
            "(call_id, owner, epoch, extension_id, port, record, changed_at, ended_at) "
            "values (lpad(%s::text, 32, '0')::uuid, 'n1', 1, 1, 1, '', now() - %s * interval '1 minute', "
            "now() - %s * interval '1 minute')",
            [number, changed, ended],
        )
    yield connection
    connection.close()


def kept(table: psycopg2.extensions.connection, name: str) -> list[int]:
    return [int(row[0].replace("-", "")) for row in run(table, f"select call_id::text from {name} order by 1")]


def authorise(table: psycopg2.extensions.connection, number: int, hours: float) -> None:
    run(
        table,
        "insert into audiosocket_gate (call_id, visit, node, at) "
        "values (lpad(%s::text, 32, '0')::uuid, 'v', 'n1', now() - %s * interval '1 hour')",
        [number, hours],
    )


def test_calls_are_kept_while_their_uuid_may_come_back(table: psycopg2.extensions.connection) -> None:
    run(table, CLEAN_CALLS)
    assert kept(table, "audiosocket_calls") == [1, 2, 4]


def test_an_authorisation_is_kept_for_a_day_and_as_long_as_its_call(table: psycopg2.extensions.connection) -> None:
    for number, hours in [(1, 25), (5, 23), (6, 25), (7, 23), (8, 25)]:
        authorise(table, number, hours)
    run(table, CLEAN_GATE)
    assert kept(table, "audiosocket_gate") == [1, 5, 7]


def test_the_nodes_run_all_deletions_and_none_while_another_one_does(
    table: psycopg2.extensions.connection, postgres: PostgresServer, database_name: str
) -> None:
    authorise(table, 8, 25)
    other = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    other.autocommit = False
    assert run(other, f"{LEAD} select held from lead") == [(True,)]
    for statement in CLEAN:
        run(table, statement)
    assert len(kept(table, "audiosocket_calls")) == len(CALLS)
    assert kept(table, "audiosocket_gate") == [8]
    other.rollback()
    other.close()
    for statement in CLEAN:
        run(table, statement)
    assert kept(table, "audiosocket_calls") == [1, 2, 4]
    assert kept(table, "audiosocket_gate") == []
