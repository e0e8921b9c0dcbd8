"""The rows that wait for PostgreSQL: the bound, what is replaced, batches, and what happens to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.fleet.writes import Statement, Writes, no_answer

FIRST, SECOND = Statement("first"), Statement("second")


def test_rows_of_one_statement_are_written_together_in_their_order() -> None:
    writes = Writes()
    for statement, row in ((FIRST, (1, "a")), (SECOND, (2,)), (FIRST, (3, "b"))):
        assert writes.add(statement, row)
    groups = writes.take()
    assert [(group.statement, group.rows) for group in groups] == [
        (FIRST, ((1, "a"), (3, "b"))),
        (SECOND, ((2,),)),
    ]
    assert groups[0].columns() == [[1, 3], ["a", "b"]]
    assert [each.rows for each in groups[0].single()] == [((1, "a"),), ((3, "b"),)]
    assert no_answer([]) is None  # type: ignore[func-returns-value]


def test_a_row_replaces_the_one_with_its_key_also_when_the_queue_is_full() -> None:
    writes = Writes(max_waiting=2)
    assert writes.add(FIRST, (1,), "x")
    assert writes.add(FIRST, (2,), "y")
    assert not writes.add(FIRST, (3,), "z")
    assert not writes.add(SECOND, (3,), "x")  # a key is one of its statement
    assert writes.add(FIRST, (4,), "x")
    assert [group.rows for group in writes.take()] == [((4,), (2,))]
    assert (writes.dropped, len(writes)) == (2, 2)


def test_the_taken_batch_counts_until_it_is_written() -> None:
    writes = Writes(max_waiting=3, max_batch=2)
    for number in range(3):
        writes.add(FIRST, (number,))
    assert [group.rows for group in writes.take()] == [((0,), (1,))]
    assert not writes.add(FIRST, (3,))
    writes.done(refused=1)
    assert (writes.written, writes.refused, len(writes)) == (1, 1, 1)
    assert [group.rows for group in writes.take()] == [((2,),)]
    writes.done()
    assert writes.take() == []


def test_what_is_put_back_comes_first_unless_it_was_replaced() -> None:
    writes = Writes()
    writes.add(FIRST, (1,), "x")
    writes.add(FIRST, (2,), "y")
    writes.take()
    writes.add(FIRST, (3,), "z")
    writes.add(FIRST, (4,), "x")
    writes.put_back()
    assert [group.rows for group in writes.take()] == [((2,), (3,), (4,))]


@given(st.lists(st.tuples(st.sampled_from("abct"), st.booleans()), max_size=60))
def test_no_row_is_lost_or_counted_twice(steps: list[tuple[str, bool]]) -> None:
    """Every row is written, dropped, waiting, or replaced by one with its key."""
    writes = Writes(max_waiting=4, max_batch=3)
    replaced = added = 0
    waiting: set[str] = set()
    for number, (what, success) in enumerate(steps):
        if what == "t":
            rows = [row for group in writes.take() for row in group.rows]
            keys = {row[1] for row in rows}
            waiting -= keys
            if success:
                writes.done()
            else:
                writes.put_back()
                waiting |= keys
        else:
            replaced += what in waiting
            added += 1
            if writes.add(FIRST, (number, what), what):
                waiting.add(what)
        assert len(writes) == len(waiting) <= 4
    assert writes.written + writes.dropped + replaced + len(writes) == added
