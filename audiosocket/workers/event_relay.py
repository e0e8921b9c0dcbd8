"""Workers' events, passed to the supervisor: it numbers them, and the API follows them there.

They are sent once per turn of the worker's reactor, in one message. Those that the supervisor does not read yet
are kept, up to as many as the supervisor itself would keep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from audiosocket.runtime.event_feed import RING, Record, rfc3339
from audiosocket.server.reactor import ServerReactor
from audiosocket.workers.channel import Channel


class EventsToSupervisor:
    """A sink of a worker's events. ``now`` is the time of day, in seconds."""

    def __init__(self, channel: Channel, reactor: ServerReactor, now: Callable[[], float]) -> None:
        self._channel = channel
        self._reactor = reactor
        self._now = now
        self._waiting: deque[Record] = deque(maxlen=RING)
        self._scheduled = False

    def __call__(self, record: Record) -> None:
        """Send the event by the end of this turn of the reactor."""
        self._waiting.append({"at": rfc3339(self._now()), **record})
        if not self._scheduled:
            self._scheduled = True
            self._reactor.callLater(0, self.flush)

    def flush(self) -> None:
        """Send what waits, if the supervisor reads it."""
        self._scheduled = False
        if self._waiting and self._channel.open and not self._channel.full:
            waiting, self._waiting = list(self._waiting), deque(maxlen=RING)
            self._channel.notify("events", events=waiting)
