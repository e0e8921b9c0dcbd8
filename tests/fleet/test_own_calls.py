"""Which calls are this node's, and what is written of them."""

from __future__ import annotations

from uuid import UUID

from audiosocket.calls.journal_records import EndedRecord, EventRecord, MovedRecord, OpenedRecord, OutcomeRecord
from audiosocket.calls.journal_replay import call_from
from audiosocket.extensions.model import DEFAULT_EXTENSION
from audiosocket.fleet.own_calls import NOT_ASKED, CallRow, OwnCalls

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
OTHER = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
WALL = 1_000.0


def begun(own: OwnCalls, call_id: UUID = CALL) -> None:
    own.change(WALL, OpenedRecord(str(call_id), DEFAULT_EXTENSION, "2026-01-31T10:15:23.456Z"))
    joined = {"at_seconds": 0.0, "event": "leg.joined", "role": "visitor", "peer": "127.0.0.1:1", "port": 8080}
    own.change(WALL, EventRecord(str(call_id), joined))


def with_call(epoch: int = 1) -> OwnCalls:
    own = OwnCalls()
    own.expect(CALL, epoch)
    begun(own)
    return own


def written(own: OwnCalls, epoch: int = 1) -> list[UUID]:
    rows = own.take(10)
    return own.written(rows, {row.call_id: epoch for row in rows})


def test_a_call_that_changes_often_is_written_once_as_it_is_then() -> None:
    own = with_call(7)
    own.change(WALL + 1, OutcomeRecord(str(CALL), "served"))
    (row,) = own.take(10)
    assert (row.epoch, row.extension_id, row.port) == (7, DEFAULT_EXTENSION.id, DEFAULT_EXTENSION.port)
    assert call_from(row.record, WALL).outcome == "served"
    assert own.take(10) == []


def test_a_call_that_began_while_nobody_could_be_asked_says_so() -> None:
    own = OwnCalls()
    own.expect(OTHER, 7)
    begun(own)
    assert own.take(10)[0].epoch == NOT_ASKED
    assert not own.inherited(CALL)


def test_an_end_is_written_and_then_forgotten() -> None:
    own = with_call()
    own.change(WALL + 1, EndedRecord(str(CALL)))
    (row,) = own.take(10)
    assert row.ended
    assert own.written([row], {CALL: 1}) == []
    assert CALL not in own


def test_a_row_that_is_refused_is_a_call_that_is_lost() -> None:
    own = with_call()
    rows = own.take(10)
    assert own.written(rows, {}) == [CALL]
    assert CALL not in own
    own.change(WALL + 1, MovedRecord(str(CALL)))
    own.change(WALL + 1, OutcomeRecord(str(CALL), "late"))
    assert own.take(10) == []


def test_the_end_of_a_call_that_another_node_has_is_not_taken_back() -> None:
    own = with_call()
    rows = own.take(10)
    own.change(WALL + 1, EndedRecord(str(CALL)))
    assert own.written(rows, {}) == []
    assert own.take(10) == []


def test_rows_that_were_not_written_wait_again_as_the_call_is_then() -> None:
    own = with_call()
    rows = own.take(10)
    own.change(WALL + 1, OutcomeRecord(str(CALL), "served"))
    own.failed(rows)
    (row,) = own.take(10)
    assert call_from(row.record, WALL).outcome == "served"
    own.change(WALL + 1, MovedRecord(str(CALL)))
    own.taken_over(CALL, 9)
    own.failed([row])
    assert own.waiting == 0


def test_what_finds_no_place_to_wait_is_counted() -> None:
    own = OwnCalls(most=1)
    begun(own)
    begun(own, OTHER)
    assert (own.waiting, own.dropped_total) == (1, 2)
    own.change(WALL + 1, EndedRecord(str(OTHER)))
    assert OTHER not in own
    written(own)
    own.rewrite()
    assert own.waiting == 1


def test_news_of_an_earlier_owner_changes_nothing() -> None:
    own = with_call(7)
    assert own.taken_over(CALL, 7) == own.taken_over(OTHER, 9) == []
    assert own.taken_over(CALL, 8) == [CALL]
    assert own.taken_over(CALL, 8) == []


def saved(call_id: UUID = CALL) -> tuple[CallRow, OwnCalls]:
    own = OwnCalls()
    begun(own, call_id)
    (row,) = own.take(1)
    return row, own


def test_what_a_restart_has_left_is_not_written_before_it_is_known_to_be_ours() -> None:
    own = OwnCalls()
    own.restore([call_from(saved()[0].record, WALL), call_from(saved(OTHER)[0].record, WALL)])
    own.restore([call_from(saved()[0].record, WALL)])
    own.rewrite()
    assert own.take(10) == []
    assert own.inherited(CALL)
    asked = own.unclaimed
    assert own.claimed([*asked, UUID(int=1)], {CALL: 4}, [OTHER]) == [OTHER]
    assert [(row.call_id, row.epoch) for row in own.take(10)] == [(CALL, 4)]
    assert own.unclaimed == []


def test_a_call_without_a_row_after_a_restart_gets_one() -> None:
    own = OwnCalls()
    own.restore([call_from(saved()[0].record, WALL)])
    assert own.claimed(own.unclaimed, {}, []) == []
    assert [row.epoch for row in own.take(10)] == [1]


def test_a_call_of_another_node_goes_on_at_its_new_epoch_and_authorises_nothing_alone() -> None:
    own = OwnCalls()
    own.adopt(call_from(saved()[0].record, WALL), 5)
    assert own.inherited(CALL)
    own.change(WALL + 1, OutcomeRecord(str(CALL), "served"))
    assert written(own, 5) == []
    begun(own)  # a new call with the same UUID, much later
    assert not own.inherited(CALL)
    stale = CallRow(CALL, 5)
    assert own.written([stale], {}) == []
    assert own.take(1)[0].epoch == NOT_ASKED


def test_rows_are_taken_in_batches() -> None:
    own = with_call()
    own.expect(OTHER, 1)
    begun(own, OTHER)
    assert [row.call_id for row in own.take(1)] == [CALL]
    assert [row.call_id for row in own.take(1)] == [OTHER]
    assert own.take(1) == []
