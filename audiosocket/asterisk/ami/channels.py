"""Who is calling: finds the channel of a UUID in Asterisk's own events, without a line in the dialplan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown, AMIRefused
from audiosocket.asterisk.ami.wire import Message
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX, parse_leg
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo

MAX_CALLS = 2_000
MAX_CHANNELS = 10_000
#: Channels kept for one UUID: a visitor's, a resident's, and what a careless dialplan adds.
MAX_LEGS = 6
LIST_SECONDS = 2.0

_NOTHING = frozenset({"", "<unknown>", "<null>"})
_SPECIAL_EXTENS = _NOTHING | {"s", "h", "i", "t"}
#: The channels with one UUID by their ids, oldest first, each with the port it went to (0: not told).
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
    #: The call it belongs to, known of AudioSocket's own channels.
    call_id: UUID | None = None

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
    """Knows the channels that live, and the callers of the latest calls.

    At a login the channels that are there already are listed, so a restart of ours loses nobody. Events of the
    class ``dialplan`` make a caller known at once; an account that may not read them learns of ``AudioSocket()``
    calls by a `listing` only, which needs ``write = reporting``. `Callers` asks for those.
    """

    _log = Logger()

    def __init__(self, ami: AMIClient, max_calls: int = MAX_CALLS, max_channels: int = MAX_CHANNELS) -> None:
        self._watchers: list[Callable[[UUID | None], object]] = []
        self._ami = ami
        self._max_calls = max_calls
        self._max_channels = max_channels
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._calls: OrderedDict[UUID, _Legs] = OrderedDict()
        #: AudioSocket's own channels by the bridge they are in.
        self._media: dict[str, _Channel] = {}
        self._not_listing = ""
        self._listing = False
        self._want_list: list[defer.Deferred[None]] = []
        self._stops: list[Callable[[], None]] = [
            ami.listen(["Newchannel", "NewCallerid"], self._note),
            ami.listen(["Newexten"], self._executed),
            ami.listen(["VarSet"], self._variable_set),
            ami.listen(["DialBegin"], self._dialling),
            ami.listen(["BridgeEnter", "BridgeLeave"], self._bridged),
            ami.listen(["Hangup"], self._ended),
            ami.watch(self._moved),
        ]
        if ami.state[0] == "up":
            self._moved(True)

    def watch(self, watcher: Callable[[UUID | None], object]) -> None:
        """Call ``watcher`` with the UUID of a call of which more is known, with None after a listing of all."""
        self._watchers.append(watcher)

    def _changed(self, call_id: UUID | None) -> None:
        for watcher in self._watchers:
            watcher(call_id)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many channels and how many calls are remembered."""
        return len(self._channels), len(self._calls)

    def certain(self, call_id: UUID, port: int) -> CallerInfo | None:
        """The caller on the living channel that went to ``port`` with this UUID."""
        for told, channel in self._calls.get(call_id, _NONE).values():
            if told == port and channel.alive and not channel.asking:
                telephone = self._telephone(channel)
                if telephone is not None:
                    return telephone.info
        return None

    def find(
        self, call_id: UUID, port: int = 0, *, role: Role = Role.VISITOR, other_port: int | None = None
    ) -> CallerInfo | None:
        """The caller of this UUID as far as is known now, the best guess where nothing is certain.

        Visitor and resident share a UUID: ``port``, the one Asterisk connected to, picks the leg, and a channel
        that went to ``other_port``, that of the other role, is never it. Where Asterisk was told other ports
        because of NAT, the visitor is the oldest that we did not originate, the resident one that we did. While
        Asterisk has not said yet what a channel dialled, neither this nor `certain` knows of it.
        """
        resident = role is Role.RESIDENT
        found = [
            (told != port, not channel.alive, channel.is_ours is not resident, channel.is_audiosocket, telephone)
            for told, channel in self._calls.get(call_id, _NONE).values()
            if told == port or (told != other_port and (channel.is_ours or not resident))
            if not channel.asking
            if (telephone := self._telephone(channel)) is not None
        ]
        return min(found, key=lambda one: one[:-1])[-1].info if found else None

    @property
    def up(self) -> bool:
        """Whether Asterisk can be asked now."""
        return self._ami.state[0] == "up"

    def listing(self) -> defer.Deferred[None]:
        """Asks for all channels; fires when they are known, 2 s after the question at the latest."""
        return self._list()

    def close(self) -> None:
        """Stops listening."""
        for stop in self._stops:
            stop()
        self._stops = []

    def _telephone(self, channel: _Channel) -> _Channel | None:
        """The channel itself, or the one that an AudioSocket channel is bridged with."""
        if not channel.is_audiosocket:
            return channel
        if not channel.bridge:
            return None
        return next(
            (one for one in self._channels.values() if one.bridge == channel.bridge and not one.is_audiosocket),
            None,
        )

    def _legs(self, call_id: UUID) -> _Legs:
        legs = self._calls.get(call_id)
        if legs is None:
            legs = self._calls[call_id] = {}
            if len(self._calls) > self._max_calls:
                self._calls.popitem(last=False)
        return legs

    def _belongs(self, channel: _Channel, leg: tuple[UUID, int] | None) -> None:
        """This channel is, or leads to, that leg.

        The shipped dialplan looks with a UUID of zeros whether the server is there: that is no call.
        """
        if leg is None or not leg[0].int:
            return
        call_id, port = leg
        legs = self._legs(call_id)
        legs[channel.channel_id] = port, channel
        if len(legs) > MAX_LEGS:
            del legs[min(legs, key=lambda one: legs[one][1].alive)]
        if channel.is_audiosocket:
            channel.call_id = call_id
        elif channel.dialled:
            self._changed(call_id)
        elif not channel.asking:  # it was there before us: a call that comes back after a restart
            self._ask_dialled(channel, call_id)

    def _note(self, message: Message) -> _Channel:
        """What any event says about the channel it names."""
        channel_id, name = message.get("Uniqueid"), message.get("Channel")
        channel = self._channels.get(channel_id)
        if channel is None:
            channel = self._channels[channel_id] = _Channel(channel_id, name)
            if len(self._channels) > self._max_channels:
                self._gone(next(iter(self._channels)))
            if channel.is_audiosocket:
                self._belongs(channel, parse_leg(name))
        number, caller, exten = (message.get(key) for key in ("CallerIDNum", "CallerIDName", "Exten"))
        channel.number = channel.number if number in _NOTHING else number
        channel.caller = channel.caller if caller in _NOTHING else caller
        if not channel.dialled and exten not in _SPECIAL_EXTENS:
            channel.dialled = exten
        return channel

    def _executed(self, message: Message) -> None:
        if b"audiosocket" in message.raw.lower():
            leg = parse_leg(f"{message.get('Application')}({message.get('AppData')})")
            if leg is not None:
                self._belongs(self._note(message), leg)

    def _variable_set(self, message: Message) -> None:
        if b"AUDIOSOCKET_UUID" in message.raw and message.get("Variable") == "AUDIOSOCKET_UUID":
            named = parse_leg(message.get("Channel"))
            told = parse_leg(f"AudioSocket/:{named[1] if named else 0}/{message.get('Value')}")
            self._belongs(self._note(message), told)

    def _dialling(self, message: Message) -> None:
        if message.get("DestChannel").startswith("AudioSocket/") and message.get("Uniqueid"):
            # a channel's name is cut after 80 characters, the dial string is whole
            leg = parse_leg(f"AudioSocket/{message.get('DialString')}") or parse_leg(message.get("DestChannel"))
            self._belongs(self._note(message), leg)

    def _bridged(self, message: Message) -> None:
        self._put(self._note(message), message.get("BridgeUniqueid") if message.event == "BridgeEnter" else "")

    def _put(self, channel: _Channel, bridge: str) -> None:
        """Into this bridge, or out of any."""
        if channel.is_audiosocket:
            self._media.pop(channel.bridge, None)
            if bridge:
                self._media[bridge] = channel
        channel.bridge = bridge
        media = self._media.get(bridge)
        if media is not None and media.call_id is not None:
            self._changed(media.call_id)

    def _ended(self, message: Message) -> None:
        self._gone(message.get("Uniqueid"))

    def _gone(self, channel_id: str) -> None:
        channel = self._channels.pop(channel_id, None)
        if channel is not None:
            channel.alive = False
            if channel.is_audiosocket:
                self._media.pop(channel.bridge, None)

    def _moved(self, up: bool) -> None:
        if up:
            before = set(self._channels)  # some of them may have ended while AMI was away
            self._list(before)

    def _list(self, suspects: set[str] | None = None) -> defer.Deferred[None]:
        """Fires after a listing that began now or later; ``suspects`` are gone if it does not name them."""
        listed: defer.Deferred[None] = defer.Deferred()
        self._want_list.append(listed)
        if not self._listing:
            self._begin_listing(suspects or set())
        return listed

    def _begin_listing(self, suspects: set[str]) -> None:
        self._listing = True
        wanted, self._want_list = self._want_list, []

        def done(_: object) -> None:
            self._listing = False
            for one in wanted:
                if not one.called:
                    one.callback(None)
            if self._want_list:
                self._begin_listing(set())
            self._changed(None)

        asked = self._ami.collect("CoreShowChannels", seconds=LIST_SECONDS)
        noted = asked.addCallback(self._listed, suspects).addErrback(self._not_listed)
        noted.addErrback(lambda failure: self._log.failure("a list of channels was not understood", failure))
        noted.addCallback(done)

    def _listed(self, channels: Sequence[Message], suspects: set[str]) -> None:
        for message in channels:
            suspects.discard(message.get("Uniqueid"))
            channel = self._note(message)
            if message.get("BridgeId"):
                self._put(channel, message.get("BridgeId"))
            leg = parse_leg(f"{message.get('Application')}({message.get('ApplicationData')})")
            if leg is not None:
                self._belongs(channel, leg)
        for channel_id in suspects:
            self._gone(channel_id)
        self._not_listing = ""

    def _ask_dialled(self, channel: _Channel, call_id: UUID) -> None:
        """The extension at which a channel is now need not be the one that was dialled."""

        def answered(message: Message) -> None:
            if not channel.dialled and message.get("Value") not in _NOTHING:
                channel.dialled = message.get("Value")

        def done(_: object) -> None:
            channel.asking = False
            self._changed(call_id)

        channel.asking = True
        fields = [("Channel", channel.channel_id), ("Variable", "CALLERID(dnid)")]
        asked = self._ami.ask("Getvar", fields).addCallback(answered).addErrback(self._not_told)
        asked.addCallback(done)

    def _not_listed(self, failure: Failure) -> None:
        failure.trap(AMIDown, AMIRefused)
        reason = failure.getErrorMessage()
        if reason != self._not_listing:  # an account that may not list is asked as often as callers come
            self._log.warn("AMI does not list the channels: {reason}", reason=reason)
        self._not_listing = reason

    def _not_told(self, failure: Failure) -> None:
        failure.trap(AMIDown, AMIRefused)
        self._log.debug("AMI does not tell the dialled number: {reason}", reason=failure.getErrorMessage())
