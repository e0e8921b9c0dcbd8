"""The benchmark app: every frame is returned as it came, to measure what the server can do."""

from __future__ import annotations

from typing import Any, Protocol, cast

from audiosocket.interfaces import App, AppContext, Leg


class _LoopingLeg(Protocol):
    """The hook of `audiosocket.calls.leg.Leg` that only this app uses; it is not part of `interfaces.Leg`."""

    def _loop_back(self) -> None:
        """Return every frame as it comes."""


class Loopback(App):
    """Returns frames however fast they come, without clock, limit or silence. For callers there is `Echo`."""

    def __init__(self, context: AppContext) -> None:
        """Ignore ``context``."""

    def joined(self, leg: Leg) -> None:
        cast("_LoopingLeg", leg)._loop_back()

    def handed_over(self, leg: Leg) -> Any:
        return {}
