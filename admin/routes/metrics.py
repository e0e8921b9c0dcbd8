"""The route that Prometheus scrapes."""

from __future__ import annotations

import time

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from admin.metrics import CONTENT_TYPE, COUNTED, CallCounts, metrics_in_pieces
from admin.site import AdminRequest
from admin.uncancelled import maybe_await
from audiosocket.control_interface import Control
from audiosocket.runtime.event_feed import EventFeed


def add_routes(app: Klein, control: Control, feed: EventFeed, clock: IReactorTime) -> None:
    """Add the figures for Prometheus to ``app``."""
    calls = CallCounts()
    feed.follow(calls.count, COUNTED)

    @app.route("/metrics", methods=["GET"])
    async def metrics(request: AdminRequest) -> bytes:
        """Return the figures of all processes in Prometheus' text format."""
        status = await maybe_await(control.status())
        pieces: list[str] = []
        await deferLater(clock, 0)
        for piece in metrics_in_pieces(status, calls, time.time()):
            pieces.append(piece)
            await deferLater(clock, 0)
        text = "".join(pieces).encode("utf-8")
        request.setHeader("Content-Type", CONTENT_TYPE)
        request.setHeader("Content-Length", str(len(text)))
        return text
