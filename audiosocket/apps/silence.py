"""Silence: a leg that is kept open and says nothing."""

from __future__ import annotations

from audiosocket.interfaces import App, AppContext


class Silence(App):
    """Does nothing, so the leg sends what every leg sends when no app speaks: silence, without a gap."""

    def __init__(self, context: AppContext) -> None:
        """Needs nothing of ``context``."""
