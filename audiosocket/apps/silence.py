"""The app silence: a leg that stays open without audio."""

from __future__ import annotations

from typing import Any

from audiosocket.interfaces import App, AppContext, Leg


class Silence(App):
    """Does nothing: a leg on which no app plays audio sends silence, without a gap."""

    def __init__(self, context: AppContext) -> None:
        """Ignore ``context``."""

    def handed_over(self, leg: Leg) -> Any:
        return {}
