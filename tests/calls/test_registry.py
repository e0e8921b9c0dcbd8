"""Who may join a call, and how it ends: the rules of docs/calls.md, without sockets or clocks."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from audiosocket.calls import registry as callregistry
from audiosocket.calls.call import ALIVE_SECONDS, Call, LegState
from audiosocket.calls.events import EventLog, Record
from audiosocket.calls.journal_records import MAX_TIMELINE
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.registry import (
    MAX_RECENT,
    MAX_REMEMBERED,
    RECONNECT_SECONDS,
    REMEMBER_SECONDS,
    Admission,
    CallRegistry,
    PendingReturns,
)
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension, Role

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
HERE = DEFAULT_EXTENSION
ELSEWHERE = replace(HERE, id=7, number="7000")
WALL = "2026-01-31T10:15:23.456Z"


class FakeReturns:
    """Return calls of all calls at once: one is pending for each, or for none."""

    def __init__(self) -> None:
        self.is_pending = True

    def awaits(self, call: Call) -> bool:
        return self.is_pending

    def pending(self, call: Call) -> bool:
        return self.is_pending


class Books:
    """A registry, its events, and legs that join it."""

    def __init__(self, *, accept_unexpected_resident: bool = False, returns: PendingReturns | None = None) -> None:
        self.events: list[Record] = []
        self.registry = CallRegistry(
            EventLog([self.events.append]),
            accept_unexpected_resident=accept_unexpected_resident,
            returns=returns,
        )

    def ask(self, role: Role, now: float, call_id: UUID = CALL, extension: Extension = HERE) -> Admission:
        return self.registry.admit(call_id, role, extension, now, WALL)

    def join(self, role: Role, now: float, call_id: UUID = CALL, extension: Extension = HERE) -> Call:
        """Ask, and take the place."""
        admission = self.ask(role, now, call_id, extension)
        assert admission.call is not None, admission.reason
        if not admission.resumes:
            admission.call.legs[role] = LegState(role, "127.0.0.1:5000", 8080, now, now)
        return admission.call

    def names(self) -> list[str]:
        return [record["event"] for record in self.events]


def number(n: int) -> UUID:
    return UUID(int=n)


# who may join


def test_a_visitor_opens_a_call_on_the_extension_of_its_port() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    assert (call.call_id, call.extension, call.outcome) == (CALL, HERE, None)
    assert list(books.registry) == [call]
    assert len(books.registry) == 1
    assert books.registry.get(CALL) is call
    assert books.registry.started_total == 1
    assert books.names() == ["call.started"]


def test_a_resident_joins_the_call_of_its_uuid() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    assert books.join(Role.RESIDENT, 12.0) is call
    assert set(call.legs) == {Role.VISITOR, Role.RESIDENT}
    assert books.registry.started_total == 1


def test_a_resident_without_a_call_is_refused() -> None:
    books = Books()
    admission = books.ask(Role.RESIDENT, 10.0)
    assert admission == Admission(None, "no call with this UUID is waiting for a resident")
    assert books.registry.refused_total == 1
    assert len(books.registry) == books.registry.started_total == 0
    assert books.registry.get(CALL) is None
    assert books.names() == []


def test_a_resident_on_another_extension_is_refused_and_the_call_notes_it() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    admission = books.ask(Role.RESIDENT, 11.0, extension=ELSEWHERE)
    assert admission == Admission(None, "the call belongs to extension 0, not 7")
    assert call.timeline[-1]["event"] == "leg.refused"
    assert call.timeline[-1]["role"] == "resident"
    assert set(call.legs) == {Role.VISITOR}


def test_an_unexpected_resident_opens_a_call_when_that_is_allowed() -> None:
    books = Books(accept_unexpected_resident=True)
    call = books.join(Role.RESIDENT, 10.0)
    assert books.join(Role.VISITOR, 11.0) is call
    assert books.registry.refused_total == 0


def test_a_second_leg_is_refused_while_the_first_is_alive() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    call.legs[Role.VISITOR].last_received = 20.0
    assert books.ask(Role.VISITOR, 20.0 + ALIVE_SECONDS) == Admission(None, "its visitor leg is alive")
    assert books.registry.refused_total == 1
    assert books.names() == ["call.started", "leg.refused"]


def test_a_silent_leg_is_taken_over_and_the_call_goes_on() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    call.legs[Role.VISITOR].last_received = 20.0
    assert books.ask(Role.VISITOR, 20.0 + ALIVE_SECONDS + 0.001) == Admission(call, resumes=True)
    assert books.registry.started_total == 1


def test_a_leg_that_left_may_join_again_while_the_other_is_live() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.join(Role.RESIDENT, 10.5)
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.CONNECTION_LOST, 11.0)
    assert books.ask(Role.VISITOR, 11.0) == Admission(call, resumes=True)


#: Endings with which we sent a leg away, or which say that its peer is no Asterisk.
FINAL = [
    LegOutcome.SERVER_HANGUP,
    LegOutcome.ADMIN_HANGUP,
    LegOutcome.TOO_LONG,
    LegOutcome.IDLE,
    LegOutcome.APP_FAILED,
    LegOutcome.PROTOCOL_ERROR,
    LegOutcome.PEER_ERROR,
]


@pytest.mark.parametrize("outcome", FINAL)
def test_a_visitor_ended_by_the_server_is_refused_while_the_resident_is_live(outcome: LegOutcome) -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.join(Role.RESIDENT, 10.5)
    books.registry.leg_over(call, Role.VISITOR, outcome, 11.0)
    for now in (11.0, 11.3, 500.0):
        assert books.ask(Role.VISITOR, now) == Admission(None, "its visitor leg was ended by the server")
    assert books.names()[-1] == "leg.refused"


@pytest.mark.parametrize("outcome", FINAL)
def test_a_resident_ended_by_the_server_is_refused_until_the_next_return_call(outcome: LegOutcome) -> None:
    returns = FakeReturns()
    books = Books(returns=returns)
    call = books.join(Role.VISITOR, 10.0)
    books.join(Role.RESIDENT, 10.5)
    returns.is_pending = False
    books.registry.leg_over(call, Role.RESIDENT, outcome, 11.0)
    assert books.ask(Role.RESIDENT, 11.0) == Admission(None, "its resident leg was ended by the server")
    assert books.ask(Role.RESIDENT, 500.0) == Admission(None, "no return call is waiting for a resident")
    returns.is_pending = True
    assert books.ask(Role.RESIDENT, 500.0).call is call


def test_without_return_calls_a_resident_ended_by_the_server_is_refused_for_60_s() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.join(Role.RESIDENT, 10.5)
    books.registry.leg_over(call, Role.RESIDENT, LegOutcome.ADMIN_HANGUP, 11.0)
    assert books.ask(Role.RESIDENT, 11.1).call is None
    assert books.ask(Role.RESIDENT, 71.0).call is None
    assert books.ask(Role.RESIDENT, 71.1).call is call


class Residents(Books):
    """Books where return calls announce residents: one was pending, its resident has joined at 10.5."""

    def __init__(self) -> None:
        self.returns = FakeReturns()
        super().__init__(returns=self.returns)
        self.call = self.join(Role.VISITOR, 10.0)
        self.join(Role.RESIDENT, 10.5)
        self.returns.is_pending = False

    def over(self, outcome: LegOutcome, now: float) -> None:
        self.registry.leg_over(self.call, Role.RESIDENT, outcome, now)

    def back(self, now: float) -> None:
        """The resident's leg has a connection again."""
        assert self.ask(Role.RESIDENT, now) == Admission(self.call, resumes=True)
        self.call.legs[Role.RESIDENT] = LegState(Role.RESIDENT, "127.0.0.1:5001", 8081, now, now)


BROKEN = [LegOutcome.CONNECTION_LOST, LegOutcome.SLOW_READER]


@pytest.mark.parametrize("outcome", BROKEN)
def test_a_resident_whose_connection_broke_resumes_without_a_return_call(outcome: LegOutcome) -> None:
    books = Residents()
    books.over(outcome, 11.0)
    books.back(11.0 + RECONNECT_SECONDS)
    books.over(outcome, 20.0)
    books.back(20.3)


@pytest.mark.parametrize("outcome", BROKEN)
def test_a_resident_whose_connection_broke_is_refused_after_its_time(outcome: LegOutcome) -> None:
    books = Residents()
    books.over(outcome, 11.0)
    late = books.ask(Role.RESIDENT, 11.001 + RECONNECT_SECONDS)
    assert late == Admission(None, "no return call is waiting for a resident")


def test_a_broken_connection_admits_one_resident_on_the_extension_of_the_call() -> None:
    books = Residents()
    books.over(LegOutcome.CONNECTION_LOST, 11.0)
    elsewhere = books.ask(Role.RESIDENT, 11.1, extension=ELSEWHERE)
    assert elsewhere == Admission(None, "the call belongs to extension 0, not 7")
    books.back(11.2)
    assert books.ask(Role.RESIDENT, 11.3) == Admission(None, "its resident leg is alive")
    books.over(LegOutcome.CALLER_HANGUP, 11.4)
    assert books.ask(Role.RESIDENT, 11.5) == Admission(None, "no return call is waiting for a resident")


@pytest.mark.parametrize("outcome", [outcome for outcome in LegOutcome if outcome not in BROKEN])
def test_a_resident_with_any_other_outcome_is_refused(outcome: LegOutcome) -> None:
    books = Residents()
    books.over(outcome, 11.0)
    assert books.ask(Role.RESIDENT, 11.1).call is None


def test_a_resident_whose_connection_broke_finds_no_call_when_the_visitor_has_left() -> None:
    books = Residents()
    books.over(LegOutcome.CONNECTION_LOST, 11.0)
    books.registry.leg_over(books.call, Role.VISITOR, LegOutcome.CALLER_HANGUP, 11.1)
    assert books.ask(Role.RESIDENT, 11.2) == Admission(None, "this call has ended")


@pytest.mark.parametrize("outcome", BROKEN)
def test_without_return_calls_a_resident_whose_connection_broke_resumes(outcome: LegOutcome) -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.join(Role.RESIDENT, 10.5)
    books.registry.leg_over(call, Role.RESIDENT, outcome, 11.0)
    assert books.ask(Role.RESIDENT, 11.2) == Admission(call, resumes=True)


def test_an_ended_uuid_is_refused_for_60_s_and_then_free_again() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.CALLER_HANGUP, 20.0)
    assert REMEMBER_SECONDS == 60.0
    for role in Role:
        assert books.ask(role, 20.0) == Admission(None, "this call has ended")
        assert books.ask(role, 80.0) == Admission(None, "this call has ended")
    again = books.join(Role.VISITOR, 80.001)
    assert again is not call
    assert books.registry.get(CALL) is again
    assert books.registry.started_total == 2


def test_a_refused_uuid_is_not_remembered_longer() -> None:
    books = Books()
    books.registry.leg_over(books.join(Role.VISITOR, 0.0), Role.VISITOR, LegOutcome.CALLER_HANGUP, 1.0)
    books.ask(Role.VISITOR, 60.9)
    assert books.ask(Role.VISITOR, 61.1).call is not None


def test_the_call_keeps_the_extension_it_started_with() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    renumbered = replace(HERE, number="1999")
    assert books.join(Role.RESIDENT, 11.0, extension=renumbered) is call
    assert call.extension == HERE


# how it ends


def test_a_call_ends_with_its_last_leg() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.join(Role.RESIDENT, 11.0)
    books.registry.leg_over(call, Role.RESIDENT, LegOutcome.CALLER_HANGUP, 15.0)
    assert call.ended is None
    assert [leg.role for leg in call.live_legs] == [Role.VISITOR]
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.SERVER_HANGUP, 16.0)
    assert call.ended == 16.0
    assert call.live_legs == []
    assert len(books.registry) == 0
    assert books.registry.get(CALL) is call
    assert list(books.registry.recent()) == [call]
    assert books.names() == ["call.started", "leg.left", "leg.left", "call.ended"]


def test_only_the_first_cause_of_a_legs_end_counts() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.SLOW_READER, 15.0)
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.CONNECTION_LOST, 16.0)
    leg = call.legs[Role.VISITOR]
    assert (leg.outcome, leg.ended) == (LegOutcome.SLOW_READER, 15.0)
    assert call.outcome == "slow_reader"
    assert books.names().count("leg.left") == 1
    assert books.names().count("call.ended") == 1


def test_the_first_decided_outcome_stays() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    assert call.decide("gate_opened")
    assert not call.decide("gate_refused")
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.CALLER_HANGUP, 15.0)
    assert call.outcome == "gate_opened"
    assert call.legs[Role.VISITOR].outcome is LegOutcome.CALLER_HANGUP
    assert books.events[-1]["outcome"] == "gate_opened"


def test_without_a_decided_outcome_the_visitors_is_the_calls() -> None:
    """Whichever leg is last: the resident that stays behind only waits for the visitor's news."""
    for last in Role:
        books = Books()
        call = books.join(Role.VISITOR, 10.0)
        books.join(Role.RESIDENT, 11.0)
        first = Role.RESIDENT if last is Role.VISITOR else Role.VISITOR
        endings = {Role.VISITOR: LegOutcome.SERVER_HANGUP, Role.RESIDENT: LegOutcome.CALLER_HANGUP}
        books.registry.leg_over(call, first, endings[first], 15.0)
        books.registry.leg_over(call, last, endings[last], 16.0)
        assert call.outcome == "server_hangup"


def test_without_a_visitor_the_residents_outcome_is_the_calls() -> None:
    books = Books(accept_unexpected_resident=True)
    call = books.join(Role.RESIDENT, 10.0)
    books.registry.leg_over(call, Role.RESIDENT, LegOutcome.PEER_ERROR, 15.0)
    assert call.outcome == "peer_error"


def test_a_resident_that_ends_after_the_visitor_joined_again_leaves_the_call() -> None:
    """The visitor's old leg is over, its new one is not: only the new one is in the books."""
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    books.join(Role.RESIDENT, 10.5)
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.CONNECTION_LOST, 11.0)
    call.legs[Role.VISITOR] = LegState(Role.VISITOR, "127.0.0.1:5001", 8080, 12.0, 12.0)
    books.registry.leg_over(call, Role.RESIDENT, LegOutcome.CALLER_HANGUP, 13.0)
    assert call.ended is None


# memory


def test_the_registry_is_bounded_for_any_number_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_REMEMBERED == 20_000
    monkeypatch.setattr(callregistry, "MAX_REMEMBERED", 700)
    books, total = Books(), 720
    for n in range(total):
        call = books.join(Role.VISITOR, 0.0, number(n))
        books.registry.leg_over(call, Role.VISITOR, LegOutcome.CALLER_HANGUP, 0.0)
        books.events.clear()
    recent = list(books.registry.recent())
    assert [call.call_id.int for call in recent] == list(range(total - 1, total - 1 - MAX_RECENT, -1))
    assert books.registry.get(number(0)) is None
    assert books.ask(Role.VISITOR, 0.0, number(20)).reason == "this call has ended"
    assert books.ask(Role.VISITOR, 0.0, number(19)).call is not None
    assert len(books.registry) == 1


def test_ended_uuids_are_forgotten_after_their_time() -> None:
    books = Books()
    for n in range(30):
        call = books.join(Role.VISITOR, float(n), number(n))
        books.registry.leg_over(call, Role.VISITOR, LegOutcome.CALLER_HANGUP, float(n))
    assert books.ask(Role.RESIDENT, 61.5, number(500)).call is None
    free = [n for n in range(30) if books.ask(Role.VISITOR, 61.5, number(n)).call is not None]
    assert free == [0, 1]


def test_a_timeline_keeps_its_beginning_and_the_latest() -> None:
    call = Books().join(Role.VISITOR, 0.0)
    for n in range(MAX_TIMELINE + 50):
        call.note("leg.digit", float(n), digit=str(n))
    assert len(call.timeline) == MAX_TIMELINE
    assert call.timeline[0]["event"] == "call.started"
    assert call.timeline[-1]["digit"] == str(MAX_TIMELINE + 49)


def test_a_call_that_ends_again_under_its_uuid_is_the_latest() -> None:
    books = Books()
    for call_id, when in ((CALL, 0.0), (number(1), 1.0), (CALL, 100.0)):
        call = books.join(Role.VISITOR, when, call_id)
        books.registry.leg_over(call, Role.VISITOR, LegOutcome.CALLER_HANGUP, when)
    assert [call.started for call in books.registry.recent()] == [100.0, 1.0]


# what is shown


def test_a_call_is_shown_with_its_legs_extension_and_times() -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    leg = call.legs[Role.VISITOR]
    leg.frames_in, leg.rate = 5, 16_000
    assert call.to_json(12.3456) == {
        "call_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "state": "live",
        "outcome": None,
        "extension": HERE.to_json(),
        "started_at": WALL,
        "duration_seconds": 2.346,
        "caller": None,
        "legs": [
            {
                "role": "visitor",
                "peer": "127.0.0.1:5000",
                "port": 8080,
                "state": "live",
                "outcome": None,
                "duration_seconds": 2.346,
                "rate": 16_000,
                "frames_in": 5,
                "frames_out": 0,
                "late_turns": 0,
                "underruns": 0,
                "silence_out": 0,
                "digits": 0,
                "ignored": 0,
                "resumes": 0,
                "app": None,
                "level_in": None,
                "level_out": None,
            }
        ],
        "return": None,
        "earlier_returns": [],
    }
    books.registry.leg_over(call, Role.VISITOR, LegOutcome.ADMIN_HANGUP, 13.0)
    shown = call.to_json(99.0, timeline=True)
    assert (shown["state"], shown["outcome"], shown["duration_seconds"]) == ("ended", "admin_hangup", 3.0)
    [leg_shown] = shown["legs"]
    assert (leg_shown["state"], leg_shown["outcome"], leg_shown["duration_seconds"]) == (
        "ended",
        "admin_hangup",
        3.0,
    )
    assert [(entry["at_seconds"], entry["event"]) for entry in shown["timeline"]] == [
        (0.0, "call.started"),
        (3.0, "leg.left"),
        (3.0, "call.ended"),
    ]


@pytest.mark.parametrize("field", ["at_seconds", "event", "seconds", "now", "self", "call_id"])
def test_no_field_of_an_event_replaces_its_name_or_time(field: str) -> None:
    books = Books()
    call = books.join(Role.VISITOR, 10.0)
    call.note("app.note", 11.5, **{field: "theirs"})
    entry, record = call.timeline[-1], books.events[-1]
    assert (entry["at_seconds"], entry["event"]) == (1.5, "app.note")
    assert (record["event"], record["call_id"]) == ("app.note", str(CALL))
    if field in {"seconds", "now", "self"}:
        assert entry[field] == record[field] == "theirs"
