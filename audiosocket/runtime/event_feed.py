"""The latest events of the whole server, with ids, for clients that follow them and may come back after a cut."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property, lru_cache, partial
from typing import Any

#: Events that are kept.
RING = 1_000

Record = Mapping[str, Any]


@dataclass(eq=False)  # not frozen: that would triple the time to make one
class FeedEntry:
    """One event: its id, its ``fields`` with their ``event``, and when it was published, in seconds of the day.

    Nobody changes it.
    """

    id: int
    fields: Record
    published: float = 0.0

    @cached_property
    def record(self) -> Record:
        """``id``, ``at`` (RFC 3339 in UTC) and the fields; made when it is read, which most are never."""
        return {"id": self.id, **stamped(self.fields, self.published)}

    @cached_property
    def text(self) -> str:
        """The record as JSON, made once for all readers; what JSON cannot express becomes text."""
        return json.dumps(self.record, default=str, separators=(",", ":"))


class EventFeed:
    """A ring of the last `RING` events, and whoever follows.

    Ids begin at the time of the start in milliseconds and grow by 1, so that they do not repeat after a restart.
    ``now`` is the time of day, in seconds.
    """

    def __init__(self, now: Callable[[], float], ring: int = RING) -> None:
        self._now = now
        self._entries: deque[FeedEntry] = deque(maxlen=ring)
        self._followers: dict[int, tuple[Callable[[FeedEntry], object], frozenset[str] | None]] = {}
        #: The followers of each event that was published since somebody came or went.
        self._by_event: dict[str, tuple[Callable[[FeedEntry], object], ...]] = {}
        self._number = 0
        #: The id of the latest event.
        self.last_id = int(now() * 1000)

    def publish(self, record: Record) -> None:
        """Keep an event and give it to all followers; a record that was stamped before keeps its time."""
        self.last_id += 1
        entry = FeedEntry(self.last_id, record, self._now())
        self._entries.append(entry)
        event = record["event"]
        followers = self._by_event.get(event)
        if followers is None:
            wanted = [one for one, events in self._followers.values() if events is None or event in events]
            followers = self._by_event[event] = tuple(wanted)
        for follower in followers:
            follower(entry)

    def after(self, last: int) -> list[FeedEntry] | None:
        """Return the events after the id ``last``; None if not all are kept, or it is an id of no event."""
        if last == self.last_id:
            return []
        if not self._entries or not self._entries[0].id - 1 <= last < self.last_id:
            return None
        return [entry for entry in self._entries if entry.id > last]

    def latest(self) -> list[FeedEntry]:
        """Return all that are kept, the oldest first."""
        return list(self._entries)

    def since(self, seconds: float) -> list[Record]:
        """Return the events of the last ``seconds`` that are kept, the oldest first."""
        oldest = rfc3339(self._now() - seconds)
        return [entry.record for entry in self._entries if entry.record["at"] >= oldest]

    def follow(
        self, follower: Callable[[FeedEntry], object], events: frozenset[str] | None = None
    ) -> Callable[[], None]:
        """Call ``follower``, which must not raise, with each event from now on; return what ends that.

        ``events`` are the names of those it wants, None for all.
        """
        self._number += 1
        number = self._number
        self._followers[number] = (follower, events)
        self._by_event = {}
        return partial(self._leave, number)

    def _leave(self, number: int) -> None:
        self._followers.pop(number, None)
        self._by_event = {}


def stamped(record: Record, now: float) -> Record:
    """Return the record with ``at``, the time of day, unless it has it."""
    return record if "at" in record else {"at": rfc3339(now), **record}


def rfc3339(seconds: float) -> str:
    """Return a time of day as text in UTC, with milliseconds."""
    return f"{_second(int(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


@lru_cache(maxsize=4)
def _second(when: int) -> str:
    return datetime.fromtimestamp(when, timezone.utc).isoformat().removesuffix("+00:00")
