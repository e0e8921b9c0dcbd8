"""The app echo: callers hear themselves."""

from __future__ import annotations

from typing import Any

from audiosocket.interfaces import App, AppContext, Leg


class Echo(App):
    """Returns every frame as it came, except while another app of the leg plays audio."""

    def __init__(self, context: AppContext) -> None:
        """Ignore ``context``."""

    def handed_over(self, leg: Leg) -> Any:
        return {}

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        leg.pass_on(pcm, rate)
