"""A bot behind the real WebSocket client, without sockets: the server's end is wsproto, time is a `Clock`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from zope.interface import implementer

from audiosocket.outbound.websocket import WebSocketClient
from audiosocket.outbound.websocket_interface import WebSocketLimits, WebSocketObserver


class _Transport(StringTransport):
    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See `ITCPTransport`."""

    def abortConnection(self) -> None:
        """See `ITCPTransport`."""
        self.aborted = True
        self.protocol.connectionLost()


@implementer(IStreamClientEndpoint)
class InMemoryBot:
    """Accepts each handshake; `exchange` takes what it was sent and answers pings while `answers_pings`."""

    def __init__(self, clock: Clock) -> None:
        self.answers_pings = True
        self.pings = 0
        self._clock = clock
        self._protocol: Any = None
        self._transport = _Transport()
        self._wire = WSConnection(ConnectionType.SERVER)

    def __call__(
        self,
        url: str,
        observer: WebSocketObserver,
        *,
        headers: Mapping[str, str],
        subprotocols: Sequence[str],
        ca_file: str,
        limits: WebSocketLimits,
    ) -> WebSocketClient:
        return WebSocketClient(
            url, observer, self, self._clock, headers=headers, subprotocols=subprotocols, limits=limits
        )

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint`."""
        self._protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type] # no address
        self._transport.protocol = self._protocol
        self._protocol.makeConnection(self._transport)
        self.exchange()
        return succeed(self._protocol)

    @property
    def dropped(self) -> bool:
        """Whether the client has dropped the connection."""
        return self._transport.aborted

    def exchange(self) -> None:
        """Take what the client has written, and answer."""
        data = self._transport.value()
        self._transport.clear()
        self._wire.receive_data(data)
        for event in self._wire.events():
            if isinstance(event, ws.Request):
                self._protocol.dataReceived(self._wire.send(ws.AcceptConnection()))
            elif isinstance(event, ws.Ping):
                self.pings += 1
                if self.answers_pings:
                    self._protocol.dataReceived(self._wire.send(event.response()))
