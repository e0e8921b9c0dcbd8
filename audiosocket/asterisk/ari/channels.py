"""Who is calling, and who has hung up, as ARI tells it: for servers that have no AMI."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from audiosocket.asterisk.ari.channel_events import parse_channel
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo
from audiosocket.outbound.http_client import Answer, RequestFailed

MAX_CALLS = 2_000
MAX_CHANNELS = 10_000
#: Channels kept for one UUID: a visitor's, a resident's, and some for a dialplan that uses a UUID again.
MAX_LEGS = 6

_NONE: Mapping[str, LegChannel] = {}


@dataclass(frozen=True)
class LegChannel:
    """A telephone's channel that went to ``port`` (0: not known) of this server."""

    info: CallerInfo
    port: int

    @property
    def is_ours(self) -> bool:
        """Whether this server created the channel, to reach a resident."""
        return self.info.channel_id.startswith(CHANNEL_ID_PREFIX)


class ARIChannels:
    """Keeps the channels that lead to this server; does for ARI what `ami.channels.ChannelTracker` does for AMI.

    ``ask`` sends a request to ARI, see `ARIOriginator.ask`; ``receives_events`` returns whether its events arrive,
    of which each is given to `received`. Asterisk is asked only about channels that are older than the connection
    for events. Not found are a telephone that is bridged with a channel of the AudioSocket driver, as
    ``externalMedia`` makes it, and one that takes another's place in an attended transfer.
    """

    _log = Logger()

    def __init__(
        self, ask: Callable[[str, str], Coroutine[Any, Any, Answer]], receives_events: Callable[[], bool]
    ) -> None:
        self._ask = ask
        self._receives_events = receives_events
        self._watchers: list[Callable[[UUID | None], object]] = []
        self._end_watchers: list[Callable[[], object]] = []
        #: The number that each channel dialled.
        self._dialled: OrderedDict[str, str] = OrderedDict()
        self._calls: OrderedDict[UUID, dict[str, LegChannel]] = OrderedDict()
        #: Channels that have ended, and those whose end will be reported.
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._followed: OrderedDict[str, None] = OrderedDict()
        #: Channels that Asterisk is being asked about, one after the other.
        self._asking: dict[str, None] = {}

    @property
    def watched(self) -> bool:
        """Whether anybody wants to know of channels."""
        return bool(self._watchers)

    @property
    def up(self) -> bool:
        """Whether events arrive now."""
        return self._receives_events()

    @property
    def tells_ends(self) -> bool:
        """Whether the end of a channel that leads to this server is noticed at once."""
        return self.up

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of channels, and of calls, that are kept."""
        return len(self._dialled), len(self._calls)

    def watch(self, watcher: Callable[[UUID | None], object]) -> None:
        """Call ``watcher`` with the UUID of a call when more is known of it."""
        self._watchers.append(watcher)

    def watch_ends(self, watcher: Callable[[], object]) -> None:
        """Call ``watcher`` when a channel has ended, and when events arrive again; see `has_ended`."""
        self._end_watchers.append(watcher)

    def listing(self) -> Deferred[None]:
        """Return at once: what the events did not tell, a list would not either."""
        return succeed(None)

    def certain(self, call_id: UUID, port: int) -> CallerInfo | None:
        """Return the caller on the live channel that went to ``port`` with this UUID."""
        live = (each for each in self._legs(call_id) if each.info.channel_id not in self._ended)
        return next((each.info for each in live if each.port == port), None)

    def find(
        self, call_id: UUID, port: int = 0, *, role: Role = Role.VISITOR, other_port: int | None = None
    ) -> CallerInfo | None:
        """Return the caller of this UUID, or the best guess; see `ami.channels.ChannelTracker.find`."""
        resident = role is Role.RESIDENT
        found = [
            (each.port != port, each.info.channel_id in self._ended, each.is_ours is not resident, each.info)
            for each in self._legs(call_id)
            if each.port == port or (each.port != other_port and (each.is_ours or not resident))
        ]
        return min(found, key=lambda each: each[:-1])[-1] if found else None

    def has_ended(self, channel_id: str, call_id: UUID, other_port: int | None) -> bool:
        """Return whether Asterisk has neither this channel nor another one that leads to this UUID.

        Channels that went to ``other_port``, that of the other role, do not count. False while that is not
        certain: Asterisk is then asked, and `watch_ends` tells the answer.
        """
        if not self.up:
            return False
        those = {channel_id} | {
            other for other, leg in self._calls.get(call_id, _NONE).items() if leg.port != other_port
        }
        for each in those:
            if each not in self._ended and each not in self._followed:
                self._look_up(each)
        return all(each in self._ended for each in those)

    def connected(self) -> None:
        """Note that events arrive from now on; before, some channels may have ended."""
        self._followed.clear()
        self._some_ended()

    def received(self, event: Mapping[str, Any]) -> None:
        """Take note of an event, which may be of any of Asterisk's channels."""
        found = parse_channel(event)
        if found is None:
            return
        if found.kind == "ChannelDestroyed":
            self._end(found.channel_id)
        elif found.kind == "ChannelCreated":
            _keep(self._dialled, found.channel_id, found.dialled, MAX_CHANNELS)
        elif found.leg is not None:
            call_id, port = found.leg
            info = CallerInfo(
                found.name,
                found.channel_id,
                found.number,
                found.caller,
                self._dialled.get(found.channel_id) or found.dialled,
            )
            self._assign(call_id, LegChannel(info, port))

    def _legs(self, call_id: UUID) -> list[LegChannel]:
        return list(self._calls.get(call_id, _NONE).values())

    def _assign(self, call_id: UUID, leg: LegChannel) -> None:
        channel_id = leg.info.channel_id
        legs = self._calls.get(call_id)
        if legs is None:
            legs = {}
            _keep(self._calls, call_id, legs, MAX_CALLS)
        legs[channel_id] = leg
        if len(legs) > MAX_LEGS:
            del legs[next(iter(legs))]
        _keep(self._followed, channel_id, None, MAX_CHANNELS)
        for watcher in self._watchers:
            watcher(call_id)

    def _end(self, channel_id: str) -> None:
        self._dialled.pop(channel_id, None)
        self._followed.pop(channel_id, None)
        _keep(self._ended, channel_id, None, MAX_CHANNELS)
        self._some_ended()

    def _some_ended(self) -> None:
        for watcher in self._end_watchers:
            watcher()

    def _look_up(self, channel_id: str) -> None:
        idle = not self._asking
        self._asking[channel_id] = None
        if idle:
            asking = Deferred.fromCoroutine(self._ask_all())
            asking.addErrback(lambda failure: self._log.failure("ARI's channels could not be asked for", failure))

    async def _ask_all(self) -> None:
        """Ask for one channel after the other: Asterisk serves only so many connections at a time."""
        try:
            while self._asking:
                channel_id = next(iter(self._asking))
                answer = await self._ask("GET", f"channels/{channel_id}")
                del self._asking[channel_id]
                if channel_id in self._ended:
                    continue
                if answer.status == 404 and b"Channel not found" in answer.body:
                    self._end(channel_id)
                elif answer.status == 200:
                    _keep(self._followed, channel_id, None, MAX_CHANNELS)
        except (RequestFailed, CancelledError) as problem:
            self._log.debug("ARI does not tell which channels there are: {why}", why=str(problem))
        finally:
            self._asking.clear()


def _keep(kept: OrderedDict[Any, Any], key: object, value: object, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)
