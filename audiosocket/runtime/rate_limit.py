"""A bound on how often the same kind of line is written: strangers must not be able to write our log full."""

from __future__ import annotations

from collections.abc import Callable


class RateLimit:
    """Lets ``most`` through per ``seconds``; what is held back is counted and told with the next one."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._began = clock()
        self._used = 0
        self._held_back = 0

    def take(self) -> bool:
        """True when one more may pass now."""
        now = self._clock()
        if now - self._began >= self._seconds:
            self._began, self._used = now, 0
        if self._used >= self._most:
            self._held_back += 1
            return False
        self._used += 1
        return True

    def told(self) -> int:
        """How many were held back since this was asked last."""
        held_back, self._held_back = self._held_back, 0
        return held_back
