"""The lines of the call journal: each record is read as it was written, and what was written once stays readable.

The files in ``journals/`` were written by a server of November 2026. They are not to be changed: operators update
with calls in progress.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from audiosocket.calls.journal_compaction import _ANY, _ENDED, split_by_end
from audiosocket.calls.journal_records import (
    DAMAGED,
    KINDS,
    EndedRecord,
    EventRecord,
    JournalRecord,
    MovedRecord,
    OpenedRecord,
    OutcomeRecord,
    ReturnRecord,
    SavedAttempt,
    SavedLeg,
    SavedReturn,
    SnapshotRecord,
    StateRecord,
    call_of,
    decode,
    encode,
)
from audiosocket.calls.journal_replay import call_from, replay
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role

JOURNALS = Path(__file__).parent / "journals"
CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
OTHER = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
NAME = str(CALL)
WALL = 1_769_854_523.456
RETURN = SavedReturn(
    "ringing",
    "",
    ("103",),
    until=21.5,
    attempts=(
        SavedAttempt("101", "a1", began=-7.0, ended=-3.5, end="busy", reason="busy"),
        SavedAttempt("102", "a2", began=-3.5, ended=None, end=None, reason=""),
    ),
)
RECORDS: list[JournalRecord] = [
    OpenedRecord(NAME, DEFAULT_EXTENSION, "2026-01-31T10:15:23.456Z"),
    OpenedRecord(NAME, DEFAULT_EXTENSION, "", [{"at_seconds": 0.0, "event": "call.started"}]),
    EventRecord(NAME, {"at_seconds": 1.5, "event": "leg.digit", "digit": "3"}),
    OutcomeRecord(NAME, "served"),
    StateRecord(NAME, Role.RESIDENT, "menu", {"page": [1, None]}),
    ReturnRecord(NAME, 2, RETURN),
    SnapshotRecord(
        NAME,
        DEFAULT_EXTENSION,
        started=WALL - 8,
        started_at="2026-01-31T10:15:23.456Z",
        outcome=None,
        legs={
            Role.VISITOR: SavedLeg("127.0.0.1:5000", 8080, 0.0),
            Role.RESIDENT: SavedLeg("127.0.0.1:5001", 8081, 2.5, 1, "caller_hangup", 7.25),
        },
        timeline=[{"at_seconds": 0.0, "event": "call.started"}],
        states={(Role.VISITOR, "menu"): 7},
        returns=[RETURN],
    ),
    EndedRecord(NAME),
    MovedRecord(NAME),
]


def lines(name: str) -> list[bytes]:
    return (JOURNALS / name).read_bytes().splitlines(keepends=True)


def test_every_kind_is_tried() -> None:
    assert {record.kind for record in RECORDS} == set(KINDS)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.kind))
def test_a_record_is_read_as_it_was_written(record: JournalRecord) -> None:
    line = encode(record, WALL)
    assert line.endswith(b"}\n")
    assert decode(line) == (WALL, CALL, record)
    assert call_of(line) == CALL


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record.kind))
def test_the_compaction_finds_time_kind_and_call_of_every_line(record: JournalRecord) -> None:
    found = _ANY.match(encode(record, WALL))
    assert found is not None
    assert found.groups() == (b"1769854523.456", record.kind.encode(), NAME.encode())


def test_the_compaction_finds_the_event_that_ends_a_call_and_no_other() -> None:
    def ends(event: str) -> bool:
        line = encode(EventRecord(NAME, {"at_seconds": 9.75, "event": event, "outcome": "served"}), WALL)
        found = _ANY.match(line)
        assert found is not None
        return _ENDED.match(line, found.end()) is not None

    assert ends("call.ended")
    assert not ends("call.ended_not")
    assert not ends("leg.left")


def test_the_short_line_of_an_ended_call_is_that_of_its_record() -> None:
    ended = encode(EventRecord(NAME, {"at_seconds": 9.75, "event": "call.ended"}), WALL)
    assert split_by_end(ended, 0.0, 1) == ([encode(EndedRecord(NAME), WALL).rstrip()], [])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b'{"wall":1,"kind":"ended"}',
        b'{"wall":"soon","kind":"ended","call":"0f8fad5b-d9cb-469f-a165-70867728950e"}',
        b'{"wall":1,"kind":"ended","call":"x"}',
        b'{"wall":1,"kind":"weather","call":"0f8fad5b-d9cb-469f-a165-70867728950e"}',
        b'{"wall":1,"kind":["ended"],"call":"0f8fad5b-d9cb-469f-a165-70867728950e"}',
        b'{"wall":1,"kind":"opened","call":"0f8fad5b-d9cb-469f-a165-70867728950e","extension":{}}',
    ],
)
def test_a_damaged_line_raises_what_callers_catch(line: bytes) -> None:
    with pytest.raises(DAMAGED):
        decode(line)


@pytest.mark.parametrize("name", ["written.journal", "rewritten.journal"])
def test_a_journal_of_an_earlier_version_is_read_and_would_be_written_alike(name: str) -> None:
    for line in lines(name):
        wall, _, record = decode(line)
        assert encode(record, wall) == line


@pytest.mark.parametrize("name", ["written.journal", "rewritten.journal"])
def test_a_journal_of_an_earlier_version_stands_for_the_same_calls(name: str) -> None:
    now = 1_769_854_532.206
    found = replay(lines(name), now)
    assert (found.damaged, list(found.ended)) == (0, [OTHER])
    (call,) = found.calls
    assert (call.call_id, call.extension, call.started_at) == (CALL, DEFAULT_EXTENSION, "2026-01-31T10:15:23.456Z")
    assert (call.started, call.changed, call.outcome) == (WALL, now - 1, "served")
    assert call.legs == {Role.VISITOR: SavedLeg("127.0.0.1:5000", 8080, 0.0)}
    assert [entry["event"] for entry in call.timeline] == [
        "call.started",
        "leg.joined",
        "leg.digit",
        "return.started",
        "return.attempt",
    ]
    assert call.states == {(Role.VISITOR, "menu"): {"page": 4}}
    (saved,) = call.returns
    assert (saved.state, saved.numbers, saved.until) == ("ringing", (), pytest.approx(now + 21))
    first, second = saved.attempts
    assert (first.number, first.end, first.began, first.ended) == (
        "101",
        "busy",
        pytest.approx(now - 7.5),
        pytest.approx(now - 4),
    )
    assert (second.number, second.attempt_id, second.end) == ("102", "0d9e", None)


def test_a_call_that_another_node_has_taken_over_is_gone_and_its_uuid_is_not_over() -> None:
    joined = {"at_seconds": 0.0, "event": "leg.joined", "role": "visitor", "peer": "127.0.0.1:1", "port": 8080}
    before: list[JournalRecord] = [
        OpenedRecord(NAME, DEFAULT_EXTENSION, ""),
        EventRecord(NAME, joined),
        MovedRecord(NAME),
    ]
    replayed = replay([encode(record, WALL) for record in before], WALL + 1)
    assert (replayed.calls, replayed.ended, replayed.damaged) == ((), {}, 0)


def test_the_call_of_another_machine_is_in_the_time_of_this_one() -> None:
    snapshot = next(record for record in RECORDS if isinstance(record, SnapshotRecord))
    call = call_from(encode(snapshot, WALL + 3_600).decode(), WALL)
    assert (call.call_id, call.changed) == (CALL, WALL)
    assert call.started == pytest.approx(WALL - 8 - 3_600)
    assert call.returns[0].until == pytest.approx(WALL + RETURN.until)


def test_only_a_snapshot_is_a_whole_call() -> None:
    with pytest.raises(DAMAGED):
        call_from(encode(EndedRecord(NAME), WALL).decode(), WALL)
