"""Full garbage collections: made while no leg is live, or when too much has accumulated."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock

from audiosocket.runtime import gc_policy
from audiosocket.runtime.gc_policy import (
    CHECK_SECONDS,
    GROWTH_BYTES,
    IDLE_SECONDS,
    MAX_PENDING,
    TRIM_SECONDS,
    YOUNG,
    GCPolicy,
)


class Cycle:
    """An object that refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


class PolicyFixture:
    """A policy, and whether a leg is live."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.busy = False
        #: Data that is kept for a limited time.
        self.kept: list[str] = []
        #: Memory of the process, in bytes.
        self.memory = 80_000_000
        self.policy = GCPolicy(self.clock, lambda: self.busy, self._forget, lambda: self.memory)

    def _forget(self) -> bool:
        any_kept = bool(self.kept)
        self.kept.clear()
        return any_kept

    def run(self, seconds: float) -> None:
        self.clock.pump([CHECK_SECONDS] * round(seconds / CHECK_SECONDS))


@pytest.fixture
def fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[PolicyFixture]:
    # Frozen garbage of other tests would be hidden from their own checks.
    monkeypatch.setattr(gc, "freeze", lambda: None)
    fixture = PolicyFixture()
    fixture.policy.startService()
    yield fixture
    fixture.policy.stopService()


def old_garbage(fixture: PolicyFixture) -> weakref.ref[Cycle]:
    """Return a cycle that has become garbage after it was moved to the oldest generation."""
    cycle = Cycle()
    gc.collect()
    gc.collect()
    fixture.run(CHECK_SECONDS)
    return weakref.ref(cycle)


def full_collections() -> int:
    count: int = gc.get_stats()[-1]["collections"]
    return count


def young_collections(count: int) -> None:
    for _ in range(count):
        gc.collect(0)


def test_old_cycles_are_collected_while_no_leg_is_live(fixture: PolicyFixture) -> None:
    lost = old_garbage(fixture)
    young_collections(1)
    fixture.run(IDLE_SECONDS - 3)
    assert lost() is not None
    fixture.run(4)
    assert lost() is None


def test_old_cycles_are_not_collected_while_a_leg_is_live_but_soon_after(fixture: PolicyFixture) -> None:
    lost = old_garbage(fixture)
    fixture.busy = True
    young_collections(1)
    fixture.run(10 * IDLE_SECONDS)
    before = full_collections()
    assert lost() is not None
    fixture.busy = False
    fixture.run(2 * CHECK_SECONDS)
    assert lost() is None
    assert full_collections() == before + 1


def test_memory_is_bounded_when_a_leg_is_always_live(fixture: PolicyFixture) -> None:
    fixture.busy = True
    lost = old_garbage(fixture)
    young_collections(MAX_PENDING // YOUNG - 1)
    fixture.run(10)
    assert lost() is not None
    young_collections(1)
    fixture.run(2)
    assert lost() is None


def test_nothing_is_collected_when_no_containers_were_made(fixture: PolicyFixture) -> None:
    gc.collect()
    before = full_collections()
    enabled = gc.isenabled()
    gc.disable()  # the test itself makes containers
    try:
        fixture.run(10 * IDLE_SECONDS)
    finally:
        if enabled:
            gc.enable()
    assert full_collections() == before


def test_data_that_is_kept_for_a_limited_time_is_dropped_while_no_leg_is_live(
    fixture: PolicyFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: list[float] = []
    monkeypatch.setattr(gc_policy, "_trim_memory", lambda: trimmed.append(fixture.clock.seconds()))
    fixture.busy = True
    fixture.kept.append("a call")
    fixture.run(2 * IDLE_SECONDS)
    assert fixture.kept == ["a call"]
    fixture.busy = False
    fixture.run(2 * CHECK_SECONDS)
    assert (fixture.kept, len(trimmed)) == ([], 1)
    fixture.kept.append("another")
    fixture.run(IDLE_SECONDS - 3)
    assert (fixture.kept, len(trimmed)) == ([], 1)
    fixture.run(4)
    assert len(trimmed) == 2


def test_memory_that_a_peak_left_is_returned_while_legs_are_live(
    fixture: PolicyFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: list[float] = []

    def trim() -> None:
        trimmed.append(fixture.clock.seconds())
        fixture.memory -= GROWTH_BYTES // 2

    monkeypatch.setattr(gc_policy, "_trim_memory", trim)
    fixture.busy = True
    fixture.run(3 * TRIM_SECONDS)
    fixture.memory += GROWTH_BYTES
    fixture.run(3 * TRIM_SECONDS)
    assert trimmed == []
    fixture.memory += 1
    fixture.run(TRIM_SECONDS)
    assert len(trimmed) == 1
    fixture.run(10 * TRIM_SECONDS)
    assert len(trimmed) == 1, "what is used is not tried again"
    fixture.memory += GROWTH_BYTES + 1
    fixture.run(TRIM_SECONDS)
    assert len(trimmed) == 2


def test_the_memory_of_this_process_is_known() -> None:
    assert gc_policy._resident() > 1_000_000


def test_the_objects_of_the_start_are_frozen_but_not_while_legs_are_live(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("all"))
    fixture = PolicyFixture()
    fixture.policy.startService()
    assert frozen == ["all"]
    fixture.busy = True
    fixture.policy.freeze()
    assert frozen == ["all"], "a leg that is frozen is never collected"
    fixture.busy = False
    fixture.policy.freeze()
    assert frozen == ["all", "all"]
    fixture.policy.stopService()


def test_a_stop_restores_the_thresholds_of_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)
    before = gc.get_threshold()
    fixture = PolicyFixture()
    fixture.policy.stopService()
    for _ in range(2):
        gc.disable()  # as `python -m audiosocket` does while it loads
        fixture.policy.startService()
        assert gc.isenabled()
        assert gc.get_threshold()[:2] == (YOUNG, gc_policy.MIDDLE)
        fixture.policy.stopService()
        assert gc.get_threshold() == before
        assert fixture.clock.getDelayedCalls() == []
