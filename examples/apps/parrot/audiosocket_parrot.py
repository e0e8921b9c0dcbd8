"""A parrot: records three seconds, plays them back, and stops playing when a key is pressed.

It shows all that a voice bot needs of the server: audio in, audio out, a mark that is reached when everything has
been played, and barge-in.
"""

from __future__ import annotations

from collections import defaultdict

from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Leg

LISTEN_SECONDS = 3


class Parrot(App):
    """The app of one call; one instance serves visitor and resident, so its state is kept by role."""

    def __init__(self, context: AppContext) -> None:
        self._received: dict[Role, bytearray] = defaultdict(bytearray)
        self._playing: set[Role] = set()

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        if leg.role in self._playing:
            return
        received = self._received[leg.role]
        received += pcm
        if len(received) >= LISTEN_SECONDS * rate * 2:
            leg.play(bytes(received), rate)
            leg.mark("parrot-played")
            received.clear()
            self._playing.add(leg.role)

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        if name == "parrot-played":
            self._playing.discard(leg.role)

    def digit(self, leg: Leg, digit: str) -> None:
        lost_ms = leg.clear()  # takes the mark with it
        leg.note("app.note", app="parrot", interrupted_by=digit, lost_ms=lost_ms)
        self._received[leg.role].clear()
        self._playing.discard(leg.role)

    def left(self, leg: Leg, outcome: str) -> None:
        self._received.pop(leg.role, None)
        self._playing.discard(leg.role)
