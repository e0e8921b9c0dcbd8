"""Identify the callers of legs, from the events of AMI or ARI, or else from AMI's listing of channels.

The same tells which callers have hung up while no server was running, or when a proxy has closed their connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import Protocol
from uuid import UUID

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from audiosocket.calls.call import CHANNEL, Call
from audiosocket.calls.leg import Leg
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo

#: How long the event of a channel may arrive after its connection, in seconds.
EVENT_SECONDS = 0.3
#: Minimum time between two listings, in seconds; more where there are many channels.
MIN_LIST_SECONDS = 1.0
#: Channels listed per second at most, on average.
MAX_LISTED_PER_SECOND = 500

_Key = tuple[UUID, Role]
#: Ends a suspended leg as one whose caller has hung up.
EndSuspended = Callable[[Call, Role], object]


class Channels(Protocol):
    """Asterisk's channels as far as they lead to this server: `ami.ChannelTracker`, or `ari.ARIChannels`."""

    @property
    def up(self) -> bool: ...

    @property
    def tells_ends(self) -> bool: ...

    @property
    def sizes(self) -> tuple[int, int]: ...

    def watch(self, watcher: Callable[[UUID | None], object]) -> None: ...

    def watch_ends(self, watcher: Callable[[], object]) -> None: ...

    def certain(self, call_id: UUID, port: int) -> CallerInfo | None: ...

    def find(
        self, call_id: UUID, port: int = 0, *, role: Role = Role.VISITOR, other_port: int | None = None
    ) -> CallerInfo | None: ...

    def has_ended(self, channel_id: str, call_id: UUID, other_port: int | None) -> bool: ...

    def listing(self) -> object: ...


class CallerIdentification:
    """Identifies the caller of each leg as soon as it is known, and again after a transfer; nothing waits.

    Usually the event arrives before the leg. Where none arrives within 0.3 s, the channel that matches best is
    taken; where none matches, one listing serves all legs that need it. After it only further events are used.
    """

    def __init__(self, channels: Channels, clock: IReactorTime) -> None:
        self._channels = channels
        self._clock = clock
        self._waiting: dict[_Key, Leg] = {}
        #: Legs whose caller is known and may be another one after a transfer.
        self._identified: dict[_Key, Leg] = {}
        #: Legs whose event may still arrive, in their order, and until when.
        self._due: dict[_Key, float] = {}
        self._next_listing = -inf
        self._timer: IDelayedCall | None = None
        self._departed = DepartedCallers(channels)
        channels.watch(self._channel_changed)

    def joined(self, leg: Leg) -> None:
        """Identify the caller of a leg that has got a connection, its first one or another."""
        if leg.caller is not None or leg.connection is None:
            return
        key = leg.call_id, leg.role
        self._waiting[key] = leg
        self._due[key] = self._clock.seconds() + EVENT_SECONDS
        if not self._try(key):
            self._schedule()

    def restored(self, calls: Iterable[Call], end: EndSuspended) -> None:
        """Call ``end`` with each suspended leg of ``calls`` whose caller has hung up, as soon as that is known."""
        self._departed.restored(calls, end)

    def suspended(self, call: Call, role: Role, end: EndSuspended) -> None:
        """Call ``end`` with this leg, which has lost its connection, if its caller has hung up or does so."""
        self._departed.suspended(call, role, end)

    def tells_end(self, leg: Leg) -> bool:
        """Return whether the end of the leg's channel is noticed at once: the channel is known, and followed."""
        return self._channels.tells_ends and isinstance(leg.call.states.get((leg.role, CHANNEL)), str)

    def left(self, leg: Leg) -> None:
        """Forget a leg that has ended."""
        self._forget((leg.call_id, leg.role))
        self._identified.pop((leg.call_id, leg.role), None)

    def _channel_changed(self, call_id: UUID | None) -> None:
        for key in [*self._waiting, *self._identified] if call_id is None else [(call_id, role) for role in Role]:
            if key in self._identified:
                self._look_again(key, self._identified[key])
            else:
                self._try(key)

    def _look_again(self, key: _Key, leg: Leg) -> None:
        """Report the telephone that a transfer has put in the place of the one that is known."""
        found = self._channels.certain(leg.call_id, leg.state.port)
        known = leg.caller
        if found is None or known is None:
            return
        found = replace(found, dialled=known.dialled or found.dialled)
        if found != known:
            leg.identify(found)

    def _try(self, key: _Key) -> bool:
        """Identify the leg if its caller is known; the best match is taken only once its event is overdue."""
        leg = self._waiting.get(key)
        if leg is None:
            return False
        port = leg.state.port
        found = self._channels.certain(leg.call_id, port)
        if found is None and key not in self._due:
            other_port = next((one for role, one in leg.extension.ports().items() if role is not leg.role), None)
            found = self._channels.find(leg.call_id, port, role=leg.role, other_port=other_port)
        if found is None:
            return False
        self._forget(key)
        self._identified[key] = leg
        leg.identify(found)
        return True

    def _forget(self, key: _Key) -> None:
        self._waiting.pop(key, None)
        self._due.pop(key, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        """Check again when the first leg is due, but not before another listing may be made."""
        if self._due and self._timer is None:
            when = max(next(iter(self._due.values())), self._next_listing)
            self._timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        overdue = [key for key, due in self._due.items() if due <= now]
        for key in overdue:
            del self._due[key]
        unknown = [key for key in overdue if not self._try(key) and key in self._waiting]
        if unknown and self._channels.up:
            self._next_listing = now + max(MIN_LIST_SECONDS, self._channels.sizes[0] / MAX_LISTED_PER_SECOND)
            self._channels.listing()
        self._schedule()


class DepartedCallers:
    """Ends the suspended legs whose channel no longer exists.

    The journal has the id of a leg's channel where AMI or ARI told it. Without them, or where AMI may not list the
    channels, a leg waits for its caller as long as calls may resume.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        #: Suspended legs whose channel is known, by its id, and what ends them.
        self._waiting: dict[str, tuple[Call, Role, EndSuspended]] = {}
        channels.watch_ends(self._check)

    def restored(self, calls: Iterable[Call], end: EndSuspended) -> None:
        """Watch the suspended legs of ``calls``, and call ``end`` with those whose channel has ended."""
        for call in calls:
            for leg in call.live_legs:
                if leg.suspended:
                    self._wait(call, leg.role, end)
        self._check()

    def suspended(self, call: Call, role: Role, end: EndSuspended) -> None:
        """Watch one suspended leg, and call ``end`` with it if its channel has ended, now or later."""
        self._wait(call, role, end)
        self._check()

    def _wait(self, call: Call, role: Role, end: EndSuspended) -> None:
        channel = call.states.get((role, CHANNEL))
        if isinstance(channel, str):
            self._waiting[channel] = call, role, end

    def _check(self) -> None:
        for channel, (call, role, end) in list(self._waiting.items()):
            if channel not in self._waiting:  # ended by what `has_ended` learned about another one
                continue
            leg = call.legs[role]
            waits = leg.outcome is None and (leg.suspended or leg.reconnecting)
            other_port = next((port for other, port in call.extension.ports().items() if other is not role), None)
            if waits and not self._channels.has_ended(channel, call.call_id, other_port):
                continue
            if self._waiting.pop(channel, None) is not None and waits:
                end(call, role)
