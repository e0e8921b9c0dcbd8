"""How long to wait before trying an outside party again."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Pauses in seconds: ``first``, then doubled up to ``longest``, each times a random 0.8 to 1.2.

    The jitter keeps a fleet that lost the same server at the same moment from coming back at one.
    """

    def __init__(
        self,
        first: float = 0.5,
        longest: float = 15.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first
        self._longest = longest
        self._uniform = uniform
        self._next = first

    def pause(self) -> float:
        """The seconds to wait now; the next call answers about twice as many."""
        now = self._next
        self._next = min(self._longest, now * 2)
        return now * self._uniform(0.8, 1.2)

    def reset(self) -> None:
        """Begins again at ``first``: the other side has been well for a while."""
        self._next = self._first
