"""The server's end of a WebSocket (RFC 6455) on a connection that was taken over from HTTP, on wsproto."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.web.server import Request
from wsproto import WSConnection
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    TextMessage,
)
from wsproto.events import Request as UpgradeRequest
from wsproto.utilities import RemoteProtocolError

from admin.responses import HTTPError

#: Largest message, in bytes.
MAX_MESSAGE_BYTES = 8192
#: Seconds between pings; a client that has not answered one until the next is cut off.
PING_SECONDS = 10
#: Seconds a client has to answer our closing.
CLOSE_SECONDS = 2

NORMAL, UNSUPPORTED_DATA, INVALID_DATA, NOT_ADMITTED, TOO_BIG = 1000, 1003, 1007, 1008, 1009


class WebSocketObserver(Protocol):
    """What a `ServerWebSocket` calls."""

    def text_received(self, text: str) -> None:
        """Take a text message."""

    def bytes_received(self, data: bytes) -> None:
        """Take a binary message."""

    def closed(self) -> None:
        """Take the end of the connection; called once, nothing follows."""


class ServerWebSocket:
    """One WebSocket. The observer is set before `start`; messages that arrive paused are still handed over.

    ``admitted`` is asked before each message, either way, and at each ping. Once it returns False nothing passes
    any more, the observer is told that the connection is closed, and the client gets the code 1008.
    """

    def __init__(
        self, request: Request, transport: ITCPTransport, clock: IReactorTime, admitted: Callable[[], bool]
    ) -> None:
        """Check the handshake of ``request``; raise `HTTPError` where it is none."""
        self._connection = WSConnection(ConnectionType.SERVER)
        headers = [(name, value) for name, values in request.requestHeaders.getAllRawHeaders() for value in values]
        try:
            self._connection.initiate_upgrade_connection(headers, request.uri)
        except RemoteProtocolError as error:
            message = f"This is not the opening of a WebSocket: {error}"
            raise HTTPError(426, message, {"Upgrade": "websocket"}) from None
        if not any(isinstance(event, UpgradeRequest) for event in self._connection.events()):
            raise HTTPError(426, "This path is for a WebSocket.", {"Upgrade": "websocket"})
        self._transport = transport
        self._clock = clock
        self._admitted = admitted
        self._observer: WebSocketObserver | None = None
        self._parts: list[bytes | bytearray | str] = []
        self._size = 0
        self._paused = False
        self._ponged = True
        self._timer: IDelayedCall | None = None

    def start(self, observer: WebSocketObserver, early: bytes) -> None:
        """Accept the connection; ``early`` is what the client sent right behind its request."""
        self._observer = observer
        self._send(AcceptConnection())
        self._timer = self._clock.callLater(PING_SECONDS, self._ping)
        if early:
            self.data_received(early)

    def hand_over(self, observer: WebSocketObserver) -> None:
        """Let another observer take what follows, unless the connection is lost."""
        if self._observer is not None:
            self._observer = observer
        else:
            observer.closed()

    def send_text(self, text: str) -> None:
        """Send a text message, unless the connection is closing."""
        if self._is_open():
            self._send(TextMessage(text))

    def send_bytes(self, data: bytes) -> None:
        """Send a binary message; drop it while the client does not read, or the connection is closing."""
        if self._is_open() and not self._paused:
            self._send(BytesMessage(data))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Begin to close, and cut the connection off where the client does not answer."""
        if self._connection.state is ConnectionState.OPEN:
            self._send(CloseConnection(code, reason))
            self._restart_timer(CLOSE_SECONDS, self._transport.abortConnection)

    # The channel's side.

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        try:
            self._connection.receive_data(data)
        except RemoteProtocolError as error:
            self._fail(error.event_hint)
            return
        try:
            for event in self._connection.events():
                if isinstance(event, CloseConnection):
                    self._fail(event.response())
                elif isinstance(event, Ping):
                    self._send(event.response())
                elif isinstance(event, Pong):
                    self._ponged = True
                elif isinstance(event, TextMessage | BytesMessage):
                    self._add(event)
        except RemoteProtocolError as error:
            self._fail(error.event_hint)

    def connection_lost(self) -> None:
        """Take the loss of the connection."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._leave()

    def pause(self) -> None:
        """Send no more audio: the client does not read."""
        self._paused = True

    def resume(self) -> None:
        """Send audio again."""
        self._paused = False

    def _leave(self) -> None:
        """Tell the observer, once, that nothing follows."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.closed()

    def _is_open(self) -> bool:
        """Return whether messages pass; begin to close if the client may no longer be here."""
        if self._connection.state is not ConnectionState.OPEN:
            return False
        if not self._admitted():
            self.close(NOT_ADMITTED, "The token or the session is no longer valid.")
            self._leave()
            return False
        return True

    def _add(self, event: TextMessage | BytesMessage) -> None:
        if not self._is_open():
            return
        self._size += len(event.data)
        if self._size > MAX_MESSAGE_BYTES:
            self._parts.clear()
            self.close(TOO_BIG, f"A message may have {MAX_MESSAGE_BYTES} bytes.")
            return
        self._parts.append(event.data)
        if not event.message_finished or self._observer is None:
            return
        parts, self._parts, self._size = self._parts, [], 0
        if isinstance(event, TextMessage):
            self._observer.text_received("".join(part for part in parts if isinstance(part, str)))
        else:
            self._observer.bytes_received(b"".join(bytes(part) for part in parts if not isinstance(part, str)))

    def _fail(self, answer: Event | None) -> None:
        """Answer the client's closing, or a violation of the protocol, and end the connection."""
        if answer is not None and self._connection.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._send(answer)
        self._restart_timer(CLOSE_SECONDS, self._transport.abortConnection)
        self._transport.loseConnection()

    def _ping(self) -> None:
        if not self._ponged:
            self._transport.abortConnection()
            return
        if not self._is_open():
            return
        self._ponged = False
        self._send(Ping())
        self._restart_timer(PING_SECONDS, self._ping)

    def _send(self, event: Event) -> None:
        self._transport.write(self._connection.send(event))

    def _restart_timer(self, seconds: float, what: Callable[[], None]) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, what)
