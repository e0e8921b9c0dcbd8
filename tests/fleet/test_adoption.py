"""Two nodes in memory and a real table: whose call it is, what is kept, what is announced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2.extensions
import pytest

from audiosocket.calls.journal import CallJournal
from audiosocket.extensions.model import Role
from audiosocket.fleet.adoption import Adoption, BothJournals
from audiosocket.fleet.call_lookups import CallLookups
from audiosocket.fleet.call_table import CallTable
from audiosocket.interfaces import App, Leg
from audiosocket.testing.leg_double import ManualThread
from audiosocket.wire import HANGUP_FRAME, digit_frame, uuid_frame
from tests.support.fleet_table import TableSession, connected, run
from tests.support.in_memory import (
    CALL,
    FRAME,
    OTHER_CALL,
    OTHER_EXTENSION,
    Echo,
    InMemoryServer,
    RememberingApp,
    refused,
)
from tests.support.postgres import PostgresServer

RESUME_SECONDS = 60.0


@pytest.fixture
def table(postgres: PostgresServer, database_name: str) -> Iterator[psycopg2.extensions.connection]:
    yield from connected(postgres, database_name)


class Node:
    """A server in memory with its journal, its session and its part of the table."""

    def __init__(self, directory: Path, connection: psycopg2.extensions.connection, name: str, *apps: App) -> None:
        self.name = name
        self.connection = connection
        path = directory / name / "calls.journal"
        path.parent.mkdir(exist_ok=True)
        self.file = CallJournal(path, ManualThread())
        self.app = RememberingApp()
        self._start(*apps)

    def _start(self, *apps: App) -> None:
        self.server = InMemoryServer(*(apps or (self.app,)))
        self.session = TableSession(self.connection, self.server.time)
        wall = self.server.time.seconds
        self.table = CallTable(self.session, self.server.time, self.name, wall)
        self.table.startService()
        journal = BothJournals(self.file, self.table)
        self.server.registry._journal = journal
        lookups = CallLookups(self.session, self.server.time, self.name)
        self.adoption = Adoption(
            self.server.registry,
            self.table,
            lookups,
            self.file,
            self.server.time,
            wall,
            RESUME_SECONDS,
        )
        self.adoption.calls = self.server.switchboard
        kept = self.file.open()
        self.server.switchboard.restore(kept)
        self.table.restore(kept.calls)
        for role in Role:
            self.server.factory(role).locate = self.adoption.locate
            self.server.factory(role, OTHER_EXTENSION).locate = self.adoption.locate

    def restart(self) -> None:
        """``kill -9``, and the next process."""
        self.file.close()
        self.app = RememberingApp()
        self._start()

    def hear(self) -> None:
        """Hear that other nodes have taken over what they have."""
        for call_id, epoch, owner in run(self.connection, "select call_id, epoch, owner from audiosocket_calls"):
            self.table.heard(f"{call_id} {epoch} {owner}")

    @property
    def timeline(self) -> list[str]:
        call = self.server.registry.get(CALL)
        assert call is not None
        return [str(entry["event"]) for entry in call.timeline]


@pytest.fixture
def nodes(tmp_path: Path, table: psycopg2.extensions.connection) -> tuple[Node, Node]:
    return Node(tmp_path, table, "n1"), Node(tmp_path, table, "n2")


def test_a_call_goes_on_at_the_node_that_its_uuid_comes_to(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    line = one.server.join()
    line.send(digit_frame("5"))
    one.server.run(1_000, line)
    began = one.timeline
    two.server.run(5_000)
    again = two.server.join()
    assert again.audio()
    assert two.timeline == [*began, "call.adopted", "call.resumed", "leg.resumed"]
    assert two.app.values("restored") == [{"digit": "5"}]
    call = two.server.registry.get(CALL)
    assert call is not None
    assert call.timeline[-3]["node"] == "n1"
    assert call.name in two.file._path.read_text()


def test_the_node_that_had_the_call_closes_without_a_goodbye_and_announces_nothing(
    nodes: tuple[Node, Node],
) -> None:
    one, two = nodes
    line = one.server.join()
    one.server.run(1_000, line)
    events = one.server.event_names()
    two.server.join()
    one.hear()
    assert line.half_closed
    assert HANGUP_FRAME not in [data for _, data in line.writes]
    assert one.server.event_names() == events
    assert one.server.registry.get(CALL) is None
    assert len(one.server.registry) == 0
    assert one.app.values("left") == ["shutdown"]
    assert one.table.lost_total == 1
    one.file.close()
    assert one.file.open().calls == ()
    one.hear()
    one.server.run(200)
    assert run(one.connection, "select owner from audiosocket_calls") == [("n2",)]


def test_a_call_that_comes_back_to_its_first_node_goes_on_there(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.server.run(500, one.server.join())
    two.server.run(500, two.server.join())
    one.hear()
    one.server.join()
    assert one.timeline.count("call.adopted") == 2
    assert len(one.server.registry) == 1


def test_a_resident_who_comes_first_finds_the_call(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    visitor, resident = one.server.join(), one.server.join(role=Role.RESIDENT)
    one.server.run(500, visitor, resident)
    assert two.server.join(role=Role.RESIDENT).audio()
    assert two.server.join().audio()
    assert two.timeline[-2:] == ["leg.resumed", "leg.resumed"]


def test_a_uuid_that_nobody_knows_begins_a_call_and_a_resident_is_refused(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    assert refused(one.server.join(OTHER_CALL, Role.RESIDENT))
    one.server.join()
    assert one.timeline == ["call.started", "leg.joined"]
    one.server.run(200)
    assert run(one.connection, "select owner, epoch from audiosocket_calls") == [("n1", 1)]


def test_the_uuid_of_a_call_that_has_ended_elsewhere_is_told_goodbye(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.server.join().hang_up()
    one.server.run(200)
    assert refused(two.server.join())
    run(one.connection, "update audiosocket_calls set ended_at = ended_at - interval '61 seconds'")
    two.server.run(61_000, step=1_000)
    assert two.server.join().audio()


def test_a_call_of_another_extension_is_left_where_it_is(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.server.run(200, one.server.join())
    assert refused(two.server.join(extension=OTHER_EXTENSION))
    assert run(one.connection, "select owner from audiosocket_calls") == [("n1",)]


def test_what_came_behind_the_uuid_is_handled_after_the_answer(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    one.session.freeze()
    line = one.server.connect()
    line.send(uuid_frame(CALL) + digit_frame("1") + FRAME)
    line.send(digit_frame("2"))
    assert len(one.server.registry) == 0
    one.session.thaw()
    one.server.run(20)
    assert one.app.values("digit") == ["1", "2"]
    assert len(one.app.values("audio")) == 1


def test_a_slow_table_costs_one_call_a_moment_and_the_next_ones_nothing(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    one.session.freeze()
    line = one.server.join()
    one.server.run(290)
    assert not line.audio()
    one.server.run(20)
    assert line.audio()
    assert one.server.join(OTHER_CALL).audio()
    assert one.adoption.lookups.unanswered_total == 2
    one.session.thaw()
    one.server.run(3_000)
    assert one.timeline[0] == "call.started"
    assert run(one.connection, "select distinct owner from audiosocket_calls") == [("n1",)]
    asked = one.session.asked
    line.hang_up()
    one.server.run(62_000, step=1_000)
    one.server.join()
    assert one.session.asked > asked
    assert one.adoption.lookups.answered_total == 1


def test_without_a_session_nothing_is_waited_for(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.session.is_up = False
    assert one.server.join().audio()
    one.server.run(1_000)
    one.session.is_up = True
    one.table.came_up()
    one.server.run(2_000)
    assert two.server.join().audio()
    assert "call.adopted" in two.timeline


def test_a_caller_who_hangs_up_meanwhile_leaves_a_call_that_waits_for_him(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.server.run(200, one.server.join())
    two.session.freeze()
    line = two.server.join()
    line.hang_up()
    two.session.thaw()
    assert two.server.switchboard.live_legs == 0
    assert len(two.server.registry) == 1
    two.server.run(RESUME_SECONDS * 1_000 + 1_000, step=1_000)
    assert len(two.server.registry) == 0
    assert two.timeline[-1] == "call.ended"


def test_after_a_restart_calls_that_are_elsewhere_by_now_are_dropped_without_a_word(
    nodes: tuple[Node, Node],
) -> None:
    one, two = nodes
    one.server.run(200, one.server.join(), one.server.join(OTHER_CALL))
    two.server.join()
    one.restart()
    assert [call.call_id for call in one.server.registry] == [OTHER_CALL]
    assert one.server.event_names() == []
    assert one.server.join(OTHER_CALL).audio()
    one.restart()
    assert [call.call_id for call in one.server.registry] == [OTHER_CALL]


def test_a_node_that_drains_takes_over_nothing(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.server.run(200, one.server.join())
    two.server.switchboard.refuse_new_calls()
    assert refused(two.server.join())
    assert run(one.connection, "select owner from audiosocket_calls") == [("n1",)]


def test_a_record_that_cannot_be_read_begins_a_new_call(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.server.run(200, one.server.join())
    run(one.connection, "update audiosocket_calls set record = '{}'")
    assert two.server.join().audio()
    assert two.timeline == ["call.started", "leg.joined"]
    two.server.run(200)
    assert run(one.connection, "select owner from audiosocket_calls") == [("n2",)]


def test_a_call_authorises_without_the_table_only_where_it_began(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    line = one.server.join()
    one.server.run(200, line)
    assert one.adoption.may_authorise_alone(CALL)
    assert not one.adoption.may_authorise_alone(OTHER_CALL)
    two.server.join()
    assert not two.adoption.may_authorise_alone(CALL)
    one.hear()
    assert not one.adoption.may_authorise_alone(CALL)


def test_a_notification_that_cannot_be_read_is_logged(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    one.server.join()
    for text in ("", "x y z", f"{CALL} two n2"):
        one.table.heard(text)
    assert len(one.server.registry) == 1


def test_an_app_of_a_lost_call_passes_nothing_on(tmp_path: Path, table: psycopg2.extensions.connection) -> None:
    class Talker(Echo):
        def left(self, leg: Leg, outcome: str) -> None:
            leg.decide("late")
            leg.remember(self, {"too": "late"})
            leg.note("app.note", what="late")

    one = Node(tmp_path, table, "n1", Talker())
    two = Node(tmp_path, table, "n2", Talker())
    one.server.run(200, one.server.join())
    two.server.join()
    one.hear()
    assert "app.note" not in one.server.event_names()
