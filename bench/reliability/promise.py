"""A promise of the server, how it is tried, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """What a promise is tried with: random numbers of its own, and whether there is time for many."""

    random: random.Random
    long: bool = False

    def times(self, short: int, long: int) -> int:
        """Return how often something is to be done."""
        return long if self.long else short


@dataclass
class Count:
    """How often a promise was tried and broken; ``notes`` are for people."""

    tried: int = 0
    broken: int = 0
    notes: str = ""

    def add(self, kept: bool, note: str = "") -> None:
        """Count one trial; only the first notes are kept."""
        self.tried += 1
        self.broken += not kept
        if not kept and note and len(self.notes) < 500:
            self.notes += f"{note}; "


@dataclass(frozen=True)
class Promise:
    """``key`` is its number, R1 to R21; without ``measure`` it is not tried, for the reason ``why_not``."""

    key: str
    text: str
    measure: Callable[[Trial], Count] | None = None
    why_not: str = ""
