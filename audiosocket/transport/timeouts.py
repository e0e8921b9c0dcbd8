"""Time-outs without timers: who must be looked at when, cheap to set and to drop.

There are few different spans (5 s for a UUID, 2 s for a goodbye), so each span has its own queue, in which the
oldest is the next: setting, dropping and looking cost the same for one connection as for ten thousand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

#: A deadline is reached this much early, in seconds: the sum of two floats may be a hair more than their sum.
_HAIR = 1e-6


class TimeoutQueue:
    """Time-outs by key, one for each. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._queues: dict[float, OrderedDict[object, tuple[float, Callable[[], object]]]] = {}
        self._spans: dict[object, float] = {}

    def __len__(self) -> int:
        return len(self._spans)

    def set(self, key: object, at: float, span: float, then: Callable[[], object]) -> None:
        """``then`` is due ``at``, which is ``span`` from now; replaces what ``key`` had."""
        self.drop(key)
        self._queues.setdefault(span, OrderedDict())[key] = (at, then)
        self._spans[key] = span

    def drop(self, key: object) -> bool:
        """Forget the time-out of ``key``; false when it has none."""
        span = self._spans.pop(key, None)
        if span is None:
            return False
        del self._queues[span][key]
        return True

    def pop(self, now: float) -> Callable[[], object] | None:
        """Take out one that is due, or None."""
        for queue in self._queues.values():
            if queue:
                key, (at, then) = next(iter(queue.items()))
                if at <= now + _HAIR:
                    self.drop(key)
                    return then
        return None
