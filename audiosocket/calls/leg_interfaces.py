"""What a leg needs of its connection and of return calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from audiosocket.calls.call import Call


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
