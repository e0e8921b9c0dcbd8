"""Server-sent events: one client that follows the events of the server.

It ends when the token or cookie that it was opened with is no longer valid: nothing is sent after that.

A client that does not read costs itself only: while its connection is full, events are counted and not kept, and
when it reads again it gets one ``snapshot`` event instead of them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from admin.site import AdminRequest
from audiosocket.runtime.event_feed import EventFeed, FeedEntry
from audiosocket.runtime.event_filter import EventFilter

#: Streams at once; a limit, as each one keeps a connection of the API.
MAX_STREAMS = 64
#: A comment is sent this often, in seconds: proxies cut connections that are silent for a minute.
KEEP_ALIVE_SECONDS = 15.0
#: A client that does not read for this long, in seconds, is cut off.
MAX_PAUSED_SECONDS = 20.0
#: Milliseconds after which a browser connects again.
RETRY_MS = 2_000


@implementer(IPushProducer)
class EventStream:
    """The answer to one client.

    ``closed`` is called once when it is over; ``admitted`` is asked before each event.
    """

    def __init__(
        self,
        request: AdminRequest,
        feed: EventFeed,
        wanted: EventFilter,
        clock: IReactorTime,
        closed: Callable[[], object],
        admitted: Callable[[], bool],
    ) -> None:
        self._request = request
        self._feed = feed
        self._wanted = wanted
        self._clock = clock
        self._closed = closed
        self._admitted = admitted
        self._open = True
        self._paused = False
        self._missed = 0
        self._unfollow: Callable[[], None] = lambda: None
        self._timers: dict[str, IDelayedCall] = {}

    def start(self, after: int | None) -> None:
        """Send the events after the id ``after`` (a snapshot if they are not kept), then all new ones.

        With 0 all that are kept are sent before, with None only new ones.
        """
        request = self._request
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        request.setHeader("X-Accel-Buffering", "no")
        request.registerProducer(self, True)
        self._write(f"retry: {RETRY_MS}\n\n")
        if after == 0:
            entries: list[FeedEntry] | None = self._feed.latest()
        else:
            entries = [] if after is None else self._feed.after(after)
        if entries is None:
            self._send_snapshot(None)
        else:
            for entry in entries:
                self._send(entry)
        self._unfollow = self._feed.follow(self._send)
        self._keep_alive()

    def stop(self) -> None:
        """Forget the client, whose connection is lost."""
        if not self._open:
            return
        self._open = False
        self._unfollow()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._closed()

    def _send(self, entry: FeedEntry) -> None:
        if not self._wanted.wants(entry) or not self._check():
            return
        if self._paused:
            self._missed += 1
            return
        self._write(f"id: {entry.id}\ndata: {entry.text}\n\n")

    def _send_snapshot(self, missed: int | None) -> None:
        number = "null" if missed is None else str(missed)
        last = self._feed.last_id
        self._write(f'id: {last}\ndata: {{"id":{last},"event":"snapshot","missed":{number}}}\n\n')

    def _check(self) -> bool:
        """Return whether the client may follow; end the answer if not: a browser asks again then, and is told."""
        if self._open and not self._admitted():
            self.stop()
            self._request.unregisterProducer()
            if self._paused:
                self._abort()
            else:
                self._request.finish()
        return self._open

    def _keep_alive(self) -> None:
        if not self._check():
            return
        self._timers["keep_alive"] = self._clock.callLater(KEEP_ALIVE_SECONDS, self._keep_alive)
        if not self._paused:
            self._write(": \n\n")

    def _write(self, text: str) -> None:
        if self._open:
            self._request.write(text.encode("utf-8"))

    def _abort(self) -> None:
        self._request.channel.transport.abortConnection()

    # IPushProducer: the connection's buffer

    def pauseProducing(self) -> None:
        if not self._paused and self._open:
            self._paused = True
            self._timers["abort"] = self._clock.callLater(MAX_PAUSED_SECONDS, self._abort)

    def resumeProducing(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._timers["abort"].active():
            self._timers["abort"].cancel()
        if self._missed:
            missed, self._missed = self._missed, 0
            self._send_snapshot(missed)

    def stopProducing(self) -> None:
        self.stop()
