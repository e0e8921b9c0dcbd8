"""A torn line means the same to those who read the journal and to its compaction."""

from __future__ import annotations

from uuid import UUID

import pytest

from audiosocket.calls.journal_compaction import split_by_end
from audiosocket.calls.journal_records import EndedRecord, EventRecord, JournalRecord, OpenedRecord, encode
from audiosocket.calls.journal_replay import replay
from audiosocket.extensions.model import DEFAULT_EXTENSION

NOW = 1_000_000.0
CALL, OTHER = UUID(int=1, version=4), UUID(int=2, version=4)


def joined(call: UUID) -> EventRecord:
    peer = {"role": "visitor", "peer": "192.0.2.1:5000", "port": 8080}
    return EventRecord(str(call), {"at_seconds": 0.0, "event": "leg.joined", **peer})


def opened(call: UUID) -> OpenedRecord:
    return OpenedRecord(str(call), DEFAULT_EXTENSION, "")


def over(call: UUID) -> EventRecord:
    return EventRecord(str(call), {"at_seconds": 1.0, "event": "call.ended", "why": {"deep": {"er": 1}}})


#: Two calls, one of which is over; its UUID is used by two more calls, the last of which is going on.
RECORDS: list[JournalRecord] = [
    opened(CALL), joined(CALL), opened(OTHER), joined(OTHER), over(CALL),
    opened(CALL), joined(CALL), EndedRecord(str(CALL)), opened(CALL), joined(CALL),
]  # fmt: skip
LINES = [encode(record, NOW - 50 + number).rstrip(b"\n") for number, record in enumerate(RECORDS)]


def meaning(lines: list[bytes]) -> tuple[object, object]:
    found = replay(lines, NOW)
    return {call.call_id: call for call in found.calls}, found.ended


def compacted(lines: list[bytes]) -> tuple[object, object]:
    ended, going = split_by_end(b"\n".join(lines), NOW - 60, 100)
    return meaning(ended + going)


@pytest.mark.parametrize("torn", range(len(LINES)))
def test_a_journal_with_one_torn_line_means_the_same_after_compaction(torn: int) -> None:
    whole = len(LINES[torn])
    for length in {*range(0, whole, 9), whole - 2, whole - 1}:
        lines = [*LINES[:torn], LINES[torn][:length], *LINES[torn + 1 :]]
        for end in range(torn + 1, len(lines) + 1):
            assert compacted(lines[:end]) == meaning(lines[:end]), lines[torn]


def test_a_torn_end_does_not_end_a_call() -> None:
    lines = [LINES[0], LINES[1], LINES[4][:-1]]
    assert compacted(lines) == meaning(lines)
    assert [call.call_id for call in replay(lines, NOW).calls] == [CALL]


def test_a_call_whose_first_line_is_torn_is_over_when_its_end_is_there() -> None:
    """A second connection with its UUID is answered with a hangup, and begins no call."""
    lines = [LINES[0][:-1], LINES[1], LINES[4]]
    assert compacted(lines) == meaning(lines) == ({}, {CALL: 46.0})
