"""Who is calling: the channel of a UUID, found in Asterisk's own events without a line in the dialplan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from twisted.internet import defer

from audiosocket.asterisk.ami.channel_listing import NO_VALUE, ChannelListing, ask_dialled
from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.wire import Message
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX, parse_leg
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo

MAX_CALLS = 2_000
MAX_CHANNELS = 10_000
#: Channels kept for one UUID: a visitor's, a resident's, and some for a dialplan that uses a UUID again.
MAX_LEGS = 6

_SPECIAL_EXTENS = NO_VALUE | {"s", "h", "i", "t"}
#: The channels with one UUID by their ids, oldest first, each with the port it went to (0: not known).
_Legs: TypeAlias = "dict[str, tuple[int, _Channel]]"
_NONE: Mapping[str, tuple[int, _Channel]] = {}


@dataclass
class _Channel:
    channel_id: str
    name: str
    number: str = ""
    caller: str = ""
    dialled: str = ""
    bridge: str = ""
    alive: bool = True
    #: Asterisk was asked what it dialled and has not answered yet.
    asking: bool = False
    #: The call it belongs to; set for channels of the AudioSocket driver only.
    call_id: UUID | None = None
    #: The call that it went to; set for telephones only.
    leads_to: UUID | None = None

    @property
    def is_audiosocket(self) -> bool:
        return self.name.startswith("AudioSocket/")

    @property
    def is_ours(self) -> bool:
        return self.channel_id.startswith(CHANNEL_ID_PREFIX)

    @property
    def info(self) -> CallerInfo:
        return CallerInfo(self.name, self.channel_id, self.number, self.caller, self.dialled)


class ChannelTracker:
    """Keeps the live channels, and the callers of the latest calls.

    After a login the existing channels are listed, so that a restart of this server loses no caller. Events of
    the class ``dialplan`` show a caller at once; an account that may not read them learns of ``AudioSocket()``
    calls from a `listing` only, which needs ``write = reporting``. `CallerIdentification` requests those.
    """

    def __init__(self, ami: AMIClient, max_calls: int = MAX_CALLS, max_channels: int = MAX_CHANNELS) -> None:
        self._watchers: list[Callable[[UUID | None], object]] = []
        self._end_watchers: list[Callable[[], object]] = []
        #: All channels have been listed since the login.
        self._complete = False
        self._ami = ami
        self._listing = ChannelListing(ami, self._listed, lambda: self._changed(None))
        self._max_calls = max_calls
        self._max_channels = max_channels
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._calls: OrderedDict[UUID, _Legs] = OrderedDict()
        #: Channels of the AudioSocket driver, by the bridge they are in.
        self._media: dict[str, _Channel] = {}
        self._stops: list[Callable[[], None]] = [
            ami.listen(["Newchannel"], self._note),
            ami.listen(["NewCallerid"], self._caller_changed),
            ami.listen(["Newexten"], self._application_started),
            ami.listen(["VarSet"], self._variable_set),
            ami.listen(["DialBegin"], self._dialling),
            ami.listen(["BridgeEnter", "BridgeLeave"], self._bridged),
            ami.listen(["Hangup"], self._ended),
            ami.watch(self._connection_changed),
        ]
        if ami.state[0] == "up":
            self._connection_changed(True)

    def watch(self, watcher: Callable[[UUID | None], object]) -> None:
        """Call ``watcher`` with the UUID of a call when more is known of it, with None after a list of all."""
        self._watchers.append(watcher)

    def watch_ends(self, watcher: Callable[[], object]) -> None:
        """Call ``watcher`` when a channel has ended, and after each list of all; see `has_ended`."""
        self._end_watchers.append(watcher)

    def _changed(self, call_id: UUID | None) -> None:
        for watcher in self._watchers:
            watcher(call_id)

    def _some_ended(self) -> None:
        for watcher in self._end_watchers:
            watcher()

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of channels, and of calls, that are kept."""
        return len(self._channels), len(self._calls)

    def certain(self, call_id: UUID, port: int) -> CallerInfo | None:
        """Return the caller on the live channel that went to ``port`` with this UUID."""
        for its_port, channel in self._calls.get(call_id, _NONE).values():
            if its_port == port and channel.alive and not channel.asking:
                telephone = self._telephone(channel)
                if telephone is not None:
                    return telephone.info
        return None

    def find(
        self, call_id: UUID, port: int = 0, *, role: Role = Role.VISITOR, other_port: int | None = None
    ) -> CallerInfo | None:
        """Return the caller of this UUID as far as it is known, the best guess where nothing is certain.

        Visitor and resident share a UUID: ``port``, to which Asterisk connected, selects the leg, and a channel
        that went to ``other_port``, that of the other role, is never returned. Where Asterisk uses other ports
        because of NAT, the visitor is the oldest channel that this server did not originate, the resident one
        that it did. A channel of which Asterisk was asked what it dialled counts from the answer on, also for
        `certain`.
        """
        resident = role is Role.RESIDENT
        found = [
            (
                its_port != port,
                not channel.alive,
                channel.is_ours is not resident,
                channel.is_audiosocket,
                telephone,
            )
            for its_port, channel in self._calls.get(call_id, _NONE).values()
            if its_port == port or (its_port != other_port and (channel.is_ours or not resident))
            if not channel.asking
            if (telephone := self._telephone(channel)) is not None
        ]
        return min(found, key=lambda each: each[:-1])[-1].info if found else None

    def has_ended(self, channel_id: str, call_id: UUID, other_port: int | None) -> bool:
        """Return whether Asterisk has neither this channel nor another one that leads to this UUID.

        Channels that went to ``other_port``, that of the other role, do not count. False while that is not
        certain: AMI is down, the channels could not be listed, or there are more than are kept.
        """
        if not self.tells_ends:
            return False
        return channel_id not in self._channels and not any(
            channel.alive and its_port != other_port
            for its_port, channel in self._calls.get(call_id, _NONE).values()
        )

    @property
    def tells_ends(self) -> bool:
        """Whether the end of any channel is noticed at once."""
        return self.up and self._complete and len(self._channels) < self._max_channels

    @property
    def up(self) -> bool:
        """Whether Asterisk can be asked now."""
        return self._ami.state[0] == "up"

    def listing(self) -> defer.Deferred[None]:
        """List all channels; fires when they are known, after `LIST_SECONDS` at the latest."""
        return self._listing.request()

    def close(self) -> None:
        """Stop listening to events."""
        for stop in self._stops:
            stop()
        self._stops = []

    def _telephone(self, channel: _Channel) -> _Channel | None:
        """Return the channel itself, or the one that a channel of the AudioSocket driver is bridged with."""
        if not channel.is_audiosocket:
            return channel
        if not channel.bridge:
            return None
        return next(
            (
                each
                for each in self._channels.values()
                if each.bridge == channel.bridge and not each.is_audiosocket
            ),
            None,
        )

    def _legs(self, call_id: UUID) -> _Legs:
        legs = self._calls.get(call_id)
        if legs is None:
            legs = self._calls[call_id] = {}
            if len(self._calls) > self._max_calls:
                self._calls.popitem(last=False)
        return legs

    def _assign(self, channel: _Channel, leg: tuple[UUID, int] | None) -> None:
        """Note that this channel is, or leads to, that leg.

        The shipped dialplan checks with a UUID of zeros whether the server answers: that is no call.
        """
        if leg is None or not leg[0].int:
            return
        call_id, port = leg
        legs = self._legs(call_id)
        legs[channel.channel_id] = port, channel
        if len(legs) > MAX_LEGS:
            del legs[min(legs, key=lambda each: legs[each][1].alive)]
        if channel.is_audiosocket:
            channel.call_id = call_id
            return
        channel.leads_to = call_id
        if channel.dialled:
            self._changed(call_id)
        elif not channel.asking:  # the channel is older than the login: a call that resumes after a restart
            self._ask_dialled(channel, call_id)

    def _note(self, message: Message) -> _Channel:
        """Take what any event reports about its channel."""
        channel_id, name = message.get("Uniqueid"), message.get("Channel")
        channel = self._channels.get(channel_id)
        if channel is None:
            channel = self._channels[channel_id] = _Channel(channel_id, name)
            if len(self._channels) > self._max_channels:
                self._remove(next(iter(self._channels)))
            if channel.is_audiosocket:
                self._assign(channel, parse_leg(name))
        number, caller, exten = (message.get(key) for key in ("CallerIDNum", "CallerIDName", "Exten"))
        channel.number = channel.number if number in NO_VALUE else number
        channel.caller = channel.caller if caller in NO_VALUE else caller
        if not channel.dialled and exten not in _SPECIAL_EXTENS:
            channel.dialled = exten
        return channel

    def _caller_changed(self, message: Message) -> None:
        """Note another caller on a channel, as after an attended transfer: it then has the other's name, too."""
        channel = self._note(message)
        name = message.get("Channel")
        if not channel.is_audiosocket and name and not name.endswith("<ZOMBIE>"):
            channel.name = name
        media = self._media.get(channel.bridge)
        call_id = channel.leads_to if media is None else media.call_id
        if call_id is not None:
            self._changed(call_id)

    def _application_started(self, message: Message) -> None:
        if b"audiosocket" in message.raw.lower():
            leg = parse_leg(f"{message.get('Application')}({message.get('AppData')})")
            if leg is not None:
                self._assign(self._note(message), leg)

    def _variable_set(self, message: Message) -> None:
        if b"AUDIOSOCKET_UUID" in message.raw and message.get("Variable") == "AUDIOSOCKET_UUID":
            named = parse_leg(message.get("Channel"))
            leg = parse_leg(f"AudioSocket/:{named[1] if named else 0}/{message.get('Value')}")
            self._assign(self._note(message), leg)

    def _dialling(self, message: Message) -> None:
        if message.get("DestChannel").startswith("AudioSocket/") and message.get("Uniqueid"):
            # a channel's name is cut after 80 characters, the dial string is whole
            leg = parse_leg(f"AudioSocket/{message.get('DialString')}") or parse_leg(message.get("DestChannel"))
            self._assign(self._note(message), leg)

    def _bridged(self, message: Message) -> None:
        self._set_bridge(
            self._note(message), message.get("BridgeUniqueid") if message.event == "BridgeEnter" else ""
        )

    def _set_bridge(self, channel: _Channel, bridge: str) -> None:
        """Note that a channel entered this bridge, or left its own (empty)."""
        if channel.is_audiosocket:
            self._media.pop(channel.bridge, None)
            if bridge:
                self._media[bridge] = channel
        channel.bridge = bridge
        media = self._media.get(bridge)
        if media is not None and media.call_id is not None:
            self._changed(media.call_id)

    def _ended(self, message: Message) -> None:
        channel = self._channels.get(message.get("Uniqueid"))
        self._remove(message.get("Uniqueid"))
        if channel is not None and channel.leads_to is not None:
            self._changed(channel.leads_to)  # another telephone may have taken its place
        self._some_ended()

    def _remove(self, channel_id: str) -> None:
        channel = self._channels.pop(channel_id, None)
        if channel is not None:
            channel.alive = False
            if channel.is_audiosocket:
                self._media.pop(channel.bridge, None)

    def _connection_changed(self, up: bool) -> None:
        self._complete = False
        if up:
            self._listing.request(set(self._channels))  # some of them may have ended while AMI was down

    def _listed(self, channels: Sequence[Message], known: set[str]) -> None:
        """Take a list of all channels; those of ``known`` that it does not name have ended."""
        for message in channels:
            known.discard(message.get("Uniqueid"))
            channel = self._note(message)
            if message.get("BridgeId"):
                self._set_bridge(channel, message.get("BridgeId"))
            leg = parse_leg(f"{message.get('Application')}({message.get('ApplicationData')})")
            if leg is not None:
                self._assign(channel, leg)
        for channel_id in known:
            self._remove(channel_id)
        self._complete = True
        self._some_ended()

    def _ask_dialled(self, channel: _Channel, call_id: UUID) -> None:
        def answered(dialled: str) -> None:
            channel.asking = False
            channel.dialled = channel.dialled or dialled
            self._changed(call_id)

        channel.asking = True
        ask_dialled(self._ami, channel.channel_id).addCallback(answered)
