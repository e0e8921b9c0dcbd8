"""Durations by name, counted in buckets; several processes' counts can be added."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from audiosocket.json_shapes import HistogramJSON

#: Upper bounds of the buckets, in milliseconds; the last bucket has none.
BOUNDS = (5, 10, 20, 40, 60, 100, 200, 400, 700, 1000, 1500, 2500, 5000, 10_000)
#: Names that are counted; further ones are dropped, as an app may make them up.
MAX_NAMES = 64


class Histograms:
    """Counts durations."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._worst: dict[str, float] = {}

    def measure(self, name: str, milliseconds: float) -> None:
        """Count one duration."""
        counts = self._counts.get(name)
        if counts is None:
            if len(self._counts) >= MAX_NAMES:
                return
            counts = self._counts[name] = [0] * (len(BOUNDS) + 1)
        counts[bisect_left(BOUNDS, milliseconds)] += 1
        self._sums[name] = self._sums.get(name, 0.0) + milliseconds
        self._worst[name] = max(self._worst.get(name, 0.0), milliseconds)

    def to_json(self) -> dict[str, HistogramJSON]:
        """Return all of them by name."""
        return {
            name: {
                "count": sum(counts),
                "sum_ms": round(self._sums[name], 1),
                "max_ms": round(self._worst[name], 1),
                "buckets": dict(zip([*map(str, BOUNDS), "inf"], counts, strict=True)),
            }
            for name, counts in self._counts.items()
        }


def add_histograms(several: Iterable[Mapping[str, HistogramJSON]]) -> dict[str, HistogramJSON]:
    """Return the sums of what several processes counted."""
    added: dict[str, HistogramJSON] = {}
    for each in several:
        for name, one in each.items():
            added[name] = _sum(added[name], one) if name in added else one
    return added


def _sum(one: HistogramJSON, other: HistogramJSON) -> HistogramJSON:
    return {
        "count": one["count"] + other["count"],
        "sum_ms": round(one["sum_ms"] + other["sum_ms"], 1),
        "max_ms": max(one["max_ms"], other["max_ms"]),
        "buckets": {bound: number + other["buckets"][bound] for bound, number in one["buckets"].items()},
    }
