"""A return call under way when the server dies or stops: who is let in afterwards, and who is rung next."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock as Time

from audiosocket.calls.call import Call
from audiosocket.calls.journal_records import JournalRecord, encode
from audiosocket.calls.journal_replay import replay
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.registry import RECONNECT_SECONDS, REMEMBER_SECONDS
from audiosocket.extensions.model import Role
from audiosocket.returncalls.service import ReturnCalls
from tests.returncalls.test_apps import Concierge
from tests.returncalls.test_service import ANSWERED, BUSY, Telephones, let_in
from tests.support.in_memory import (
    CALL,
    OTHER_CALL,
    OTHER_EXTENSION,
    START,
    AsteriskConnection,
    InMemoryServer,
    ReturnEnded,
)

#: When the first process began, in seconds since the epoch: nowhere near the steady time of any process.
EPOCH = 1_790_000_000.0
RING, WINDOW = 20.0, 10.0


class Journal:
    """Lines in memory; the time of day goes on while no process lives."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.process: Process | None = None
        self.began = EPOCH

    @property
    def wall(self) -> float:
        return self.began + (self.process.exchange.now - START if self.process is not None else 0)

    def __enter__(self) -> object:
        return self

    def __exit__(self, *exception: object) -> None:
        """Every line is kept at once."""

    def write(self, record: JournalRecord) -> None:
        self.lines.append(encode(record, self.wall).rstrip())

    def kinds(self) -> list[str]:
        return [json.loads(line)["kind"] for line in self.lines]

    def process_after(self, seconds: float) -> Process:
        """The process before is gone; so much later there is a new one, which reads this."""
        self.began, self.process = self.wall + seconds, None
        self.process = Process(self)
        return self.process


class Process:
    """A server with return calls that begins with what the journal says."""

    def __init__(self, journal: Journal) -> None:
        self.telephones = Telephones()
        self.app = Concierge("101")

        def make_returns(time: Time, ended: ReturnEnded) -> ReturnCalls:
            return ReturnCalls(
                self.telephones, time, ended=ended, ring_seconds=RING, window_seconds=WINDOW, caller_id="Gate"
            )

        self.exchange = InMemoryServer(self.app, journal=journal, make_returns=make_returns)
        assert self.exchange.switchboard.returns is not None
        self.returns = self.exchange.switchboard.returns
        self.exchange.switchboard.restore(replay(journal.lines, journal.wall))

    def visitor(self) -> AsteriskConnection:
        return self.exchange.join()

    def resident(self) -> AsteriskConnection:
        return self.exchange.join(role=Role.RESIDENT)

    def run(self, seconds: float, *hearing: AsteriskConnection) -> None:
        self.exchange.run(seconds * 1000, *hearing)

    @property
    def call(self) -> Call:
        call = self.exchange.registry.get(CALL)
        assert call is not None
        return call

    @property
    def shown(self) -> Any:
        return self.call.to_json(self.exchange.now)["return"]

    @property
    def tried(self) -> list[tuple[str, str | None]]:
        return [(attempt["number"], attempt["end"]) for attempt in self.shown["attempts"]]


@pytest.fixture
def journal() -> Journal:
    return Journal()


def ringing(journal: Journal, *numbers: str, seconds: float = 4) -> Process:
    """A process that has been ringing the first number for some seconds."""
    before = journal.process_after(0)
    visitor = before.visitor()
    before.returns.place(before.call, numbers)
    before.run(seconds, visitor)
    return before


def test_who_answers_after_the_restart_is_let_in_once(journal: Journal) -> None:
    ringing(journal, "101", "102")
    after = journal.process_after(3)
    visitor = after.visitor()
    assert (after.shown["state"], after.tried) == ("ringing", [("101", None)])
    assert after.shown["attempts"][0]["seconds"] == 7.0
    after.run(5, visitor)
    assert not let_in(after.exchange.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    assert not let_in(after.exchange.join(call_id=OTHER_CALL, role=Role.RESIDENT))
    resident = after.resident()
    assert let_in(resident)
    assert (after.shown["state"], after.tried) == ("connected", [("101", "answered")])
    after.exchange.time.advance(0)
    assert [end.state for end in after.app.ends] == ["connected"]
    resident.hang_up()
    assert not let_in(after.resident())
    after.run(60, visitor)
    assert after.telephones.rung == []
    assert after.telephones.stopped_ids == [], "that would hang the resident up"


def test_a_resident_may_be_back_before_the_visitor(journal: Journal) -> None:
    ringing(journal, "101")
    after = journal.process_after(3)
    assert let_in(after.resident())
    assert not let_in(after.resident())
    after.run(1)
    assert after.app.ends == []
    after.visitor()
    after.exchange.time.advance(0)
    assert [end.state for end in after.app.ends] == ["connected"]
    assert after.app.ends[0].attempts[0].number == "101"
    assert after.exchange.event_names().count("call.resumed") == 1
    assert "call.started" not in after.exchange.event_names()


@pytest.mark.parametrize("away", [0.5, 5.0, 25.0])
def test_what_never_comes_is_closed_when_its_time_is_over(journal: Journal, away: float) -> None:
    ringing(journal, "101")
    after = journal.process_after(away)
    visitor = after.visitor()
    wait = max(0.0, RING - 4 - away) + WINDOW
    after.run(wait - 0.5, visitor)
    assert after.shown["state"] == "ringing"
    after.run(1, visitor)
    reason = "the server was restarted while it rang, and no leg arrived"
    assert (after.shown["state"], after.shown["reason"], after.tried) == ("failed", reason, [("101", "failed")])
    assert not let_in(after.resident())
    assert [end.state for end in after.app.ends] == ["failed"]
    assert len(after.telephones.stopped_ids) == 1, "whatever rings against all expectation"
    visitor.hang_up()
    assert after.exchange.events[-1]["return"]["attempts"][0]["end"] == "failed"


@pytest.mark.parametrize("answered", [False, True])
def test_a_clock_that_was_set_back_keeps_no_door_open(journal: Journal, answered: bool) -> None:
    before = ringing(journal, "101")
    if answered:
        before.telephones.ringing[-1].callback(ANSWERED)
    after = journal.process_after(-3_600)
    visitor = after.visitor()
    after.run(RING + WINDOW + 0.5, visitor)
    assert after.shown["state"] == "failed"
    assert not let_in(after.resident())


def test_the_numbers_that_are_left_are_rung_when_the_ring_time_is_over(journal: Journal) -> None:
    ringing(journal, "101", "102", "103")
    after = journal.process_after(1)
    visitor = after.visitor()
    after.run(RING - 5 + WINDOW - 0.5, visitor)
    assert after.telephones.rung == []
    after.run(1, visitor)
    assert after.telephones.rung == ["102"]
    after.telephones.ringing[-1].callback(BUSY)
    assert after.tried == [("101", "failed"), ("102", "busy"), ("103", None)]


def test_nobody_else_is_rung_before_the_visitor_is_back(journal: Journal) -> None:
    ringing(journal, "101", "102")
    after = journal.process_after(1)
    after.run(RING + WINDOW)
    assert (after.telephones.rung, after.shown["state"]) == ([], "waiting")
    assert "visitor has not come back" in after.shown["reason"]
    assert not let_in(after.resident()), "nobody is being rung"
    once_more = journal.process_after(1)
    assert (once_more.telephones.rung, once_more.shown["state"]) == ([], "waiting")
    once_more.visitor()
    assert (once_more.telephones.rung, once_more.shown["state"]) == (["102"], "ringing")


def test_a_visitor_who_never_comes_back_ends_it(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    (placed,) = before.telephones.requests
    after = journal.process_after(1)
    after.run(5)
    assert after.exchange.switchboard.expire() == 1
    ended = after.exchange.events[-1]
    assert (ended["event"], ended["outcome"]) == ("call.ended", "lost")
    assert (ended["return"]["state"], ended["return"]["reason"]) == ("cancelled", "the visitor left")
    assert after.telephones.stopped_ids == [placed.attempt_id]
    after.run(60)
    assert after.telephones.rung == []
    assert after.exchange.idle


def test_a_resident_whose_visitor_is_lost_is_told_goodbye(journal: Journal) -> None:
    ringing(journal, "101")
    after = journal.process_after(1)
    resident = after.resident()
    after.exchange.switchboard.expire()
    assert resident.ended_by_server
    assert after.call.outcome == "lost"


def test_a_visitor_who_leaves_after_the_restart_stops_the_ringing(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    (placed,) = before.telephones.requests
    after = journal.process_after(1)
    after.visitor().hang_up()
    assert after.telephones.stopped_ids == [placed.attempt_id]
    assert (after.shown["state"], after.tried) == ("cancelled", [("101", "cancelled")])


def test_a_dormant_visitor_who_is_hung_up_ends_it_too(journal: Journal) -> None:
    ringing(journal, "101")
    after = journal.process_after(1)
    after.exchange.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    assert (after.shown["state"], after.call.outcome) == ("cancelled", "admin_hangup")
    assert not let_in(after.resident())


def test_a_resident_who_had_answered_is_waited_for(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.telephones.ringing[-1].callback(ANSWERED)
    after = journal.process_after(12)
    visitor = after.visitor()
    assert after.shown["state"] == "answered"
    after.run(WINDOW - 0.5, visitor)
    assert let_in(after.resident()), "it could not arrive while nobody listened"
    assert (after.shown["state"], after.tried) == ("connected", [("101", "answered")])


def test_a_resident_who_had_answered_and_does_not_come_is_given_up(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.telephones.ringing[-1].callback(ANSWERED)
    after = journal.process_after(1)
    visitor = after.visitor()
    after.run(WINDOW + 0.5, visitor)
    assert after.shown["state"] == "failed"
    assert "no leg arrived on return port" in after.shown["reason"]
    assert after.telephones.rung == []


def test_a_stop_stops_the_ringing_and_the_next_process_rings_anew(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.exchange.switchboard.close()
    assert before.telephones.stopped == 1
    assert before.tried == [("101", "cancelled")]
    assert "return.ended" not in before.exchange.event_names()
    after = journal.process_after(2)
    assert (after.shown["state"], after.telephones.rung) == ("waiting", [])
    assert not let_in(after.resident()), "its telephone was stopped"
    after.visitor()
    assert (after.shown["state"], after.telephones.rung) == ("ringing", ["101"])
    after.telephones.ringing[-1].callback(BUSY)
    assert after.tried == [("101", "cancelled"), ("101", "busy"), ("102", None)]


def test_a_stop_in_a_second_life_stops_what_the_first_made_ring(journal: Journal) -> None:
    before = ringing(journal, "101")
    (placed,) = before.telephones.requests
    second = journal.process_after(1)
    second.visitor()
    second.exchange.switchboard.close()
    assert second.telephones.stopped_ids == [placed.attempt_id]
    third = journal.process_after(1)
    third.visitor()
    assert third.telephones.rung == ["101"]


def test_without_a_backend_in_the_next_life_it_fails(journal: Journal) -> None:
    ringing(journal, "101", "102")
    after = journal.process_after(1)
    after.returns.originator = None
    visitor = after.visitor()
    after.run(RING + WINDOW, visitor)
    assert (after.shown["state"], after.shown["reason"]) == ("failed", "return calls are no longer configured")


def test_while_the_next_resident_is_rung_nobody_is_told_that_the_last_one_is_gone(journal: Journal) -> None:
    for pending in (True, False):
        before = journal.process_after(0)
        before.visitor()
        before.returns.place(before.call, ["101"])
        before.resident().hang_up()
        if pending:
            before.returns.place(before.call, ["102"])
        after = journal.process_after(1)
        visitor = after.visitor()
        assert after.app.values("other_gone") == ([] if pending else ["caller_hangup"])
        visitor.hang_up()
        journal.process_after(REMEMBER_SECONDS + 1)


def broken(journal: Journal) -> Process:
    """A process in which a resident's connection has just broken."""
    before = journal.process_after(0)
    before.visitor()
    before.returns.place(before.call, ["101"])
    before.resident().reset()
    return before


@pytest.mark.parametrize("visitor_first", [True, False])
def test_a_resident_whose_connection_broke_just_before_a_kill_comes_back(
    journal: Journal, visitor_first: bool
) -> None:
    broken(journal)
    after = journal.process_after(1)
    if visitor_first:
        after.visitor()
    assert let_in(after.resident())
    assert not let_in(after.resident())
    if not visitor_first:
        after.visitor()
    assert after.exchange.event_names().count("call.resumed") == 1


@pytest.mark.parametrize("visitor_first", [True, False])
def test_a_resident_whose_connection_broke_long_before_a_kill_stays_out(
    journal: Journal, visitor_first: bool
) -> None:
    broken(journal)
    after = journal.process_after(RECONNECT_SECONDS + 0.1)
    if visitor_first:
        after.visitor()
    assert not let_in(after.resident())


def test_a_clock_that_was_set_back_lets_nobody_back_for_longer(journal: Journal) -> None:
    before = journal.process_after(0)
    before.visitor()
    before.exchange.run(600_000, step=1_000)
    before.returns.place(before.call, ["101"])
    before.resident().reset()
    after = journal.process_after(-3_600)
    after.visitor()
    after.run(RECONNECT_SECONDS + 0.1)
    assert not let_in(after.resident())


def test_a_resident_who_left_in_a_way_that_only_a_newer_version_knows_stays_out(journal: Journal) -> None:
    broken(journal)
    journal.lines = [line.replace(b'"connection_lost"', b'"thrown_out"') for line in journal.lines]
    after = journal.process_after(1)
    after.visitor()
    assert not let_in(after.resident())


def test_what_is_over_is_still_shown_after_a_restart(journal: Journal) -> None:
    before = ringing(journal, "101")
    before.telephones.ringing[-1].callback(BUSY)
    before.returns.place(before.call, ["102"])
    before.resident()
    shown = before.call.to_json(before.exchange.now)
    after = journal.process_after(1)
    after.visitor()
    again = after.call.to_json(after.exchange.now)
    assert again["return"] == shown["return"]
    assert again["earlier_returns"] == shown["earlier_returns"]
    assert (again["return"]["state"], len(again["earlier_returns"])) == ("connected", 1)
    assert not after.returns.pending(after.call)


def test_one_line_for_each_change_and_the_rewritten_journal_says_the_same(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.telephones.ringing[-1].callback(BUSY)
    before.telephones.ringing[-1].callback(ANSWERED)
    before.resident()
    assert journal.kinds().count("return") == 4, "rings, rings the next, answered, connected"
    for size in range(len(journal.lines) + 1):
        said = replay(journal.lines[:size], journal.wall)
        assert replay(said.lines(), journal.wall).calls == said.calls
    longest = max(len(line) for line in journal.lines if b'"return"' in line)
    assert longest < 600


def test_a_damaged_line_of_a_return_call_costs_nothing_else(journal: Journal) -> None:
    ringing(journal, "101")
    place = journal.kinds().index("return")
    for broken in ({"numbers": 5}, {"left": "soon"}, {"attempts": [{}]}, {"number": None}, {"attempts": None}):
        lines = list(journal.lines)
        lines[place] = json.dumps({**json.loads(lines[place]), **broken}).encode()
        said = replay(lines, journal.wall)
        assert (said.damaged, said.calls[0].returns) == (1, []), broken
        assert said.calls[0].legs[Role.VISITOR].outcome is None
