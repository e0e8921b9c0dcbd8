"""The route that clients follow the server's events on."""

from __future__ import annotations

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from admin import requests
from admin.event_stream import MAX_STREAMS, EventStream
from admin.responses import HTTPError
from admin.site import AdminRequest
from audiosocket.runtime.event_feed import EventFeed


def add_routes(app: Klein, feed: EventFeed, clock: IReactorTime) -> None:
    """Add the stream of events to ``app``."""
    streams: set[EventStream] = set()

    @app.route("/api/events", methods=["GET"])
    def follow_events(request: AdminRequest) -> Deferred[None] | bytes:
        """Send events as they happen, until the client disconnects."""
        wanted, after = requests.event_options(request.uri, request.getHeader("Last-Event-ID"))
        if request.method == b"HEAD":
            request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
            return b""
        if len(streams) >= MAX_STREAMS:
            raise HTTPError(503, f"{MAX_STREAMS} clients follow the events already.", {"Retry-After": "5"})
        access, caller = request.site.access, request.caller
        stream = EventStream(
            request, feed, wanted, clock, lambda: streams.discard(stream), lambda: access.is_current(caller)
        )
        streams.add(stream)
        over: Deferred[None] = Deferred(lambda _: stream.stop())
        request.notifyFinish().addBoth(lambda _: stream.stop())
        stream.start(after)
        return over
