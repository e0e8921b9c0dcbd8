"""Close connections that no worker can take without a hangup frame, so that the dialplan dials again."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from audiosocket.server.reactor import ServerReactor

#: Asterisk closes within milliseconds of our FIN; a peer that does not is aborted after this, in seconds.
CLOSE_SECONDS = 2.0


class HalfCloseProtocol(Protocol):
    """Half-closes, reads until the peer closes, aborts after 2 s.

    It sends no hangup frame: that would tell the dialplan that the call is over. It does not close with audio
    unread either: the kernel would answer with RST, on which Asterisk's application hangs up the caller.
    """

    transport: ITCPTransport

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self.transport.loseWriteConnection()
        self._timer = self._clock.callLater(CLOSE_SECONDS, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Drop the audio that still arrives."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class HalfCloseFactory(ServerFactory):
    """Closes connected sockets with a `HalfCloseProtocol` each."""

    noisy = False

    def __init__(self, reactor: ServerReactor) -> None:
        self._reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> HalfCloseProtocol:
        return HalfCloseProtocol(self._reactor)

    def half_close(self, connection: socket.socket) -> None:
        """Half-close a connected socket; ``connection`` itself is closed here."""
        with connection:
            connection.setblocking(False)
            try:
                self._reactor.adoptStreamConnection(connection.fileno(), connection.family, self)
            except OSError:
                return  # the peer has closed already
