"""The route that Prometheus scrapes."""

from __future__ import annotations

import time

from klein import Klein

from admin.metrics import CONTENT_TYPE, CallCounts, metrics_text
from admin.site import AdminRequest
from admin.uncancelled import maybe_await
from audiosocket.control_interface import Control
from audiosocket.runtime.event_feed import EventFeed


def add_routes(app: Klein, control: Control, feed: EventFeed) -> None:
    """Add the figures for Prometheus to ``app``."""
    calls = CallCounts()
    feed.follow(calls.count)

    @app.route("/metrics", methods=["GET"])
    async def metrics(request: AdminRequest) -> bytes:
        """Return the figures of all processes in Prometheus' text format."""
        text = metrics_text(await maybe_await(control.status()), calls, time.time()).encode("utf-8")
        request.setHeader("Content-Type", CONTENT_TYPE)
        request.setHeader("Content-Length", str(len(text)))
        return text
