"""How often something may happen within a time. Pure."""

from __future__ import annotations


class Window:
    """Allows ``most`` events in each window of ``length_ms`` milliseconds."""

    def __init__(self, most: int, length_ms: float) -> None:
        self._most = most
        self._length_ms = length_ms
        self._began_ms = float("-inf")
        self._count = 0

    def allows(self, now_ms: float) -> bool:
        """Count one event; false when it is one too many."""
        if now_ms - self._began_ms >= self._length_ms:
            self._began_ms, self._count = now_ms, 0
        self._count += 1
        return self._count <= self._most
