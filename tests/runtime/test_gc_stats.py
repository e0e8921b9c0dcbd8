"""Pauses of the garbage collector: each is counted under its generation, the longest is kept."""

from __future__ import annotations

import gc

import pytest

from audiosocket.runtime import gc_stats
from audiosocket.runtime.gc_stats import GCStats


def test_collections_and_their_longest_pauses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.004, 2.0, 2.0271, 3.0, 3.01, 4.0])
    stats = GCStats()
    gc.disable()
    monkeypatch.setattr(gc_stats, "perf_counter", lambda: next(times))
    stats.start()
    stats.start()
    try:
        for generation in (0, 2, 2):
            gc.collect(generation)
    finally:
        stats.stop()
        gc.enable()
    assert stats.to_json() == {
        "collections": 3,
        "longest_ms": 27.1,
        "full_collections": 2,
        "longest_full_ms": 27.1,
        "frozen_objects": gc.get_freeze_count(),
    }
    assert stats.longest[0] == pytest.approx(0.004)


def test_frozen_objects_are_counted_twice_a_minute_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting them takes 5 ms or more, and the status may be requested every second for months."""
    now, counts = [1_000.0], iter([10, 20])
    monkeypatch.setattr(gc_stats, "perf_counter", lambda: now[0])
    monkeypatch.setattr(gc, "get_freeze_count", lambda: next(counts))
    stats = GCStats()
    seen = []
    for seconds in (0, 1, 58, 1, 60, 3_600):
        now[0] += seconds
        seen.append(stats.to_json()["frozen_objects"])
    assert seen == [10, 10, 10, 20, 20, 20]


def test_nothing_is_counted_before_the_start_and_after_the_stop() -> None:
    stats, callbacks = GCStats(), list(gc.callbacks)
    stats.stop()
    gc.collect()
    stats.start()
    assert len(gc.callbacks) == len(callbacks) + 1
    stats.stop()
    gc.collect()
    assert gc.callbacks == callbacks
    assert stats.collections[-1] == 0
