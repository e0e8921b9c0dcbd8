"""The events that wait for the webhook: a bounded queue, cut into batches. Pure."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from audiosocket.runtime.event_feed import FeedEntry

#: Events that wait; beyond it the oldest are dropped.
MAX_WAITING = 10_000
#: Events in one request, and characters of their JSON; a single larger event is sent alone.
MAX_EVENTS = 100
MAX_CHARACTERS = 131_072


@dataclass(frozen=True)
class Batch:
    """What one request is about; the same events keep the same ``key``, however often they are sent."""

    entries: tuple[FeedEntry, ...]
    #: Events that were dropped since the last batch that was delivered.
    dropped: int

    @property
    def key(self) -> str:
        """The first and the last id."""
        return f"{self.entries[0].id}-{self.entries[-1].id}"

    def body(self, timestamp: int) -> bytes:
        """Return the body of a request that is sent at ``timestamp``, Unix time in seconds."""
        events = ",".join(entry.text for entry in self.entries)
        head = json.dumps({"batch": self.key, "dropped": self.dropped, "timestamp": timestamp})
        return f'{head[:-1]}, "events": [{events}]}}'.encode()


class Batches:
    """Events in the order in which they happened. One batch at a time is taken, and given up or delivered."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._waiting: deque[FeedEntry] = deque()
        self._max_waiting = max_waiting
        self._taken: Batch | None = None
        #: Events that were dropped and that no batch has reported yet.
        self._untold = 0
        #: Totals since the start.
        self.sent = 0
        self.dropped = 0

    def __len__(self) -> int:
        """Return the number of events that wait, those of the taken batch included."""
        return len(self._waiting) + (len(self._taken.entries) if self._taken is not None else 0)

    def add(self, entry: FeedEntry) -> None:
        """Append an event; beyond the limit the oldest that is not in the taken batch is dropped."""
        self._waiting.append(entry)
        if len(self) > self._max_waiting:
            self._waiting.popleft()
            self._drop(1)

    def take(self) -> Batch | None:
        """Return the batch to send now: the one that was not delivered, else a new one; None without events."""
        if self._taken is None and self._waiting:
            entries = [self._waiting.popleft()]
            size = len(entries[0].text)
            while self._waiting and len(entries) < MAX_EVENTS:
                size += len(self._waiting[0].text)
                if size > MAX_CHARACTERS:
                    break
                entries.append(self._waiting.popleft())
            self._taken = Batch(tuple(entries), self._untold)
        return self._taken

    def delivered(self) -> None:
        """Forget the taken batch: it has arrived."""
        if self._taken is not None:
            self.sent += len(self._taken.entries)
            self._untold -= self._taken.dropped
            self._taken = None

    def give_up(self) -> None:
        """Drop the taken batch: the webhook has rejected it for good."""
        if self._taken is not None:
            self._drop(len(self._taken.entries))
            self._taken = None

    def _drop(self, number: int) -> None:
        self.dropped += number
        self._untold += number
