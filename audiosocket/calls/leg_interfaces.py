"""What a leg needs of its connection, of return calls, and of what it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from audiosocket.calls.call import Call
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.interfaces import App

#: Is `leg.Leg`, which imports this module.
LegT = TypeVar("LegT")


class Connection(Protocol):
    """A connection from Asterisk: `protocol.connection.AudioSocketProtocol`."""

    def send_frames(self, frames: bytes) -> bool:
        """Write whole frames with their headers; false when the peer takes no more."""

    def finish(self, *, goodbye: bool = True) -> None:
        """Send the hangup frame, unless the call goes on elsewhere, and close."""

    def read_on_tick(self, on_tick: bool) -> None:
        """Read on the ticks of the clock, or as soon as something has arrived."""


class Residents(Protocol):
    """Return calls to residents: `returncalls.service.ReturnCalls`."""

    def place(self, call: Call, numbers: Sequence[str], *, wait: bool = False) -> None:
        """Ring these numbers in their order."""

    def cancel(self, call: Call) -> None:
        """Stop the ringing; raises `ReturnTaken` when no return call is under way."""


class LegOwner(Protocol[LegT]):
    """What legs report to and ask of the switchboard: `server.switchboard.Switchboard`."""

    def leg_over(self, leg: LegT, outcome: LegOutcome) -> None:
        """Note the end of a leg, before its hangup frame is sent and its apps receive it."""

    def leg_suspended(self, leg: LegT) -> None:
        """Note that a leg has lost its connection and may get another one; it may be ended in here."""

    def tells_end(self, leg: LegT) -> bool:
        """Return whether Asterisk reports at once that the channel of a leg has ended."""

    def app_failed(self, leg: LegT) -> None:
        """End the call of a leg, one of whose apps raised."""

    def mislabelled(self, leg: LegT, codec: str) -> None:
        """Note that the caller's audio is ``codec`` (ulaw, alaw or unknown) under the kind of signed linear."""

    def replacement(self, leg: LegT, names: str) -> Sequence[tuple[str, App]]:
        """Return the apps with these names, joined by ``+``; raises for those that cannot be found."""

    def other_leg(self, leg: LegT) -> LegT | None:
        """Return the other leg of the same call, None when it has none."""
