"""How long to wait before the next attempt to reach a server."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Pauses in seconds: ``first``, then doubled up to ``longest``, each times a random 0.8 to 1.2.

    The random factor keeps clients that lost the same server at once from reconnecting at the same moment.
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
        """Return the seconds to wait now, and double those of the next call."""
        now = self._next
        self._next = min(self._longest, now * 2)
        return now * self._uniform(0.8, 1.2)

    def reset(self) -> None:
        """Begin again at ``first``."""
        self._next = self._first
