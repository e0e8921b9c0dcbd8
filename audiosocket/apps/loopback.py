"""Loopback: every frame goes back as it came, for measuring what the server can do."""

from __future__ import annotations

from audiosocket.interfaces import App, AppContext, Leg


class Loopback(App):
    """Returns frames however fast they come: no clock, no cap, no silence. Not for callers, who want `Echo`."""

    def __init__(self, context: AppContext) -> None:
        """Needs nothing of ``context``."""

    def joined(self, leg: Leg) -> None:
        leg.loop_back()
