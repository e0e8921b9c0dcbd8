"""Which legs do not know yet who is calling, and how they learn it: from AMI's events, else from a listing."""

from __future__ import annotations

from math import inf
from uuid import UUID

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from audiosocket.asterisk.ami.channels import ChannelTracker
from audiosocket.calls.leg import Leg
from audiosocket.extensions.model import Role

#: Seconds that an event may be behind the connection it announces.
EVENT_SECONDS = 0.3
#: Least time between two listings, in seconds; they take longer turns where they are long.
LIST_PAUSE_SECONDS = 1.0
#: Channels that are listed per second at most, on the average.
LISTED_PER_SECOND = 500

_Key = tuple[UUID, Role]


class CallerIdentification:
    """Tells each leg once who is calling, as soon as that is known; nobody waits for it.

    Usually the event is there before the leg. Where none comes within 0.3 s, the best guess counts; where there is
    no guess either, one listing answers for all legs that want one, and after it only AMI's own news do.
    """

    def __init__(self, channels: ChannelTracker, clock: IReactorTime) -> None:
        self._channels = channels
        self._clock = clock
        self._waiting: dict[_Key, Leg] = {}
        #: Those for which nobody has looked yet, in their order, and from when on that is due.
        self._due: dict[_Key, float] = {}
        self._next_listing = -inf
        self._timer: IDelayedCall | None = None
        channels.watch(self._channel_changed)

    def joined(self, leg: Leg) -> None:
        """A leg has a connection, its first or another one."""
        if leg.caller is not None or leg.connection is None:
            return
        key = leg.call_id, leg.role
        self._waiting[key] = leg
        self._due[key] = self._clock.seconds() + EVENT_SECONDS
        if not self._try(key):
            self._plan()

    def left(self, leg: Leg) -> None:
        """A leg is over."""
        self._forget((leg.call_id, leg.role))

    def _channel_changed(self, call_id: UUID | None) -> None:
        for key in list(self._waiting) if call_id is None else [(call_id, role) for role in Role]:
            self._try(key)

    def _try(self, key: _Key) -> bool:
        """Tells the leg if it can be told; a guess is made only once its event is overdue."""
        leg = self._waiting.get(key)
        if leg is None:
            return False
        port = leg.record.port
        found = self._channels.certain(leg.call_id, port)
        if found is None and key not in self._due:
            other_port = next((one for role, one in leg.extension.ports().items() if role is not leg.role), None)
            found = self._channels.find(leg.call_id, port, role=leg.role, other_port=other_port)
        if found is None:
            return False
        self._forget(key)
        leg.identify(found)
        return True

    def _forget(self, key: _Key) -> None:
        self._waiting.pop(key, None)
        self._due.pop(key, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        """Looks again when the first leg is due, and not before another listing may be made."""
        if self._due and self._timer is None:
            when = max(next(iter(self._due.values())), self._next_listing)
            self._timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        overdue = [key for key, due in self._due.items() if due <= now]
        for key in overdue:
            del self._due[key]
        unknown = [key for key in overdue if not self._try(key) and key in self._waiting]
        if unknown and self._channels.up:
            self._next_listing = now + max(LIST_PAUSE_SECONDS, self._channels.sizes[0] / LISTED_PER_SECOND)
            self._channels.listing()
        self._plan()
