"""A concierge: key 1 rings the resident and connects the two when it is answered, key * stops the ringing.

It shows how an app places a return call and receives its end, and what it may do with the caller id of the
door station (known where AMI_HOST is set): each door may ring numbers of its own. Name it in both VISITOR_APP and
RESIDENT_APP: one instance serves both legs of a call, and as a `Bridge` it joins them.
"""

from __future__ import annotations

import math
import os
from array import array
from typing import Any

from audiosocket.apps.bridge import Bridge
from audiosocket.errors import AudioSocketError
from audiosocket.extensions.model import Role
from audiosocket.interfaces import AppContext, CallerInfo, Leg, ReturnOutcome
from audiosocket.settings import Settings

RATE = 8_000


def _tone(seconds: float) -> bytes:
    """The 425 Hz of Brazilian exchanges."""
    return array(
        "h", (round(6_000 * math.sin(math.tau * 425 * n / RATE)) for n in range(int(seconds * RATE)))
    ).tobytes()


def _silence(seconds: float) -> bytes:
    return bytes(2 * int(seconds * RATE))


RINGING = _tone(1) + _silence(4)
BUSY = (_tone(0.25) + _silence(0.25)) * 6


def numbers(caller: CallerInfo | None = None) -> list[str]:
    """Return the numbers to ring: CONCIERGE_NUMBERS_5511 for the door station 5511, else CONCIERGE_NUMBERS.

    A product would ask its database for the residents of the condominium. A caller id can be forged: it may choose
    the numbers, it must not open anything.
    """
    usual = os.environ.get("CONCIERGE_NUMBERS", "")
    text = os.environ.get(f"CONCIERGE_NUMBERS_{caller.number}", usual) if caller is not None else usual
    return [number.strip() for number in text.split(",") if number.strip()]


class Concierge(Bridge):
    """The app of one call at the door."""

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._ringing = False
        self._talking = False

    @staticmethod
    def check(settings: Settings) -> list[str]:
        """Return what will not work, for the log at the start."""
        problems = [] if numbers() else ["concierge: CONCIERGE_NUMBERS is empty, so key 1 rings no number"]
        if "concierge" not in settings.resident_app.split("+"):
            problems.append("concierge: RESIDENT_APP does not name it, so the resident is not connected")
        return problems

    def identified(self, leg: Leg, caller: CallerInfo) -> None:
        if leg.role is Role.VISITOR:  # a resident's number stays out of the timeline
            leg.note("app.note", app="concierge", caller=caller.number, dialled=caller.dialled)

    def digit(self, leg: Leg, digit: str) -> None:
        if leg.role is not Role.VISITOR or self._talking:
            return
        if digit == "1" and not self._ringing:
            try:
                leg.call_resident(numbers(leg.caller))
            except AudioSocketError as problem:  # no number, no backend, …
                leg.note("app.note", app="concierge", problem=str(problem))
                leg.play(BUSY, RATE)
                return
            self._ring(leg)
        elif digit == "*":
            leg.cancel_resident()  # `return_ended` follows

    def return_ended(self, leg: Leg, outcome: ReturnOutcome) -> None:
        self._ringing = False
        leg.remember(self, None)
        leg.clear()  # the ringback tone: a bridge passes nothing on while audio is played
        self._talking = outcome.state == "connected"
        if outcome.state == "failed":
            leg.play(BUSY, RATE)

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        super().marked(leg, name, heard_ms)
        if name == "concierge-ringing" and self._ringing:
            self._ring(leg)

    def restored(self, leg: Leg, state: Any) -> None:
        super().restored(leg, state)
        if state == "ringing":  # the server was restarted meanwhile; the return call goes on
            self._ring(leg)

    def left(self, leg: Leg, outcome: str) -> None:
        if leg.role is Role.VISITOR:
            self._ringing = False
        super().left(leg, outcome)

    def _ring(self, leg: Leg) -> None:
        """Play the ringback tone, repeated at its mark until `return_ended`."""
        if not self._ringing:
            leg.remember(self, "ringing")
        self._ringing = True
        leg.play(RINGING, RATE)
        leg.mark("concierge-ringing")
