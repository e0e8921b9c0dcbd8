"""TLS in front of the PostgreSQL of the tests, whose wheel has none.

It answers libpq's SSLRequest (PostgreSQL's "Message Formats") as a server with ``ssl = on`` does, and passes on
what comes, decrypted.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols import portforward
from twisted.python.failure import Failure

from tests.support.certificates import ServerTLS
from tests.support.reactor import reactor

_SSL_REQUEST = struct.pack(">II", 8, 80877103)


class _Front(portforward.ProxyServer):
    """One client: the SSLRequest, then TLS, then bytes for the server."""

    factory: Any  # PostgresTLS
    transport: Any  # a TCP transport
    _received = b""
    _secure = False

    def connectionMade(self) -> None:
        self.factory.clients.add(self)

    def dataReceived(self, data: bytes) -> None:
        if self._secure:
            super().dataReceived(data)
            return
        self._received += data
        if len(self._received) < len(_SSL_REQUEST):
            return
        if self._received != _SSL_REQUEST or self.factory.tls is None:
            # what a server without TLS, and one that takes nothing else, do
            self.transport.write(b"N")
            self.transport.loseConnection()
            return
        self._secure = True
        self.transport.write(b"S")
        self.transport.startTLS(self.factory.tls)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.clients.discard(self)
        super().connectionLost(reason)


class PostgresTLS(Factory):
    """A port of loopback with ``tls`` in front of PostgreSQL at ``host`` and ``port``; ``tls`` may be replaced."""

    protocol: Any = _Front

    def __init__(self, host: str, port: int, tls: ServerTLS | None) -> None:
        self.host, self.port = host, port  # as portforward names them
        self.tls = tls
        self.clients: set[_Front] = set()
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.front_port: int = self._port.getHost().port

    def drop(self) -> None:
        """Close the connections of all clients."""
        for client in list(self.clients):
            client.transport.abortConnection()

    async def close(self) -> None:
        """Stop listening and close what is open."""
        self.drop()
        await self._port.stopListening()
