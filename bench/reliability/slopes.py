"""Samples of a process over time, and the straight line through them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One look at a process: hours since the first, memory in MB, open descriptors, threads."""

    hours: float
    memory_mb: float
    descriptors: int
    threads: int


#: The first part of a run is not in the slopes: caches fill, and the list of ended calls.
WARM_UP = 0.1


def settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples without those of the first tenth of the time."""
    after = samples[-1].hours * WARM_UP if samples else 0.0
    return [sample for sample in samples if sample.hours >= after]


def slope(hours: Sequence[float], values: Sequence[float]) -> float:
    """Return the growth per hour of the line of least squares; 0 for fewer than two different times."""
    if not hours:
        return 0.0
    mean_x, mean_y = sum(hours) / len(hours), sum(values) / len(values)
    spread = sum((x - mean_x) ** 2 for x in hours)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(hours, values, strict=True)) / spread


def slopes(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the growth per hour of memory, descriptors and threads after the first tenth of the time."""
    kept = settled(samples)
    hours = [sample.hours for sample in kept]
    return {
        "memory_mb_per_hour": round(slope(hours, [sample.memory_mb for sample in kept]), 3),
        "descriptors_per_hour": round(slope(hours, [sample.descriptors for sample in kept]), 3),
        "threads_per_hour": round(slope(hours, [sample.threads for sample in kept]), 3),
    }
