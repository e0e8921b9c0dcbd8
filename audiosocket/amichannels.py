"""Who is calling: finds the channel of a UUID in Asterisk's own events, without a line in the dialplan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.ami import Ami
from audiosocket.amileg import leg_in
from audiosocket.amioriginate import CHANNEL_ID_PREFIX
from audiosocket.amisession import AmiDown, AmiRefused
from audiosocket.amiwire import Message

MAX_CALLS = 2_000
MAX_CHANNELS = 10_000
#: Channels kept for one UUID: a visitor's, a resident's, and what a careless dialplan adds.
MAX_LEGS = 6
#: Seconds that an event may be behind the connection it announces.
EVENT_SECONDS = 0.3
LIST_SECONDS = 2.0

_NOTHING = frozenset({"", "<unknown>", "<null>"})
_SPECIAL_EXTENS = _NOTHING | {"s", "h", "i", "t"}


@dataclass(frozen=True)
class CallerInfo:
    """The telephone behind a leg. Texts are Asterisk's, empty when it does not know."""

    channel: str
    channel_id: str
    number: str
    name: str
    dialled: str


@dataclass
class _Channel:
    channel_id: str
    name: str
    number: str = ""
    caller: str = ""
    dialled: str = ""
    bridge: str = ""
    alive: bool = True

    @property
    def is_audiosocket(self) -> bool:
        return self.name.startswith("AudioSocket/")

    @property
    def is_ours(self) -> bool:
        return self.channel_id.startswith(CHANNEL_ID_PREFIX)


@dataclass
class _Call:
    """The channels with one UUID, oldest first, each with the port it went to (0: not told)."""

    legs: dict[str, tuple[int, _Channel]] = field(default_factory=dict)
    waiting: list[defer.Deferred[None]] = field(default_factory=list)


class CallChannels:
    """Knows the channels that live, and the callers of the latest calls.

    At a login the channels that are there already are listed, so a restart of ours loses nobody. Events of the
    class ``dialplan`` make a caller known at once; an account that may not read them costs a listing, which needs
    ``write = reporting``, for each `look_up` of an ``AudioSocket()`` call.
    """

    _log = Logger()

    def __init__(
        self, ami: Ami, clock: IReactorTime, max_calls: int = MAX_CALLS, max_channels: int = MAX_CHANNELS
    ) -> None:
        self._ami = ami
        self._clock = clock
        self._max_calls = max_calls
        self._max_channels = max_channels
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._calls: OrderedDict[UUID, _Call] = OrderedDict()
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

    @property
    def sizes(self) -> tuple[int, int]:
        """How many channels and how many calls are remembered."""
        return len(self._channels), len(self._calls)

    def find(self, call_id: UUID, port: int = 0) -> CallerInfo | None:
        """The caller of this UUID as far as is known now.

        Visitor and resident share a UUID: ``port``, the one Asterisk connected to, picks the leg. Without one, or
        when Asterisk was told another because of NAT, it is the oldest that we did not originate.
        """
        channel = self._choose(call_id, port)
        if channel is None:
            return None
        return CallerInfo(channel.name, channel.channel_id, channel.number, channel.caller, channel.dialled)

    def look_up(self, call_id: UUID, port: int = 0) -> defer.Deferred[CallerInfo | None]:
        """As `find`, but waits 0.3 s for an event and then asks Asterisk for 2 s; does not fail."""
        return defer.ensureDeferred(self._look_up(call_id, port))

    def close(self) -> None:
        """Stops listening."""
        for stop in self._stops:
            stop()
        self._stops = []

    async def _look_up(self, call_id: UUID, port: int) -> CallerInfo | None:
        if self._ami.state[0] == "up" and not self._is_certain(call_id, port):
            seen: defer.Deferred[None] = defer.Deferred()
            call = self._call(call_id)
            call.waiting.append(seen)
            try:
                await seen.addTimeout(EVENT_SECONDS, self._clock)
            except defer.TimeoutError:
                await self._list()
            finally:
                call.waiting = [other for other in call.waiting if other is not seen]
                if not call.legs and not call.waiting and self._calls.get(call_id) is call:
                    del self._calls[call_id]
        return self.find(call_id, port)

    def _is_certain(self, call_id: UUID, port: int) -> bool:
        call = self._calls.get(call_id)
        return call is not None and any(
            leg.alive and not leg.is_audiosocket and (not port or its_port == port)
            for its_port, leg in call.legs.values()
        )

    def _choose(self, call_id: UUID, port: int) -> _Channel | None:
        call = self._calls.get(call_id)
        if call is None or not call.legs:
            return None
        _, chosen = min(
            call.legs.values(),
            key=lambda leg: (
                bool(port) and leg[0] != port,
                not leg[1].alive,
                leg[1].is_ours,
                leg[1].is_audiosocket,
            ),
        )
        if chosen.is_audiosocket and chosen.bridge:
            for other in self._channels.values():
                if other.bridge == chosen.bridge and not other.is_audiosocket:
                    return other
        return chosen

    def _call(self, call_id: UUID) -> _Call:
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = _Call()
            if len(self._calls) > self._max_calls:
                self._calls.popitem(last=False)
        return call

    def _belongs(self, channel: _Channel, leg: tuple[UUID, int] | None) -> None:
        """This channel is, or leads to, that leg.

        The shipped dialplan looks with a UUID of zeros whether the server is there: that is no call.
        """
        if leg is None or not leg[0].int:
            return
        call_id, port = leg
        call = self._call(call_id)
        call.legs[channel.channel_id] = port, channel
        if len(call.legs) > MAX_LEGS:
            del call.legs[min(call.legs, key=lambda one: call.legs[one][1].alive)]
        if not channel.is_audiosocket:
            if not channel.dialled:  # it was there before us: a call that comes back after a restart
                self._ask_dialled(channel)
            waiting, call.waiting = call.waiting, []
            for seen in waiting:
                seen.callback(None)

    def _note(self, message: Message) -> _Channel:
        """What any event says about the channel it names."""
        channel_id, name = message.get("Uniqueid"), message.get("Channel")
        channel = self._channels.get(channel_id)
        if channel is None:
            channel = self._channels[channel_id] = _Channel(channel_id, name)
            if len(self._channels) > self._max_channels:
                self._channels.popitem(last=False)
            if channel.is_audiosocket:
                self._belongs(channel, leg_in(name))
        number, caller, exten = (message.get(key) for key in ("CallerIDNum", "CallerIDName", "Exten"))
        channel.number = channel.number if number in _NOTHING else number
        channel.caller = channel.caller if caller in _NOTHING else caller
        if not channel.dialled and exten not in _SPECIAL_EXTENS:
            channel.dialled = exten
        return channel

    def _executed(self, message: Message) -> None:
        if b"audiosocket" in message.raw.lower():
            leg = leg_in(f"{message.get('Application')}({message.get('AppData')})")
            if leg is not None:
                self._belongs(self._note(message), leg)

    def _variable_set(self, message: Message) -> None:
        if b"AUDIOSOCKET_UUID" in message.raw and message.get("Variable") == "AUDIOSOCKET_UUID":
            named = leg_in(message.get("Channel"))
            told = leg_in(f"AudioSocket/:{named[1] if named else 0}/{message.get('Value')}")
            self._belongs(self._note(message), told)

    def _dialling(self, message: Message) -> None:
        if message.get("DestChannel").startswith("AudioSocket/") and message.get("Uniqueid"):
            # a channel's name is cut after 80 characters, the dial string is whole
            leg = leg_in(f"AudioSocket/{message.get('DialString')}") or leg_in(message.get("DestChannel"))
            self._belongs(self._note(message), leg)

    def _bridged(self, message: Message) -> None:
        entered = message.event == "BridgeEnter"
        self._note(message).bridge = message.get("BridgeUniqueid") if entered else ""

    def _ended(self, message: Message) -> None:
        self._gone(message.get("Uniqueid"))

    def _gone(self, channel_id: str) -> None:
        channel = self._channels.pop(channel_id, None)
        if channel is not None:
            channel.alive = False

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

        asked = self._ami.collect("CoreShowChannels", seconds=LIST_SECONDS)
        noted = asked.addCallback(self._listed, suspects).addErrback(self._not_listed)
        noted.addErrback(lambda failure: self._log.failure("a list of channels was not understood", failure))
        noted.addCallback(done)

    def _listed(self, channels: Sequence[Message], suspects: set[str]) -> None:
        for message in channels:
            suspects.discard(message.get("Uniqueid"))
            channel = self._note(message)
            channel.bridge = message.get("BridgeId") or channel.bridge
            leg = leg_in(f"{message.get('Application')}({message.get('ApplicationData')})")
            if leg is not None:
                self._belongs(channel, leg)
        for channel_id in suspects:
            self._gone(channel_id)

    def _ask_dialled(self, channel: _Channel) -> None:
        """The extension at which a channel is now need not be the one that was dialled."""

        def answered(message: Message) -> None:
            if not channel.dialled and message.get("Value") not in _NOTHING:
                channel.dialled = message.get("Value")

        fields = [("Channel", channel.channel_id), ("Variable", "CALLERID(dnid)")]
        self._ami.ask("Getvar", fields).addCallback(answered).addErrback(self._not_told)

    def _not_listed(self, failure: Failure) -> None:
        failure.trap(AmiDown, AmiRefused)
        self._log.warn("AMI does not list the channels: {reason}", reason=failure.getErrorMessage())

    def _not_told(self, failure: Failure) -> None:
        failure.trap(AmiDown, AmiRefused)
        self._log.debug("AMI does not tell the dialled number: {reason}", reason=failure.getErrorMessage())
