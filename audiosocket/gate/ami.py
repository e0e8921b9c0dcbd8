"""Opening the gate by keys on the visitor's channel, which AMI plays (``PlayDTMF``): door stations open on DTMF.

AudioSocket itself cannot carry keys towards Asterisk. What is begun is never repeated: a door station that heard
half of it would take the rest for another code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from audiosocket.asterisk.ami.channels import ChannelTracker
from audiosocket.asterisk.ami.client import AMIClient
from audiosocket.asterisk.ami.session import AMIDown
from audiosocket.errors import TelephonyUnavailable
from audiosocket.extensions.model import Role
from audiosocket.gate.record import GateRecord, WayAnswer
from audiosocket.interfaces import Telephony

#: Seconds that AMI, and the channel of the visitor, are waited for.
READY_SECONDS = 3.0
NOT_REPEATED = "the server was restarted while keys were played; they are not repeated"


class GateKeys:
    """A way to open the gate: ``keys`` on the visitor's channel."""

    name = "dtmf"

    def __init__(self, ami: AMIClient, channels: ChannelTracker, telephony: Telephony, keys: str) -> None:
        self._ami = ami
        self._channels = channels
        self._telephony = telephony
        self._keys = keys

    async def open(self, record: GateRecord, begin: Callable[[], Awaitable[None]]) -> WayAnswer:
        """Play the keys, once; ``begin`` is awaited right before the first one. Raises `OSError` of ``begin``."""
        if record.keys_begun:
            return WayAnswer(False, NOT_REPEATED)
        try:
            await self._ami.ready(READY_SECONDS)
            channel = record.channel or await self._channel_of(record)
        except AMIDown as problem:
            return WayAnswer(False, f"{self._ami.name} is not available: {problem}")
        if not channel:
            return WayAnswer(False, "AMI does not know the visitor's channel")
        await begin()
        try:
            await self._telephony.play_digits(channel, self._keys)
        except TelephonyUnavailable as problem:
            return WayAnswer(False, str(problem))
        return WayAnswer(True, f"{len(self._keys)} keys were played")

    async def _channel_of(self, record: GateRecord) -> str:
        found = self._find(record)
        if not found:
            await self._channels.listing()
            found = self._find(record)
        return found

    def _find(self, record: GateRecord) -> str:
        other = record.other_port or None
        info = self._channels.find(record.uuid, record.port, role=Role.VISITOR, other_port=other)
        return "" if info is None else info.channel
