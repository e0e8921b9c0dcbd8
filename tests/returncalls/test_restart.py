"""A return call during a kill or stop of the server: which leg is admitted afterwards, what rings next."""

from __future__ import annotations

import json
from typing import Any

import pytest

from audiosocket.calls.journal_records import JournalRecord, encode
from audiosocket.calls.journal_replay import replay
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.registry import RECONNECT_SECONDS, REMEMBER_SECONDS
from audiosocket.extensions.model import Role
from tests.support.in_memory import CALL, OTHER_CALL, OTHER_EXTENSION, START
from tests.support.return_calls import (
    ANSWERED,
    BUSY,
    RING_SECONDS,
    WINDOW_SECONDS,
    CallingApp,
    ReturnCallServer,
    accepted,
)

#: When the first process began, in seconds since the epoch: far from the steady time of any process.
EPOCH = 1_790_000_000.0
RING, WINDOW = RING_SECONDS, WINDOW_SECONDS


class Journal:
    """A journal in memory, with a time of day that passes also between two processes."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.process: Process | None = None
        self.began = EPOCH

    @property
    def wall(self) -> float:
        return self.began + (self.process.server.now - START if self.process is not None else 0)

    def __enter__(self) -> object:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: every line is written at once."""

    def write(self, record: JournalRecord) -> None:
        self.lines.append(encode(record, self.wall).rstrip())

    def kinds(self) -> list[str]:
        return [json.loads(line)["kind"] for line in self.lines]

    def process_after(self, seconds: float, *, backend: bool = True) -> Process:
        """Kill the process, and return one that begins so many seconds later with what this journal has."""
        self.began, self.process = self.wall + seconds, None
        self.process = Process(self, backend=backend)
        return self.process


class Process(ReturnCallServer):
    """A server with return calls that begins with what a journal has."""

    def __init__(self, journal: Journal, *, backend: bool = True) -> None:
        self.app = CallingApp("101")
        super().__init__(self.app, backend=backend, journal=journal)
        self.server.switchboard.restore(replay(journal.lines, journal.wall))


@pytest.fixture
def journal() -> Journal:
    return Journal()


def ringing(journal: Journal, *numbers: str, seconds: float = 4) -> Process:
    """Return a process that has been ringing the first number for some seconds."""
    before = journal.process_after(0)
    visitor = before.join_visitor()
    before.returns.place(before.call, numbers)
    before.run(seconds, visitor)
    return before


def test_a_resident_who_answers_after_the_restart_is_admitted_once(journal: Journal) -> None:
    ringing(journal, "101", "102")
    after = journal.process_after(3)
    visitor = after.join_visitor()
    assert (after.shown["state"], after.tried) == ("ringing", [("101", None)])
    assert after.shown["attempts"][0]["seconds"] == 7.0
    after.run(5, visitor)
    assert not accepted(after.server.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    assert not accepted(after.server.join(call_id=OTHER_CALL, role=Role.RESIDENT))
    resident = after.join_resident()
    assert accepted(resident)
    assert (after.shown["state"], after.tried) == ("connected", [("101", "answered")])
    after.server.time.advance(0)
    assert [outcome.state for outcome in after.app.outcomes] == ["connected"]
    resident.hang_up()
    assert not accepted(after.join_resident())
    after.run(60, visitor)
    assert after.originator.rung == []
    assert after.originator.stopped_ids == [], "stopping would hang the resident up"


def test_a_resident_may_arrive_before_the_visitor_resumes(journal: Journal) -> None:
    ringing(journal, "101")
    after = journal.process_after(3)
    assert accepted(after.join_resident())
    assert not accepted(after.join_resident())
    after.run(1)
    assert after.app.outcomes == []
    after.join_visitor()
    after.server.time.advance(0)
    assert [outcome.state for outcome in after.app.outcomes] == ["connected"]
    assert after.app.outcomes[0].attempts[0].number == "101"
    assert after.server.event_names().count("call.resumed") == 1
    assert "call.started" not in after.server.event_names()


@pytest.mark.parametrize("away", [0.5, 5.0, 25.0])
def test_an_attempt_without_a_leg_fails_when_its_time_is_over(journal: Journal, away: float) -> None:
    ringing(journal, "101")
    after = journal.process_after(away)
    visitor = after.join_visitor()
    wait = max(0.0, RING - 4 - away) + WINDOW
    after.run(wait - 0.5, visitor)
    assert after.shown["state"] == "ringing"
    after.run(1, visitor)
    reason = "the server was restarted while it rang, and no leg arrived"
    assert (after.shown["state"], after.shown["reason"], after.tried) == ("failed", reason, [("101", "failed")])
    assert not accepted(after.join_resident())
    assert [outcome.state for outcome in after.app.outcomes] == ["failed"]
    assert len(after.originator.stopped_ids) == 1, "in case it rings nevertheless"
    visitor.hang_up()
    assert after.server.events[-1]["return"]["attempts"][0]["end"] == "failed"


@pytest.mark.parametrize("answered", [False, True])
def test_a_clock_that_was_set_back_does_not_extend_the_window(journal: Journal, answered: bool) -> None:
    before = ringing(journal, "101")
    if answered:
        before.originator.ringing[-1].callback(ANSWERED)
    after = journal.process_after(-3_600)
    visitor = after.join_visitor()
    after.run(RING + WINDOW + 0.5, visitor)
    assert after.shown["state"] == "failed"
    assert not accepted(after.join_resident())


def test_the_numbers_that_are_left_are_rung_when_the_ring_time_is_over(journal: Journal) -> None:
    ringing(journal, "101", "102", "103")
    after = journal.process_after(1)
    visitor = after.join_visitor()
    after.run(RING - 5 + WINDOW - 0.5, visitor)
    assert after.originator.rung == []
    after.run(1, visitor)
    assert after.originator.rung == ["102"]
    after.originator.ringing[-1].callback(BUSY)
    assert after.tried == [("101", "failed"), ("102", "busy"), ("103", None)]


def test_the_next_number_is_rung_only_when_the_visitor_has_resumed(journal: Journal) -> None:
    ringing(journal, "101", "102")
    after = journal.process_after(1)
    after.run(RING + WINDOW)
    assert (after.originator.rung, after.shown["state"]) == ([], "waiting")
    assert "visitor has not resumed" in after.shown["reason"]
    assert not accepted(after.join_resident()), "nothing rings"
    third = journal.process_after(1)
    assert (third.originator.rung, third.shown["state"]) == ([], "waiting")
    third.join_visitor()
    assert (third.originator.rung, third.shown["state"]) == (["102"], "ringing")


def test_a_visitor_that_does_not_resume_ends_it(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    (placed,) = before.originator.requests
    after = journal.process_after(1)
    after.run(5)
    assert after.server.switchboard.expire() == 1
    ended = after.server.events[-1]
    assert (ended["event"], ended["outcome"]) == ("call.ended", "lost")
    assert (ended["return"]["state"], ended["return"]["reason"]) == ("cancelled", "the visitor left")
    assert after.originator.stopped_ids == [placed.attempt_id]
    after.run(60)
    assert after.originator.rung == []
    assert after.server.idle


def test_a_resident_whose_visitor_is_lost_is_hung_up(journal: Journal) -> None:
    ringing(journal, "101")
    after = journal.process_after(1)
    resident = after.join_resident()
    after.server.switchboard.expire()
    assert resident.ended_by_server
    assert after.call.outcome == "lost"


def test_a_visitor_that_leaves_after_the_restart_stops_the_ringing(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    (placed,) = before.originator.requests
    after = journal.process_after(1)
    after.join_visitor().hang_up()
    assert after.originator.stopped_ids == [placed.attempt_id]
    assert (after.shown["state"], after.tried) == ("cancelled", [("101", "cancelled")])


def test_a_suspended_visitor_that_is_hung_up_ends_it(journal: Journal) -> None:
    ringing(journal, "101")
    after = journal.process_after(1)
    after.server.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    assert (after.shown["state"], after.call.outcome) == ("cancelled", "admin_hangup")
    assert not accepted(after.join_resident())


def test_the_leg_of_a_resident_who_had_answered_is_waited_for(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.originator.ringing[-1].callback(ANSWERED)
    after = journal.process_after(12)
    visitor = after.join_visitor()
    assert after.shown["state"] == "answered"
    after.run(WINDOW - 0.5, visitor)
    assert accepted(after.join_resident()), "it could not arrive while no server was listening"
    assert (after.shown["state"], after.tried) == ("connected", [("101", "answered")])


def test_a_leg_that_does_not_arrive_after_the_answer_ends_it(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.originator.ringing[-1].callback(ANSWERED)
    after = journal.process_after(1)
    visitor = after.join_visitor()
    after.run(WINDOW + 0.5, visitor)
    assert after.shown["state"] == "failed"
    assert "no leg arrived on return port" in after.shown["reason"]
    assert after.originator.rung == []


def test_a_stop_stops_the_ringing_and_the_next_process_rings_again(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.server.switchboard.close()
    assert before.originator.cancelled == 1
    assert before.tried == [("101", "cancelled")]
    assert "return.ended" not in before.server.event_names()
    after = journal.process_after(2)
    assert (after.shown["state"], after.originator.rung) == ("waiting", [])
    assert not accepted(after.join_resident()), "its telephone was stopped"
    after.join_visitor()
    assert (after.shown["state"], after.originator.rung) == ("ringing", ["101"])
    after.originator.ringing[-1].callback(BUSY)
    assert after.tried == [("101", "cancelled"), ("101", "busy"), ("102", None)]


def test_a_stop_of_the_second_process_stops_what_the_first_one_rang(journal: Journal) -> None:
    before = ringing(journal, "101")
    (placed,) = before.originator.requests
    second = journal.process_after(1)
    second.join_visitor()
    second.server.switchboard.close()
    assert second.originator.stopped_ids == [placed.attempt_id]
    third = journal.process_after(1)
    third.join_visitor()
    assert third.originator.rung == ["101"]


def test_without_a_backend_in_the_next_process_it_fails(journal: Journal) -> None:
    ringing(journal, "101", "102")
    after = journal.process_after(1, backend=False)
    visitor = after.join_visitor()
    after.run(RING + WINDOW, visitor)
    assert (after.shown["state"], after.shown["reason"]) == ("failed", "return calls are no longer configured")


def test_apps_receive_the_end_of_the_last_resident_unless_the_next_one_is_rung(journal: Journal) -> None:
    for pending in (True, False):
        before = journal.process_after(0)
        before.join_visitor()
        before.returns.place(before.call, ["101"])
        before.join_resident().hang_up()
        if pending:
            before.returns.place(before.call, ["102"])
        after = journal.process_after(1)
        visitor = after.join_visitor()
        assert after.app.values("other_gone") == ([] if pending else ["caller_hangup"])
        visitor.hang_up()
        journal.process_after(REMEMBER_SECONDS + 1)


def broken(journal: Journal) -> Process:
    """Return a process in which a resident's connection has just broken."""
    before = journal.process_after(0)
    before.join_visitor()
    before.returns.place(before.call, ["101"])
    before.join_resident().reset()
    return before


@pytest.mark.parametrize("visitor_first", [True, False])
def test_a_resident_whose_connection_broke_just_before_a_kill_resumes(
    journal: Journal, visitor_first: bool
) -> None:
    broken(journal)
    after = journal.process_after(1)
    if visitor_first:
        after.join_visitor()
    assert accepted(after.join_resident())
    assert not accepted(after.join_resident())
    if not visitor_first:
        after.join_visitor()
    assert after.server.event_names().count("call.resumed") == 1


@pytest.mark.parametrize("visitor_first", [True, False])
def test_a_resident_whose_connection_broke_long_before_a_kill_is_refused(
    journal: Journal, visitor_first: bool
) -> None:
    broken(journal)
    after = journal.process_after(RECONNECT_SECONDS + 0.1)
    if visitor_first:
        after.join_visitor()
    assert not accepted(after.join_resident())


def test_a_clock_that_was_set_back_does_not_extend_the_time_to_reconnect(journal: Journal) -> None:
    before = journal.process_after(0)
    before.join_visitor()
    before.server.run(600_000, step=1_000)
    before.returns.place(before.call, ["101"])
    before.join_resident().reset()
    after = journal.process_after(-3_600)
    after.join_visitor()
    after.run(RECONNECT_SECONDS + 0.1)
    assert not accepted(after.join_resident())


def test_a_resident_with_an_outcome_of_a_newer_version_is_refused(journal: Journal) -> None:
    broken(journal)
    journal.lines = [line.replace(b'"connection_lost"', b'"thrown_out"') for line in journal.lines]
    after = journal.process_after(1)
    after.join_visitor()
    assert not accepted(after.join_resident())


def test_ended_return_calls_are_shown_after_a_restart(journal: Journal) -> None:
    before = ringing(journal, "101")
    before.originator.ringing[-1].callback(BUSY)
    before.returns.place(before.call, ["102"])
    before.join_resident()
    shown = before.call.to_json(before.server.now)
    after = journal.process_after(1)
    after.join_visitor()
    again = after.call.to_json(after.server.now)
    assert again["return"] == shown["return"]
    assert again["earlier_returns"] == shown["earlier_returns"]
    assert again["return"] is not None
    assert (again["return"]["state"], len(again["earlier_returns"])) == ("connected", 1)
    assert not after.returns.pending(after.call)


def test_each_change_is_one_line_and_the_rewritten_journal_stands_for_the_same(journal: Journal) -> None:
    before = ringing(journal, "101", "102")
    before.originator.ringing[-1].callback(BUSY)
    before.originator.ringing[-1].callback(ANSWERED)
    before.join_resident()
    assert journal.kinds().count("return") == 4, "rings, rings the next, answered, connected"
    for size in range(len(journal.lines) + 1):
        found = replay(journal.lines[:size], journal.wall)
        assert replay(found.lines(), journal.wall).calls == found.calls
    longest = max(len(line) for line in journal.lines if b'"return"' in line)
    assert longest < 600


def test_a_damaged_line_of_a_return_call_costs_nothing_else(journal: Journal) -> None:
    ringing(journal, "101")
    place = journal.kinds().index("return")
    damages: tuple[dict[str, Any], ...] = (
        {"numbers": 5},
        {"left": "soon"},
        {"attempts": [{}]},
        {"number": None},
        {"attempts": None},
    )
    for broken in damages:
        lines = list(journal.lines)
        lines[place] = json.dumps({**json.loads(lines[place]), **broken}).encode()
        found = replay(lines, journal.wall)
        assert (found.damaged, found.calls[0].returns) == (1, []), broken
        assert found.calls[0].legs[Role.VISITOR].outcome is None
