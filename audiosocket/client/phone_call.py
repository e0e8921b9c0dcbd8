"""A call for the telephone in the browser: `Caller` with its audio said and heard by a person, as it comes."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from audiosocket.client.caller import Caller
from audiosocket.client.connection import ConnectionReactor
from audiosocket.client.report import CallReport
from audiosocket.client.rules import HeardFrame
from audiosocket.media.lazy_imports import stream_converter
from audiosocket.media.playout_queue import Converter

#: Audio of the browser that may wait, in ms; beyond the first figure it is cut to the second. Without a limit each
#: pause of the network would delay the rest of the call.
MAX_QUEUED_MS = 160
QUEUED_MS = 60


class PhoneObserver(Protocol):
    """What a `PhoneCall` calls."""

    def heard(self, rate: int, pcm: bytes) -> None:
        """Take one frame of the server's audio, ``rate`` in Hz."""

    def ended(self, reason: str) -> None:
        """Take the end of the call; ``reason`` is for people."""


class PhoneCall:
    """One call to a port of this server. ``rate`` is that of the audio said, in Hz."""

    def __init__(
        self,
        reactor: ConnectionReactor,
        host: str,
        port: int,
        rate: int,
        observer: PhoneObserver,
        call_id: UUID | None = None,
    ) -> None:
        self._observer = observer
        self._rate = rate
        #: Converts what is said to the rate of the call; None while it has that.
        self._converter: Converter | None = None
        self._address = host, port
        self._caller = Caller(
            reactor,
            call_id,
            rate,
            keep_seconds=0,
            on_heard=self._heard,
            queue_limit_ms=(MAX_QUEUED_MS, QUEUED_MS),
        )

    @property
    def call_id(self) -> UUID:
        """The UUID of the call."""
        return self._caller.call_id

    async def connect(self) -> None:
        """Connect and send the UUID; raise `CallFailed`."""
        await self._caller.dial(*self._address)
        self._caller.ended.addCallback(self._ended)

    def say(self, pcm: bytes) -> None:
        """Say PCM at the rate of the call, or at that of `set_rate`."""
        self._caller.say(pcm if self._converter is None else self._converter.feed(pcm))

    def set_rate(self, rate: int) -> None:
        """Convert what is said from now on, which is at ``rate`` Hz."""
        self._converter = None if rate == self._rate else stream_converter(rate, self._rate)

    def press(self, digits: str) -> None:
        """Press keys; raise `LocalProtocolError` for one that no telephone has."""
        self._caller.press(digits)

    def hang_up(self) -> None:
        """Hang up, also while the call is being connected."""
        self._caller.hang_up()

    def _heard(self, frame: HeardFrame) -> None:
        self._observer.heard(frame.rate, frame.pcm)

    def _ended(self, report: CallReport) -> None:
        reason = report.broken[0].sentence if report.broken else f"ended by the {report.ended_by}"
        self._observer.ended(reason)
