"""The model of a fleet: its sums, their limits, and the simulated loss of a node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import scale_model
from bench.scale_model import KINDS, Fleet, Kind, plan, seconds_until_back

fleets = st.builds(
    Fleet,
    kind=st.sampled_from(list(KINDS.values())),
    calls=st.integers(1, 3_000),
    seconds=st.floats(5, 600),
    cores=st.integers(2, 64),
    use=st.floats(0.3, 0.9),
)


@given(fleet=fleets)
def test_the_other_nodes_have_room_for_the_calls_of_one_that_is_lost(fleet: Fleet) -> None:
    found = plan(fleet)
    assert found.nodes >= 2
    others = (found.nodes - 1) * fleet.cores * fleet.use / fleet.kind.processor
    assert fleet.calls <= others
    assert found.calls_per_node * found.nodes >= fleet.calls


@given(fleet=fleets)
def test_more_calls_need_no_fewer_machines(fleet: Fleet) -> None:
    more = plan(Fleet(fleet.kind, fleet.calls * 2, fleet.seconds, fleet.cores, fleet.use))
    less = plan(fleet)
    assert (more.nodes, more.pairs, more.rows) >= (less.nodes, less.pairs, less.rows)


def test_sums_by_hand() -> None:
    kind = Kind("round", legs=1, processor=0.001, setup=0.001, memory=10, rows=3)
    found = plan(Fleet(kind, calls=1_000, seconds=100, cores=1, use=0.65, expire=900))
    # 650 calls in one: 577 usually, and three times the root of that. Two such, and one more.
    assert (found.nodes, found.calls_per_node) == (3, 334)
    assert (found.new_calls, found.rows, found.entries) == (10, 33, 10_000)
    assert found.pairs == 2  # 1,000 legs of 1 ms a second on 0.65 of a processor


def test_a_machine_without_room_for_a_call_is_an_error() -> None:
    with pytest.raises(ValueError, match="no room for a call of the kind heavy"):
        plan(Fleet(Kind("heavy", 1, processor=2.0, setup=1, memory=1, rows=1), calls=1, cores=1))


@given(fleet=fleets, seed=st.integers(0, 100))
def test_every_caller_of_a_lost_node_is_back_once_and_in_order(fleet: Fleet, seed: int) -> None:
    back = seconds_until_back(fleet, seed=seed)
    assert len(back) == plan(fleet).calls_per_node
    assert back == sorted(back)
    assert seconds_until_back(fleet, seed=seed) == back


def test_callers_wait_where_calls_are_dear_to_begin() -> None:
    dear = Kind("dear", legs=1, processor=0.001, setup=0.05, memory=1, rows=1)
    cheap = Kind("cheap", legs=1, processor=0.001, setup=0.0001, memory=1, rows=1)
    slow, quick = (seconds_until_back(Fleet(kind, 1_000, cores=2))[-1] for kind in (dear, cheap))
    assert slow > 1 > quick


def test_the_table_has_a_row_for_each_kind_and_number(capsys: pytest.CaptureFixture[str]) -> None:
    scale_model.main(["--calls", "100", "200", "--kind", "visit", "bot"])
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[:2] for row in rows[2:]] == [
        ["| visit", "100"],
        ["| visit", "200"],
        ["| bot", "100"],
        ["| bot", "200"],
    ]
