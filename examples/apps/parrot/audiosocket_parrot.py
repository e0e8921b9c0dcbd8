"""A parrot: listens for three seconds, says them back, and stops talking when a key is pressed.

It shows all that a voice bot needs of the server: audio in, audio out, a mark that tells when the caller
has been told everything, and barge-in.
"""

from __future__ import annotations

from collections import defaultdict

from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Leg

LISTEN_SECONDS = 3


class Parrot(App):
    """One instance serves one call: its visitor, its resident, or both. Keep what you know per leg."""

    def __init__(self, context: AppContext) -> None:
        self._heard: dict[Role, bytearray] = defaultdict(bytearray)
        self._talking: set[Role] = set()

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        if leg.role in self._talking:
            return
        heard = self._heard[leg.role]
        heard += pcm
        if len(heard) >= LISTEN_SECONDS * rate * 2:
            leg.play(bytes(heard), rate)
            leg.mark("parrot-said")
            heard.clear()
            self._talking.add(leg.role)

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        if name == "parrot-said":
            self._talking.discard(leg.role)

    def digit(self, leg: Leg, digit: str) -> None:
        lost_ms = leg.clear()  # takes the mark with it
        leg.note("app.note", app="parrot", interrupted_by=digit, lost_ms=lost_ms)
        self._heard[leg.role].clear()
        self._talking.discard(leg.role)

    def left(self, leg: Leg, outcome: str) -> None:
        self._heard.pop(leg.role, None)
        self._talking.discard(leg.role)
