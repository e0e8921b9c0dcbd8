"""How much a peer may send: what a message costs, and what a leg may spend.

Asterisk sends packets of 10 to 60 ms: at most 100 messages a second, and after a stall those that had to wait. A
message costs one unit, larger and unusual ones more, so that a unit is about the same work for every kind of
message. A leg earns `UNITS_PER_SECOND` and saves `MAX_UNITS` at most. One that has spent `DIRECT_UNITS` more than
it earned is served with others, after the frames of all legs; one that has spent everything is ended.

Pure: the time is an argument.
"""

from __future__ import annotations

from audiosocket.wire import Audio, Digit, Event

#: Two and a half times what packets of 10 ms need at 8 kHz, and more than they need at 192 kHz.
UNITS_PER_SECOND = 250
#: What arrives together after Asterisk or the network stood still for a minute, in packets of 10 ms.
MAX_UNITS = 6_000
#: The same for 2.5 s.
DIRECT_UNITS = 250
#: Messages handled together, before others have their turn.
MESSAGES_PER_STEP = 16

#: Bytes of audio that cost one unit more: 20 ms at 48 kHz have 1,920.
BYTES_PER_UNIT = 2_048
#: A change of the sample rate converts what is queued; a digit is logged and written to the journal.
RATE_CHANGE_UNITS = 20
DIGIT_UNITS = 10


def cost(event: Event, rate: int) -> int:
    """Return the units of a message; ``rate`` is that of the last frame, in Hz."""
    if isinstance(event, Audio):
        change = RATE_CHANGE_UNITS if event.rate != rate else 0
        return 1 + len(event.pcm) // BYTES_PER_UNIT + change
    return 1 + DIGIT_UNITS if isinstance(event, Digit) else 1


class Allowance:
    """What one leg may still spend; times are in seconds of a steady clock."""

    __slots__ = ("_at", "_units")

    def __init__(self, now: float) -> None:
        self._at = now
        self._units = float(MAX_UNITS)

    def spend(self, units: int, now: float) -> None:
        """Add what was earned until ``now``, and take ``units``."""
        earned = (now - self._at) * UNITS_PER_SECOND
        self._at = now
        self._units = min(float(MAX_UNITS), self._units + earned) - units

    @property
    def direct(self) -> bool:
        """Whether messages are to be handled as soon as they arrive."""
        return self._units >= MAX_UNITS - DIRECT_UNITS

    @property
    def spent(self) -> bool:
        """Whether nothing is left, and the leg is to be ended."""
        return self._units < 0
