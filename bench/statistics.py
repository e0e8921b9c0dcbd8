"""Figures, their targets, and the statistics of rounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The result of one run of the generator or of another measurement.
Sample = Mapping[str, float]
#: One round: a sample for each server, measured one directly after the other.
Round = Mapping[str, Sample]

OURS, C, ASYNCIO = "ours", "C", "asyncio"

#: Counts that are zero in a sample without faults.
FAULTS = ("refused", "died", "blocked", "lost", "missing", "altered", "repeated", "unknown", "skipped")


@dataclass(frozen=True)
class Target:
    """The value a figure should reach, and the one to aim for; as a ratio to the server ``of``, if given."""

    of: str
    reach: float
    aim: float


@dataclass(frozen=True)
class Figure:
    """A number in every sample, by its ``key``; ``more`` is true where a larger one is better."""

    key: str
    title: str
    more: bool = True
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum over the rounds."""

    median: float
    minimum: float
    maximum: float


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread of the values, None without values."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def values(rounds: Sequence[Round], server: str, key: str) -> list[float]:
    """Return a server's figure in the rounds that have it."""
    return [sample[key] for each in rounds if (sample := each.get(server)) and key in sample]


def ratios(rounds: Sequence[Round], key: str, of: str) -> list[float]:
    """Return the ratio of our figure to that of another server in each round that has both."""
    pairs = [
        (each[OURS][key], each[of][key])
        for each in rounds
        if OURS in each and of in each and key in each[OURS] and key in each[of]
    ]
    return [own / other for own, other in pairs if other]


def verdict(figure: Figure, target: Target, rounds: Sequence[Round]) -> str:
    """Return how the median compares with the target: "aim", "reached" or "missed"; empty without values.

    "not clean" where a run of ours had a fault: then only the count of that fault is compared.
    """
    found = spread(ratios(rounds, figure.key, target.of) if target.of else values(rounds, OURS, figure.key))
    if found is None:
        return ""
    if figure.key not in FAULTS and any(faults(each.get(OURS, {})) for each in rounds):
        return "not clean"
    for goal, word in ((target.aim, "aim"), (target.reach, "reached")):
        if found.median >= goal if figure.more else found.median <= goal:
            return word
    return "missed"


def faults(sample: Sample) -> list[str]:
    """Return the faults of a run as text; the figures of a run with faults are not reliable."""
    found = [f"{key} {sample[key]:.0f}" for key in FAULTS if sample.get(key)]
    if sample.get("connected", 0) < sample.get("calls", 0):
        found.insert(0, f"only {sample['connected']:.0f} of {sample['calls']:.0f} calls connected")
    return found


def disturbance(rounds: Sequence[Round]) -> Spread | None:
    """Return what other processes used during the runs, in percent of one processor; None where unknown."""
    key = "others_percent"
    return spread([sample[key] for each in rounds for sample in each.values() if key in sample])


def to_json(figure: Figure, rounds: Sequence[Round]) -> dict[str, Any]:
    """Return all values of a figure for the JSON file."""
    servers = list(dict.fromkeys(name for each in rounds for name in each))
    return {
        "key": figure.key,
        "title": figure.title,
        "values": {name: values(rounds, name, figure.key) for name in servers},
        "ratios": {name: ratios(rounds, figure.key, name) for name in servers if name != OURS},
        "targets": [
            {
                "of": target.of,
                "reach": target.reach,
                "aim": target.aim,
                "verdict": verdict(figure, target, rounds),
            }
            for target in figure.targets
        ],
    }
