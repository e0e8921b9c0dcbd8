"""Totals of all workers that do not fall when a worker is replaced.

What a worker counted after it was asked last is lost with it; what it had reported stays counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from audiosocket.json_shapes import FleetCallsJSON, HistogramJSON, TrafficJSON, WorkerStatusJSON
from audiosocket.runtime.histograms import add_histograms


@dataclass
class Totals:
    """Counters since the start of the server."""

    calls: int = 0
    refused: int = 0
    late_turns: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, HistogramJSON] = field(default_factory=dict)
    timings: dict[str, HistogramJSON] = field(default_factory=dict)
    traffic: TrafficJSON = field(default_factory=lambda: add_traffic([]))
    #: None until a worker has answered that is part of a fleet; nothing waits in a worker that has ended.
    fleet_calls: FleetCallsJSON | None = None

    def add(self, answer: WorkerStatusJSON) -> None:
        """Add what one worker has counted."""
        self.calls += answer["calls_total"]
        self.refused += answer["refused_total"]
        self.late_turns += answer["late_turns_total"]
        self.rejected.update(answer["rejected_total"])
        self.limits.update(answer["limits_reached_total"])
        self.latencies = add_histograms([self.latencies, answer["latencies"]])
        self.timings = add_histograms([self.timings, answer["timings"]])
        self.traffic = add_traffic([self.traffic, answer["traffic"]])
        self.fleet_calls = add_fleet_calls(self.fleet_calls, answer["fleet_calls"])


def add_traffic(several: Sequence[TrafficJSON]) -> TrafficJSON:
    """Return the sums of what several processes counted."""
    return {
        "frames_in": _sums(each["frames_in"] for each in several),
        "frames_out": _sums(each["frames_out"] for each in several),
        "frames_late": sum(each["frames_late"] for each in several),
        "frames_dropped": _sums(each["frames_dropped"] for each in several),
        "protocol_errors": _sums(each["protocol_errors"] for each in several),
        "one_way": sum(each["one_way"] for each in several),
    }


def add_fleet_calls(one: FleetCallsJSON | None, other: FleetCallsJSON | None) -> FleetCallsJSON | None:
    """Return the sums of what two processes counted; None outside a fleet."""
    if one is None or other is None:
        return one or other
    return {
        "waiting": one["waiting"] + other["waiting"],
        "written_total": one["written_total"] + other["written_total"],
        "dropped_total": one["dropped_total"] + other["dropped_total"],
        "adopted_total": one["adopted_total"] + other["adopted_total"],
        "lost_total": one["lost_total"] + other["lost_total"],
        "unanswered_total": one["unanswered_total"] + other["unanswered_total"],
    }


def _sums(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in several:
        for name, number in each.items():
            sums[name] = sums.get(name, 0) + number
    return sums


class KeptTotals:
    """The last answer of each process that is a worker, and the sum of those that were."""

    def __init__(self) -> None:
        self._answers: dict[int, WorkerStatusJSON] = {}
        self._ended = Totals()

    def update(self, answers: Sequence[WorkerStatusJSON], pids: Iterable[int | None]) -> Totals:
        """Take the latest answers, of the processes ``pids``; return the totals."""
        running = set(pids)
        for pid in [pid for pid in self._answers if pid not in running]:
            self._ended.add(self._answers.pop(pid))
            if self._ended.fleet_calls is not None:
                self._ended.fleet_calls = {**self._ended.fleet_calls, "waiting": 0}
        self._answers.update({answer["pid"]: answer for answer in answers})
        totals = Totals(
            self._ended.calls,
            self._ended.refused,
            self._ended.late_turns,
            Counter(self._ended.rejected),
            Counter(self._ended.limits),
            dict(self._ended.latencies),
            dict(self._ended.timings),
            self._ended.traffic,
            self._ended.fleet_calls,
        )
        for answer in self._answers.values():
            totals.add(answer)
        return totals
