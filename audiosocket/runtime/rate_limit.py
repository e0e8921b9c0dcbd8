"""A limit on how often the same kind of log line is written: unauthenticated peers must not fill the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class RateLimit:
    """Allows ``most`` lines per ``seconds``, and counts the others. ``clock`` is steady, in seconds."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._period_start = clock()
        self._used = 0
        self._suppressed = 0

    def allow(self) -> bool:
        """Return whether one more line may be written now; count it as suppressed if not."""
        now = self._clock()
        if now - self._period_start >= self._seconds:
            self._period_start, self._used = now, 0
        if self._used >= self._most:
            self._suppressed += 1
            return False
        self._used += 1
        return True

    def take_suppressed(self) -> int:
        """Return how many lines were suppressed since the last call."""
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


class KeyedRateLimit:
    """A `RateLimit` for each key, such as a peer; of at most ``most_keys``, the oldest are forgotten."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float], most_keys: int = 1_000) -> None:
        self._make = lambda: RateLimit(most, seconds, clock)
        self._most_keys = most_keys
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()

    def of(self, key: str) -> RateLimit:
        """Return the limit of ``key``."""
        limit = self._limits.get(key)
        if limit is None:
            limit = self._limits[key] = self._make()
            if len(self._limits) > self._most_keys:
                self._limits.popitem(last=False)
        return limit
