"""Who has a call, with the real statements: two nodes, PostgreSQL, and messages that are late or lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any
from uuid import UUID, uuid4

import psycopg2.extensions
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiosocket.calls.journal_records import EndedRecord, EventRecord, JournalRecord, OpenedRecord, OutcomeRecord
from audiosocket.calls.journal_replay import call_from
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension
from audiosocket.fleet import call_statements as sql
from audiosocket.fleet.call_statements import Answer, Question
from audiosocket.fleet.own_calls import NOT_ASKED, OwnCalls
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

WALL = 1_769_854_523.0
VISIT = "visit-1"
CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")


@pytest.fixture
def table(postgres: PostgresServer, database_name: str) -> Iterator[psycopg2.extensions.connection]:
    connection = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(resources.files("audiosocket").joinpath("fleet/calls.sql").read_text("utf-8"))
    yield connection
    connection.close()


def run(table: psycopg2.extensions.connection, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with table.cursor() as cursor:
        cursor.execute(statement, list(values))
        return cursor.fetchall() if cursor.description else []


class Node:
    """One node as far as ownership goes: what it believes to have, and what it opens."""

    def __init__(self, table: psycopg2.extensions.connection, name: str, call_id: UUID = CALL) -> None:
        self.table = table
        self.name = name
        self.call_id = call_id
        self.own = OwnCalls()

    @property
    def has(self) -> bool:
        return self.call_id in self.own

    def change(self, record: JournalRecord) -> None:
        self.own.change(WALL, record)

    def begin(self, epoch: int = NOT_ASKED) -> None:
        self.own.expect(self.call_id, epoch)
        self.change(OpenedRecord(str(self.call_id), DEFAULT_EXTENSION, ""))
        joined = {"at_seconds": 0.0, "event": "leg.joined", "role": "visitor", "peer": "127.0.0.1:1", "port": 8080}
        self.change(EventRecord(str(self.call_id), joined))

    def look_up(self, extension: Extension = DEFAULT_EXTENSION, *, port: int = -1) -> Answer:
        questions = [Question(self.call_id, extension.id, port)]
        rows = run(self.table, sql.LOOK_UP, sql.asked_values(questions, self.name))
        return sql.answers(questions, rows)[self.call_id]

    def arrive(self) -> None:
        """The caller's connection comes here; nothing is asked if the node has the call."""
        if self.has:
            return
        answer = self.look_up()
        if answer.record:
            self.own.adopt(call_from(answer.record, WALL), answer.epoch)
        elif answer.ended is None:
            self.begin(answer.epoch)

    def flush(self, *, response: bool = True) -> None:
        rows = self.own.take(10)
        if not rows:
            return
        written = run(self.table, sql.WRITE, sql.written_values(rows, WALL, self.name))
        if response:
            self.own.written(rows, {UUID(row[0]): int(row[1]) for row in written})
        else:
            self.own.failed(rows)

    def restart(self, *, reachable: bool) -> None:
        """``kill -9``, and back with what the journal has."""
        self.own.rewrite()
        kept = [call_from(row.record, WALL) for row in self.own.take(1) if row.record]
        self.own = OwnCalls()
        self.own.restore(kept)
        if reachable:
            self.claim()

    def claim(self) -> None:
        asked = self.own.unclaimed
        rows = run(self.table, sql.CLAIM, [[str(one) for one in asked], self.name])
        epochs = {UUID(row[0]): int(row[1]) for row in rows if row[1] is not None}
        self.own.claimed(asked, epochs, [UUID(row[0]) for row in rows if row[1] is None])

    def hear(self, other: Node) -> None:
        """Hear that the other node has the call, if it does."""
        rows = run(
            self.table, "select epoch, owner from audiosocket_calls where call_id = %s", [str(self.call_id)]
        )
        if rows and rows[0][1] == other.name:
            self.own.taken_over(self.call_id, rows[0][0])

    def authorise(self) -> bool:
        """Key 1 of a resident, with the table: return whether the gate is to be asked."""
        call = str(self.call_id)
        values = [call, self.name, call, VISIT, self.name, call, VISIT]
        ((claimed, *_),) = run(self.table, sql.AUTHORISE, values)
        return bool(claimed)


def test_a_call_of_another_node_is_taken_over_once_and_its_owner_is_refused(
    table: psycopg2.extensions.connection,
) -> None:
    one, two = Node(table, "n1"), Node(table, "n2")
    one.arrive()
    one.change(OutcomeRecord(str(one.call_id), "served"))
    one.flush()
    answer = two.look_up()
    assert (answer.epoch, answer.owner, answer.ended, answer.foreign) == (2, "n1", None, False)
    assert call_from(answer.record, WALL).outcome == "served"
    assert 0 <= answer.age < 60
    two.own.adopt(call_from(answer.record, WALL), answer.epoch)
    one.change(OutcomeRecord(str(one.call_id), "again"))
    one.flush()
    assert not one.has
    two.change(OutcomeRecord(str(one.call_id), "elsewhere"))
    two.flush()
    assert two.has


def test_all_nodes_are_notified_of_a_call_that_was_taken_over(table: psycopg2.extensions.connection) -> None:
    one, two = Node(table, "n1"), Node(table, "n2")
    one.arrive()
    one.flush()
    run(table, "listen audiosocket_fleet", [])
    two.look_up()
    table.poll()
    assert [notify.payload for notify in table.notifies] == [f"call {one.call_id} 2 n2"]


def test_a_call_that_has_ended_is_told_so_and_its_uuid_may_begin_anew_later(
    table: psycopg2.extensions.connection,
) -> None:
    one, two = Node(table, "n1"), Node(table, "n2")
    one.arrive()
    one.flush()
    one.change(EndedRecord(str(one.call_id)))
    one.flush()
    answer = two.look_up()
    assert answer.ended is not None
    assert (answer.epoch, answer.record) == (2, "")
    two.begin(answer.epoch)
    two.flush()
    assert two.has
    assert two.look_up().epoch == 3


def test_a_call_of_another_extension_stays_where_it_is(table: psycopg2.extensions.connection) -> None:
    one, two = Node(table, "n1"), Node(table, "n2")
    one.arrive()
    one.flush()
    foreign = Extension(7, "7000", "7001", "0.0.0.0", 9070, 9071, 3)
    answer = two.look_up(foreign, port=foreign.port)
    assert (answer.foreign, answer.record) == (True, "")
    assert two.look_up(foreign, port=DEFAULT_EXTENSION.port).record  # the row was written anew with another id


def test_a_call_that_began_unasked_replaces_an_older_one_and_no_newer_one(
    table: psycopg2.extensions.connection,
) -> None:
    one, two, three = Node(table, "n1"), Node(table, "n2"), Node(table, "n3")
    one.arrive()
    one.flush()
    two.begin()
    run(table, "update audiosocket_calls set owned_at = owned_at - interval '1 hour'", [])
    two.flush()
    assert two.has
    one.change(OutcomeRecord(str(one.call_id), "late"))
    one.flush()
    assert not one.has
    three.begin()
    run(table, "update audiosocket_calls set owned_at = clock_timestamp() + interval '1 hour'", [])
    three.flush()
    assert not three.has


def test_after_a_restart_the_calls_that_others_have_by_now_are_lost(table: psycopg2.extensions.connection) -> None:
    one, two = Node(table, "n1"), Node(table, "n2")
    one.arrive()
    one.flush()
    two.arrive()
    one.restart(reachable=True)
    assert (one.has, two.has) == (False, True)
    two.restart(reachable=True)
    two.change(OutcomeRecord(str(two.call_id), "served"))
    two.flush()
    assert two.has


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["arrive", "arrive alone", "flush", "no answer", "restart", "claim", "notify", "press", "end"]
        ),
        st.integers(0, 1),
    ),
    max_size=25,
)


def taken(step: str, node: Node, other: Node) -> bool:
    """Take one step; return whether the gate was asked to open."""
    if step == "arrive":
        node.arrive()
    elif step == "arrive alone" and not node.has:
        node.begin()
    elif step in {"flush", "no answer"}:
        node.flush(response=step == "flush")
    elif step == "restart":
        node.restart(reachable=False)
    elif step == "claim":
        node.claim()
    elif step == "notify":
        node.hear(other)
    elif step == "end" and node.has:
        node.change(EndedRecord(str(node.call_id)))
    return step == "press" and node.has and node.authorise()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_two_nodes_never_both_open(table: psycopg2.extensions.connection, steps: list[tuple[str, int]]) -> None:
    call_id = uuid4()
    nodes = [Node(table, "n1", call_id), Node(table, "n2", call_id)]
    opened = sum(taken(step, nodes[index], nodes[1 - index]) for step, index in steps)
    assert opened <= 1
    # Once all has been heard of, one node at most has the call.
    for node in nodes:
        node.claim()
        for _ in range(3):
            node.own.rewrite()
            node.flush()
    for node in nodes:
        node.own.rewrite()
        node.flush()
    assert sum(node.has for node in nodes) <= 1
