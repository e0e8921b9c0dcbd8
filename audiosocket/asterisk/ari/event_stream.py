"""What happens to channels, as ARI tells it on a WebSocket.

Twisted's own WebSocket client sends no password in a header and has no limit for what it is sent; `wsproto`, on
which it is built, leaves both to us.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import defer, error, interfaces, protocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from wsproto.connection import ConnectionState
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from audiosocket.outbound.http_client import RequestFailed

#: Seconds for a connection with its upgrade, between two of our pings, and for the answer to one.
CONNECT_SECONDS = 5.0
PING_SECONDS = 10.0
#: Longer events are not ours; a variable of a channel may hold a whole web page.
MAX_EVENT_CHARACTERS = 65_536
#: Seconds between our goodbye and the end of a connection that the other side does not close.
GOODBYE_SECONDS = 1.0

Heard = Callable[[dict[str, Any]], None]


class EventStream(protocol.Protocol):
    """One connection, from the upgrade on; ``up`` between Asterisk's consent and the end."""

    transport: interfaces.ITCPTransport

    _log = Logger()

    def __init__(self, url: str, authorization: str, clock: IReactorTime, heard: Heard) -> None:
        self.up = False
        #: Fires when ARI has consented, or fails with `RequestFailed`; cancelling drops the connection.
        self.accepted: Deferred[None] = Deferred(lambda _: self._abort("no answer to the upgrade in time"))
        #: Fires at the end of the connection.
        self.gone: Deferred[None] = Deferred()
        self._url = urlsplit(url)
        self._authorization = authorization
        self._clock = clock
        self._heard = heard
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._text: list[str] = []
        self._length = 0
        self._answered = True
        self._why = ""
        self._pings = LoopingCall(self._ping)
        self._pings.clock = clock

    def connectionMade(self) -> None:
        target = f"{self._url.path}?{self._url.query}"
        headers = [(b"Authorization", self._authorization.encode())]
        self._send(ws.Request(host=self._url.netloc, target=target, extra_headers=headers))
        self._pings.start(PING_SECONDS, now=False)

    def dataReceived(self, data: bytes) -> None:
        try:
            self._wire.receive_data(data)
            for event in self._wire.events():
                self._take(event)
        except RemoteProtocolError as problem:
            self._abort(f"protocol garbage: {problem}")

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.up = False
        if self._pings.running:
            self._pings.stop()
        if not self.accepted.called:
            self.accepted.errback(RequestFailed(self._why or f"the connection broke: {reason.getErrorMessage()}"))
        self.gone.callback(None)

    def close(self) -> None:
        """Says goodbye; aborts if the other side has not closed after a second."""
        self.up = False
        self._send(ws.CloseConnection(code=1000))
        timer = self._clock.callLater(GOODBYE_SECONDS, self.transport.abortConnection)
        self.gone.addCallback(lambda _: timer.cancel() if timer.active() else None)

    def _take(self, event: ws.Event) -> None:
        if isinstance(event, ws.AcceptConnection):
            self.up = True
            if not self.accepted.called:
                self.accepted.callback(None)
        elif isinstance(event, ws.RejectConnection):
            self._abort(f"ARI answers HTTP {event.status_code}")
        elif isinstance(event, ws.TextMessage):
            self._read(event)
        elif isinstance(event, ws.Ping):
            self._send(event.response())
        elif isinstance(event, ws.Pong):
            self._answered = True
        elif isinstance(event, ws.CloseConnection):
            self.up = False
            if self._wire.state is ConnectionState.REMOTE_CLOSING:  # not the answer to our own goodbye
                self._send(event.response())
            self.transport.loseConnection()

    def _read(self, part: ws.TextMessage) -> None:
        self._length += len(part.data)
        if self._length <= MAX_EVENT_CHARACTERS:
            self._text.append(part.data)
        if not part.message_finished:
            return
        text, whole = "".join(self._text), self._length <= MAX_EVENT_CHARACTERS
        self._text, self._length = [], 0
        try:
            event = json.loads(text) if whole else None
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            with self._log.failuresHandled("an ARI event could not be used"):
                self._heard(event)

    def _ping(self) -> None:
        if not self._answered:
            self._abort(f"no answer within {PING_SECONDS:g} s")
            return
        self._answered = False
        self._send(ws.Ping())

    def _send(self, event: ws.Event) -> None:
        try:
            self.transport.write(self._wire.send(event))
        except LocalProtocolError:
            self._abort("it is closing")

    def _abort(self, why: str) -> None:
        self._why = self._why or why
        self.transport.abortConnection()


class ARIEventStream:
    """The connection for events, made by `connect` whenever there is none; ``heard`` is given each event.

    ``endpoint`` finds where ``url`` is; ``url`` names the application, as ARI calls who listens.
    """

    def __init__(
        self,
        endpoint: Callable[[str], IStreamClientEndpoint],
        url: str,
        authorization: str,
        clock: IReactorTime,
        heard: Heard,
    ) -> None:
        self._heard = heard
        self._endpoint = endpoint
        self._url = url
        self._authorization = authorization
        self._clock = clock
        self._stream: EventStream | None = None
        self._connecting: Deferred[Any] | None = None

    @property
    def up(self) -> bool:
        """Whether events are heard now."""
        return self._stream is not None and self._stream.up

    async def connect(self) -> None:
        """Makes the connection and waits for ARI's consent; raises `RequestFailed`."""
        stream = EventStream(self._url, self._authorization, self._clock, self._heard)
        self._connecting = connectProtocol(self._endpoint(self._url), stream)
        self._connecting.addCallback(lambda _: stream.accepted)
        try:
            await self._connecting.addTimeout(CONNECT_SECONDS, self._clock)
        except (error.ConnectError, error.DNSLookupError, defer.TimeoutError) as problem:
            raise RequestFailed(f"no connection for events: {str(problem) or type(problem).__name__}") from None
        finally:
            self._connecting = None
        self._stream = stream

    async def close(self) -> None:
        """Says goodbye and waits for the end of the connection, about a second at most."""
        if self._connecting is not None:
            self._connecting.cancel()
        stream, self._stream = self._stream, None
        if stream is not None and not stream.gone.called:
            stream.close()
            await stream.gone
