"""A WebSocket server on loopback, over wsproto, that tests read from and direct event by event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws

from tests.support.certificates import ServerTLS
from tests.support.reactor import reactor


class ServerConnection(protocol.Protocol):
    """One accepted connection; ``events`` holds what the client has sent, and None at its end."""

    transport: ITCPTransport

    def __init__(self) -> None:
        self.events: DeferredQueue[ws.Event | None] = DeferredQueue()
        self.wire = WSConnection(ConnectionType.SERVER)
        #: The connection is over.
        self.gone = False

    def dataReceived(self, data: bytes) -> None:
        self.wire.receive_data(data)
        for event in self.wire.events():
            self.events.put(event)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.gone = True
        self.events.put(None)

    def next(self) -> Deferred[Any]:
        """Return the client's next event."""
        return self.events.get()

    def send(self, *events: ws.Event) -> None:
        """Send events in one segment."""
        self.send_bytes(b"".join(self.wire.send(event) for event in events))

    def send_bytes(self, data: bytes) -> None:
        """Send what wsproto would not."""
        self.transport.write(data)

    async def accept(self, subprotocol: str | None = None, *then: ws.Event) -> ws.Request:
        """Read the request and accept it; ``then`` is sent in the same segment."""
        request = await self.next()
        assert isinstance(request, ws.Request)
        accepted = self.wire.send(ws.AcceptConnection(subprotocol=subprotocol))
        self.send_bytes(accepted + b"".join(self.wire.send(event) for event in then))
        return request


class WebSocketServer(protocol.Factory):
    """Listens on loopback; ``connections`` holds those that were made and not yet taken."""

    protocol = ServerConnection
    noisy = False

    def __init__(self) -> None:
        self.connections: DeferredQueue[ServerConnection] = DeferredQueue()
        self.port = 0

    def buildProtocol(self, addr: object) -> ServerConnection:
        connection = self.protocol()
        connection.factory = self
        self.connections.put(connection)
        return connection

    def connection(self) -> Deferred[ServerConnection]:
        """Return the next connection."""
        return self.connections.get()


@asynccontextmanager
async def websocket_server(tls: ServerTLS | None = None) -> AsyncIterator[WebSocketServer]:
    """Run a `WebSocketServer`, with TLS if it has a certificate."""
    server = WebSocketServer()
    if tls is None:
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
    else:
        port = reactor.listenSSL(0, server, tls, interface="127.0.0.1")
    server.port = port.getHost().port
    try:
        yield server
    finally:
        await port.stopListening()
