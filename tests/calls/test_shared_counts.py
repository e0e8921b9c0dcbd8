"""Counts of several processes: each knows its own at once, and those of the others once it was told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.calls.call_limits import SharedCounts


def test_a_number_is_the_own_one_and_that_of_the_others() -> None:
    counts = SharedCounts()
    counts.change(("calls", "peer a"), 1)
    counts.learn({"calls": 5, "peer b": 4})
    assert [counts.number(key) for key in ("calls", "peer a", "peer b", "peer c")] == [6, 1, 4, 0]
    counts.learn({"calls": 0})
    counts.change(("calls",), -1)
    assert [counts.number(key) for key in ("calls", "peer a", "peer b")] == [0, 1, 4]


def test_changes_are_told_once_and_those_that_ended_too() -> None:
    told: list[str] = []
    counts = SharedCounts(lambda: told.append("changed"))
    counts.change(("calls", "peer a"), 1)
    counts.begun()
    assert len(told) == 2
    assert counts.take_changes() == ({"calls": 1, "peer a": 1}, 1)
    assert counts.take_changes() == ({}, 0)
    counts.change(("calls", "peer a"), -1)
    assert counts.take_changes() == ({"calls": 0, "peer a": 0}, 0)


def test_without_others_nothing_is_kept_of_what_has_ended() -> None:
    counts = SharedCounts()
    for number in range(100):
        counts.change((f"peer {number}",), 1)
        counts.begun()
        counts.change((f"peer {number}",), -1)
    assert counts.take_changes() == ({}, 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.booleans(), st.booleans())))
def test_processes_that_told_everything_agree(steps: list[tuple[int, str, bool, bool]]) -> None:
    processes = [SharedCounts(lambda: None) for _ in range(3)]
    live = [{key: 0 for key in "abc"} for _ in processes]
    told = [{key: 0 for key in "abc"} for _ in processes]

    def tell(index: int) -> None:
        told[index].update(processes[index].take_changes()[0])
        for other, counts in enumerate(processes):
            if other != index:
                sums = {key: sum(told[n][key] for n in range(3) if n != other) for key in "abc"}
                counts.learn(sums)

    for index, key, more, tells in steps:
        by = 1 if more or not live[index][key] else -1
        live[index][key] += by
        processes[index].change((key,), by)
        if tells:
            tell(index)
    for index in range(3):
        tell(index)
    for key in "abc":
        assert {counts.number(key) for counts in processes} == {sum(own[key] for own in live)}
