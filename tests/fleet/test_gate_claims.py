"""Which node opens a gate: one only, what the others are told, and the local rule while PostgreSQL is away."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg2.extensions
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from audiosocket.fleet.gate_claims import CLAIM_SECONDS, GateClaims
from tests.support.fleet_table import TableSession, connected, run
from tests.support.logged_events import LoggedEvents
from tests.support.postgres import PostgresServer

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
VISIT = "visit-1"


@pytest.fixture
def table(postgres: PostgresServer, database_name: str) -> Iterator[psycopg2.extensions.connection]:
    yield from connected(postgres, database_name)


class Node:
    """The claims of one node; ``began_here`` is what its calls say while the table cannot be asked."""

    def __init__(self, table: psycopg2.extensions.connection, name: str, *, began_here: bool = False) -> None:
        self.clock = Clock()
        self.session = TableSession(table, self.clock)
        self.asked_alone: list[UUID] = []

        def may_open_alone(call_id: UUID) -> bool:
            self.asked_alone.append(call_id)
            return began_here

        self.claims = GateClaims(self.session, name, may_open_alone)

    def claim(self) -> Deferred[tuple[bool, str] | None]:
        return Deferred.fromCoroutine(self.claims.claim(CALL, VISIT))


def outcome(claim: Deferred[tuple[bool, str] | None]) -> tuple[bool, str] | None:
    assert claim.called
    results: list[tuple[bool, str] | None] = []
    claim.addCallback(results.append)
    return results[0]


def owned_by(table: psycopg2.extensions.connection, node: str) -> None:
    run(
        table,
        "insert into audiosocket_calls (call_id, owner, epoch, extension_id, port, record) "
        "values (%s, %s, 1, 1, 1, '{}')",
        [str(CALL), node],
    )


def test_the_first_node_opens_and_is_not_refused_by_its_own_row(table: psycopg2.extensions.connection) -> None:
    one = Node(table, "n1")
    assert outcome(one.claim()) is None
    assert outcome(one.claim()) is None  # as after a kill between the claim and its line in the journal
    assert one.asked_alone == []


def test_a_second_node_is_told_what_the_first_was_answered(table: psycopg2.extensions.connection) -> None:
    one, two = Node(table, "n1"), Node(table, "n2", began_here=True)
    assert outcome(one.claim()) is None
    begun = outcome(two.claim())
    assert begun == (False, "node n1 has begun to open it, and has not said whether it did")
    one.claims.answered(CALL, VISIT, opened=True, detail="webhook: 200")
    assert outcome(two.claim()) == (True, "node n1: webhook: 200")
    one.claims.answered(CALL, VISIT, opened=False, detail="webhook: 500")
    assert outcome(two.claim()) == (False, "node n1: webhook: 500")


def test_only_the_node_that_claimed_may_say_what_was_answered(table: psycopg2.extensions.connection) -> None:
    one, two = Node(table, "n1"), Node(table, "n2")
    assert outcome(one.claim()) is None
    two.claims.answered(CALL, VISIT, opened=True, detail="x")
    assert run(table, "select opened, answer from audiosocket_gate") == [(None, "")]


def test_a_call_of_another_node_opens_nothing_and_leaves_no_row(table: psycopg2.extensions.connection) -> None:
    owned_by(table, "n2")
    assert outcome(Node(table, "n1", began_here=True).claim()) == (False, "another node has the call")
    assert run(table, "select count(*) from audiosocket_gate") == [(0,)]
    assert outcome(Node(table, "n2").claim()) is None


@pytest.mark.parametrize("began_here", [True, False])
def test_without_a_session_a_call_opens_only_where_it_began(
    table: psycopg2.extensions.connection, *, began_here: bool
) -> None:
    one = Node(table, "n1", began_here=began_here)
    one.session.is_up = False
    with LoggedEvents() as events:
        claim = outcome(one.claim())
    assert one.asked_alone == [CALL]
    if began_here:
        assert claim is None
        assert "the gate opens without the table of the fleet: not connected" in events.text
    else:
        assert claim is not None
        assert claim[0] is False
        assert "the table of the fleet cannot be asked: not connected" in claim[1]
        assert events.text == ""


def test_a_frozen_table_is_waited_for_one_second(table: psycopg2.extensions.connection) -> None:
    one = Node(table, "n1")
    one.session.freeze()
    claim = one.claim()
    one.clock.advance(CLAIM_SECONDS - 0.01)
    assert not claim.called
    one.clock.advance(0.02)
    refused = outcome(claim)
    assert refused is not None
    assert refused[0] is False
    # A statement that was sent is run in the end, and another node finds its row then.
    one.session.thaw()
    assert outcome(Node(table, "n2").claim()) == (
        False,
        "node n1 has begun to open it, and has not said whether it did",
    )


def test_an_answer_that_cannot_be_written_is_logged_and_raises_nothing(
    table: psycopg2.extensions.connection,
) -> None:
    one = Node(table, "n1")
    one.session.is_up = False
    with LoggedEvents() as events:
        one.claims.answered(CALL, VISIT, opened=True, detail="x")
    assert [event["log_level"].name for event in events] == ["warn"]
