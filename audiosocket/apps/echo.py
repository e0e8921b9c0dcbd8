"""Echo: the caller hears itself, as soon as it can."""

from __future__ import annotations

from audiosocket.interfaces import App, AppContext, Leg


class Echo(App):
    """Sends every frame back as it came; silent while another app of the leg speaks."""

    def __init__(self, context: AppContext) -> None:
        """Needs nothing of ``context``."""

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        leg.pass_on(pcm, rate)
