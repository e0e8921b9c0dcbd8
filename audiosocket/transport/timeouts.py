"""Time-outs without one timer each: cheap to set and to drop.

There are few different durations (5 s for a UUID, 2 s for closing), so each duration has its own queue, in
which the oldest entry is due first: setting, dropping and checking take the same time for one connection as for
ten thousand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

#: A time-out may fire this much early, in seconds: the sum of two floats may be rounded up.
_ROUNDING = 1e-6


class TimeoutQueue:
    """Time-outs, at most one for each key. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._queues: dict[float, OrderedDict[object, tuple[float, Callable[[], object]]]] = {}
        self._durations: dict[object, float] = {}

    def __len__(self) -> int:
        return len(self._durations)

    def set(self, key: object, at: float, duration: float, then: Callable[[], object]) -> None:
        """Make ``then`` due at ``at``, which is ``duration`` from now; replaces the time-out that ``key`` had."""
        self.drop(key)
        queue = self._queues.get(duration)
        if queue is None:
            queue = self._queues[duration] = OrderedDict()
        queue[key] = (at, then)
        self._durations[key] = duration

    def drop(self, key: object) -> bool:
        """Remove the time-out of ``key``; return false if it has none."""
        duration = self._durations.pop(key, None)
        if duration is None:
            return False
        del self._queues[duration][key]
        return True

    def pop(self, now: float) -> Callable[[], object] | None:
        """Remove one time-out that is due and return its callback, or None."""
        for queue in self._queues.values():
            if queue:
                key, (at, then) = next(iter(queue.items()))
                if at <= now + _ROUNDING:
                    self.drop(key)
                    return then
        return None
