"""What is compared: figures, their targets, and the arithmetic of rounds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

#: What one run of the generator, or of another measurement, has found.
Sample = Mapping[str, float]
#: One round: a sample per contestant, taken one right after the other.
Round = Mapping[str, Sample]

OURS, C, ASYNCIO = "ours", "C", "asyncio"

#: Counts that are zero in a sample without fault.
FAULTS = ("refused", "died", "blocked", "lost", "missing", "altered", "repeated", "unknown", "skipped")


@dataclass(frozen=True)
class Target:
    """What a figure should reach, and what it should aim for; ``of`` is a contestant, or empty for no ratio."""

    of: str
    reach: float
    aim: float


@dataclass(frozen=True)
class Figure:
    """A number in every sample, by ``key``; ``more`` says whether more of it is better."""

    key: str
    title: str
    more: bool = True
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest over the rounds."""

    middle: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of the values; None of nothing."""
    return Spread(median(values), min(values), max(values)) if values else None


def values(rounds: Sequence[Round], contestant: str, key: str) -> list[float]:
    """A contestant's figure in the rounds that have it."""
    return [sample[key] for each in rounds if (sample := each.get(contestant)) and key in sample]


def ratios(rounds: Sequence[Round], key: str, of: str) -> list[float]:
    """Ours to another's, round by round: only what ran side by side is compared."""
    pairs = [
        (each[OURS][key], each[of][key])
        for each in rounds
        if OURS in each and of in each and key in each[OURS] and key in each[of]
    ]
    return [mine / other for mine, other in pairs if other]


def verdict(figure: Figure, target: Target, rounds: Sequence[Round]) -> str:
    """How the median compares with the target: "aim", "reached" or "missed"; empty when there is nothing.

    "not clean" when a run of ours had a fault: then only the count of that fault is judged.
    """
    found = spread(ratios(rounds, figure.key, target.of) if target.of else values(rounds, OURS, figure.key))
    if found is None:
        return ""
    if figure.key not in FAULTS and any(faults(each.get(OURS, {})) for each in rounds):
        return "not clean"
    for goal, word in ((target.aim, "aim"), (target.reach, "reached")):
        if found.middle >= goal if figure.more else found.middle <= goal:
            return word
    return "missed"


def faults(sample: Sample) -> list[str]:
    """What went wrong in a run, in words; a figure beside a fault is not worth much."""
    found = [f"{key} {sample[key]:.0f}" for key in FAULTS if sample.get(key)]
    if sample.get("connected", 0) < sample.get("calls", 0):
        found.insert(0, f"only {sample['connected']:.0f} of {sample['calls']:.0f} calls connected")
    return found


def disturbance(rounds: Sequence[Round]) -> Spread | None:
    """What work of others took while we measured, in percent of one processor; None where it is not known."""
    key = "others_percent"
    return spread([sample[key] for each in rounds for sample in each.values() if key in sample])


def to_json(figure: Figure, rounds: Sequence[Round]) -> dict[str, Any]:
    """Everything that is known of a figure, for programs."""
    contestants = list(dict.fromkeys(name for each in rounds for name in each))
    return {
        "key": figure.key,
        "title": figure.title,
        "values": {name: values(rounds, name, figure.key) for name in contestants},
        "ratios": {name: ratios(rounds, figure.key, name) for name in contestants if name != OURS},
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
