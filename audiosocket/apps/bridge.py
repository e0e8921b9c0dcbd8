"""Bridge: the visitor and the resident of a call talk to each other."""

from __future__ import annotations

from typing import Any

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Leg
from audiosocket.settings import Settings

#: Frames that may wait for their turn on the other side, in milliseconds: two people notice more than that.
WAIT_MS = 200
#: How long a leg whose connection broke may take to come back before the other is hung up, in seconds.
COME_BACK_SECONDS = 2.0

#: Endings after which nobody comes back.
_GONE = frozenset({LegOutcome.CALLER_HANGUP, LegOutcome.SERVER_HANGUP, LegOutcome.ADMIN_HANGUP, LegOutcome.LOST})
#: Endings with which the server ends the other leg itself, under the same name.
_WHOLE_CALL = frozenset({LegOutcome.APP_FAILED, LegOutcome.SHUTDOWN})


class Bridge(App):
    """Passes each leg's frames on to the other, at the rate they came with; Asterisk converts.

    Name it in both ``VISITOR_APP`` and ``RESIDENT_APP``. A leg that is alone hears silence. When either
    side leaves, the other is hung up: at once after a hangup, after 2 s when the connection broke, because
    the shipped dialplan brings such a leg back with the same UUID. A side that is back after a restart of the
    server waits for the other as long as the server does. At most 200 ms wait on either side.
    """

    passes_on = True

    def __init__(self, context: AppContext) -> None:
        self._call_later = context.call_later
        self._legs: dict[Role, Leg] = {}
        self._hanging_up: Any = None

    @staticmethod
    def check(settings: Settings) -> list[str]:
        """A bridge with one end."""
        named = {
            "VISITOR_APP": settings.visitor_app,
            "RESIDENT_APP": settings.resident_app,
        }
        without = [
            name for name, apps in named.items() if "bridge" not in [part.strip() for part in apps.split("+")]
        ]
        return (
            [f"{without[0]} does not name the app bridge: the other side will talk to nobody"] if without else []
        )

    def joined(self, leg: Leg) -> None:
        self._legs[leg.role] = leg
        self._stay()

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        other = self._other(leg)
        if other is not None:
            other.pass_on(pcm, rate, at_most_ms=WAIT_MS)

    def left(self, leg: Leg, outcome: str) -> None:
        self._legs.pop(leg.role, None)
        self._stay()
        other = self._other(leg)
        if other is not None and outcome not in _WHOLE_CALL:
            self._leave_alone(other, outcome)

    def other_gone(self, leg: Leg, outcome: str) -> None:
        self._stay()
        self._leave_alone(leg, outcome)

    def _leave_alone(self, leg: Leg, outcome: str) -> None:
        if outcome in _GONE:
            leg.hang_up()
        else:
            self._hanging_up = self._call_later(COME_BACK_SECONDS, self._nobody_came_back)

    def _other(self, leg: Leg) -> Leg | None:
        return self._legs.get(Role.RESIDENT if leg.role is Role.VISITOR else Role.VISITOR)

    def _stay(self) -> None:
        waiting, self._hanging_up = self._hanging_up, None
        if waiting is not None:
            waiting.cancel()

    def _nobody_came_back(self) -> None:
        self._hanging_up = None
        for leg in list(self._legs.values()):
            leg.hang_up()
