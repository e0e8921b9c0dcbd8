"""Garbage: cycles are collected in the end, but never a full collection while somebody might hear it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from audiosocket.runtime import gc_policy as garbage
from audiosocket.runtime.gc_policy import LOOK_SECONDS, QUIET_SECONDS, TOO_MUCH, YOUNG, GCPolicy


class Leg:
    """Garbage that only a collector frees: it knows itself."""

    def __init__(self) -> None:
        self.me = self


class Line:
    """A policy, and whether somebody is on the phone."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.busy = False
        #: What is remembered for a time only.
        self.remembered: list[str] = []
        self.policy = GCPolicy(self.clock, lambda: self.busy, self._forget)

    def _forget(self) -> bool:
        there = bool(self.remembered)
        self.remembered.clear()
        return there

    def run(self, seconds: float) -> None:
        self.clock.pump([LOOK_SECONDS] * round(seconds / LOOK_SECONDS))


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    # Freezing for good what the tests before have left would hide their garbage from their own checks.
    monkeypatch.setattr(gc, "freeze", lambda: None)
    line = Line()
    line.policy.startService()
    yield line
    line.policy.stopService()


def old_garbage(line: Line) -> weakref.ref[Leg]:
    """A cycle that has become garbage after it was found alive often enough to be called old."""
    leg = Leg()
    gc.collect()
    gc.collect()
    line.run(LOOK_SECONDS)
    return weakref.ref(leg)


def full_collections() -> int:
    count: int = gc.get_stats()[-1]["collections"]
    return count


def young_collections(count: int) -> None:
    for _ in range(count):
        gc.collect(0)


def test_old_cycles_are_collected_when_nobody_is_there(line: Line) -> None:
    lost = old_garbage(line)
    young_collections(1)
    line.run(QUIET_SECONDS - 3)
    assert lost() is not None
    line.run(4)
    assert lost() is None


def test_not_while_somebody_is_there_but_soon_after(line: Line) -> None:
    lost = old_garbage(line)
    line.busy = True
    young_collections(1)
    line.run(10 * QUIET_SECONDS)
    before = full_collections()
    assert lost() is not None
    line.busy = False
    line.run(2 * LOOK_SECONDS)
    assert lost() is None
    assert full_collections() == before + 1


def test_when_there_is_always_somebody_memory_is_bounded_all_the_same(line: Line) -> None:
    line.busy = True
    lost = old_garbage(line)
    young_collections(TOO_MUCH // YOUNG - 1)
    line.run(10)
    assert lost() is not None
    young_collections(1)
    line.run(2)
    assert lost() is None


def test_where_nothing_happens_nothing_is_collected(line: Line) -> None:
    gc.collect()
    before = full_collections()
    enabled = gc.isenabled()
    gc.disable()  # the test itself makes containers
    try:
        line.run(10 * QUIET_SECONDS)
    finally:
        if enabled:
            gc.enable()
    assert full_collections() == before


def test_what_was_remembered_for_a_time_goes_when_nobody_is_there(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[float] = []
    monkeypatch.setattr(garbage, "_give_back", lambda: given_back.append(line.clock.seconds()))
    line.busy = True
    line.remembered.append("a call")
    line.run(2 * QUIET_SECONDS)
    assert line.remembered == ["a call"]
    line.busy = False
    line.run(2 * LOOK_SECONDS)
    assert (line.remembered, len(given_back)) == ([], 1)
    line.remembered.append("another")
    line.run(QUIET_SECONDS - 3)
    assert (line.remembered, len(given_back)) == ([], 1)
    line.run(4)
    assert len(given_back) == 2


def test_what_is_there_at_the_start_is_frozen_but_not_while_legs_are_live(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("all"))
    line = Line()
    line.policy.startService()
    assert frozen == ["all"]
    line.busy = True
    line.policy.settle()
    assert frozen == ["all"], "a leg that is frozen is never collected"
    line.busy = False
    line.policy.settle()
    assert frozen == ["all", "all"]
    line.policy.stopService()


def test_the_collector_is_as_before_when_the_policy_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)
    before = gc.get_threshold()
    line = Line()
    line.policy.stopService()
    for _ in range(2):
        gc.disable()  # as `python -m audiosocket` does while it loads
        line.policy.startService()
        assert gc.isenabled()
        assert gc.get_threshold()[:2] == (YOUNG, garbage.MIDDLE)
        line.policy.stopService()
        assert gc.get_threshold() == before
        assert line.clock.getDelayedCalls() == []
