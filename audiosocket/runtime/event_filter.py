"""Which events a client that follows the server's events wants."""

from __future__ import annotations

from dataclasses import dataclass

from audiosocket.runtime.event_feed import FeedEntry


@dataclass(frozen=True)
class EventFilter:
    """Which events a client wants; an empty or missing value wants all.

    ``names`` are names of events or the parts before their dots, ``extension`` an id, ``call_id`` a UUID as text.
    """

    names: tuple[str, ...] = ()
    extension: int | None = None
    call_id: str = ""

    def wants(self, entry: FeedEntry) -> bool:
        """Return whether the client gets this event."""
        record = entry.fields
        name = str(record["event"])
        if self.names and name not in self.names and name.partition(".")[0] not in self.names:
            return False
        if self.extension is not None and record.get("extension") != self.extension:
            return False
        return not self.call_id or record.get("call_id") == self.call_id
