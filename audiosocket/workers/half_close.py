"""Connections nobody can answer: closed without a goodbye, so that the dialplan dials again."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

#: Asterisk closes within milliseconds of our FIN; who does not is cut off, in seconds.
CLOSE_SECONDS = 2.0


class HalfCloseProtocol(Protocol):
    """Half-closes, reads until the other side closes, aborts after 2 s.

    No hangup frame: that would tell the dialplan that the call is over. No closing with audio unread either:
    the kernel would answer with RST, on which Asterisk's application hangs up the caller.
    """

    transport: ITCPTransport

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self.transport.loseWriteConnection()
        self._timer = self._reactor.callLater(CLOSE_SECONDS, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Nobody listens."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class HalfCloseFactory(Factory):
    """Says it to sockets."""

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> HalfCloseProtocol:
        return HalfCloseProtocol(self._reactor)

    def say(self, connection: socket.socket) -> None:
        """Part from a connected socket, which is closed here."""
        with connection:
            connection.setblocking(False)
            try:
                self._reactor.adoptStreamConnection(connection.fileno(), connection.family, self)
            except OSError:
                return  # its peer was faster
