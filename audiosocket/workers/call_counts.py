"""The live calls of all workers, by what they are limited by: each worker refuses on the sum.

A worker sends what has changed at the end of its turn, at most every `SHARE_SECONDS`; the supervisor passes it
on at once. So the workers together may exceed a limit by what the others begin within that time and on the way. Of
the calls per second, that is made up for afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from audiosocket.calls.call_limits import SharedCounts
from audiosocket.workers.channel import Channel

#: Interval between two messages of a worker, in seconds.
SHARE_SECONDS = 0.02


class CountsToSupervisor:
    """Sends a worker's changes to the supervisor."""

    def __init__(self, channel: Channel, counts: SharedCounts, clock: IReactorTime) -> None:
        self._channel = channel
        self._counts = counts
        self._clock = clock
        self._sent_at = 0.0
        self._next: IDelayedCall | None = None
        counts.changed = self._changed

    def _changed(self) -> None:
        if self._next is None:
            wait = self._sent_at + SHARE_SECONDS - self._clock.seconds()
            self._next = self._clock.callLater(max(0.0, wait), self._send)

    def _send(self) -> None:
        self._next = None
        self._sent_at = self._clock.seconds()
        if self._channel.full:
            self._changed()
            return
        numbers, begun = self._counts.take_changes()
        self._channel.notify("counts", numbers=numbers, begun=begun)


class WorkerCounts:
    """The numbers that each of ``count`` workers has reported."""

    def __init__(self, count: int) -> None:
        self._of: list[dict[str, int]] = [{} for _ in range(count)]
        self._sums: Counter[str] = Counter()

    def update(self, index: int, numbers: Mapping[str, int]) -> None:
        """Take numbers that have changed at a worker."""
        own = self._of[index]
        for key, number in numbers.items():
            self._sums[key] += number - own.pop(key, 0)
            if number:
                own[key] = number
            if not self._sums[key]:
                del self._sums[key]

    def forget(self, index: int) -> list[str]:
        """Drop the numbers of a worker that is gone; return their keys."""
        keys = list(self._of[index])
        self.update(index, dict.fromkeys(keys, 0))
        return keys

    def of_others(self, index: int, keys: Iterable[str] | None = None) -> dict[str, int]:
        """Return the sums of all workers but this one, of all keys or of ``keys``."""
        own = self._of[index]
        return {key: self._sums[key] - own.get(key, 0) for key in (list(self._sums) if keys is None else keys)}
