"""The app bridge: visitor and resident of a call talk to each other."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Leg
from audiosocket.prompts.player import ring_back
from audiosocket.settings import Settings

#: Audio that may wait on the other leg, in milliseconds: two people notice more than that.
WAIT_MS = 200
#: How long a leg whose connection broke may take to resume before the other is hung up, in seconds.
RECONNECT_SECONDS = 2.0

#: Rate of the ring-back, in Hz.
RING_RATE = 8_000
_RING = "bridge-ring"
#: Outcomes after which a leg does not resume.
_GONE = frozenset(
    {
        LegOutcome.CALLER_HANGUP,
        LegOutcome.SERVER_HANGUP,
        LegOutcome.ADMIN_HANGUP,
        LegOutcome.TOO_LONG,
        LegOutcome.IDLE,
        LegOutcome.LOST,
    }
)
#: Outcomes with which the server ends the other leg itself.
_WHOLE_CALL = frozenset({LegOutcome.APP_FAILED, LegOutcome.SHUTDOWN})


class Bridge(App):
    """Passes the frames of each leg on to the other, at the rate of the frames; Asterisk converts.

    Name it in both ``VISITOR_APP`` and ``RESIDENT_APP``. A visitor who is alone receives silence, a resident
    ring-back: the visitor may have left while no server was running, which is not always known. When one side
    leaves, the other is hung up: immediately after a hangup, after 2 s when the connection broke, because the
    shipped dialplan presents the UUID of such a leg again. A side that resumed after a restart of the server waits
    for the other as long as the server does. At most 200 ms of audio wait on either side.
    """

    passes_on = True

    def __init__(self, context: AppContext) -> None:
        self._call_later = context.call_later
        self._legs: dict[Role, Leg] = {}
        self._hanging_up: IDelayedCall | None = None
        #: Whether a resident who is alone is played ring-back, which ends when the visitor comes.
        self._rings_alone = False

    @staticmethod
    def check(settings: Settings) -> list[str]:
        """Return a problem when only one of the two settings names a bridge."""
        named = {
            "VISITOR_APP": settings.visitor_app,
            "RESIDENT_APP": settings.resident_app,
        }
        without = [
            name for name, apps in named.items() if "bridge" not in [part.strip() for part in apps.split("+")]
        ]
        return [f"{without[0]} does not name the app bridge: the other side will hear silence"] if without else []

    def joined(self, leg: Leg) -> None:
        self._legs[leg.role] = leg
        self._cancel_hangup()
        other = self._other(leg)
        if other is None:
            self._ring_alone(leg)
        elif self._rings_alone and other.role is Role.RESIDENT:
            self._rings_alone = False
            other.clear()

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        if name == _RING and self._other(leg) is None:
            self._ring_alone(leg)

    def _ring_alone(self, leg: Leg) -> None:
        if leg.role is Role.RESIDENT:
            self._rings_alone = True
            leg.play(ring_back(RING_RATE), RING_RATE)
            leg.mark(_RING)

    def handed_over(self, leg: Leg) -> Any:
        return {"hanging_up": self._hanging_up is not None}

    def taken_over(self, leg: Leg, state: Any) -> None:
        self.joined(leg)
        if state["hanging_up"]:
            self._hanging_up = self._call_later(RECONNECT_SECONDS, self._hang_up_all)

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        other = self._other(leg)
        if other is not None:
            other.pass_on(pcm, rate, at_most_ms=WAIT_MS)

    def left(self, leg: Leg, outcome: str) -> None:
        self._legs.pop(leg.role, None)
        self._rings_alone = self._rings_alone and leg.role is not Role.RESIDENT
        self._cancel_hangup()
        other = self._other(leg)
        if other is not None and outcome not in _WHOLE_CALL:
            self._other_left(other, outcome)

    def other_gone(self, leg: Leg, outcome: str) -> None:
        self._cancel_hangup()
        self._other_left(leg, outcome)

    def _other_left(self, leg: Leg, outcome: str) -> None:
        if outcome in _GONE:
            leg.hang_up()
        else:
            self._hanging_up = self._call_later(RECONNECT_SECONDS, self._hang_up_all)

    def _other(self, leg: Leg) -> Leg | None:
        return self._legs.get(Role.RESIDENT if leg.role is Role.VISITOR else Role.VISITOR)

    def _cancel_hangup(self) -> None:
        waiting, self._hanging_up = self._hanging_up, None
        if waiting is not None:
            waiting.cancel()

    def _hang_up_all(self) -> None:
        self._hanging_up = None
        for leg in list(self._legs.values()):
            leg.hang_up()
