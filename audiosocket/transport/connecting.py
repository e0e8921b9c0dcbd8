"""Outgoing connections whose sockets are read together with those of the legs: a client endpoint of its own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, NoProtocol, TimeoutError, getConnectError
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReadDescriptor,
    IStreamClientEndpoint,
    IWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.transport.epoll import SocketPoller
from audiosocket.transport.own_socket import address_of
from audiosocket.transport.tcp import DirectTransport

#: Results of a connect() that goes on.
_UNDER_WAY = frozenset({0, errno.EINPROGRESS, errno.EINTR})


class ConnectingReactor(Protocol):
    """The part of `IReactorFDSet` and `IReactorTime` that is needed here."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """Call ``reader.doRead`` when it is readable."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Watch ``reader`` no more."""

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Call ``writer.doWrite`` when it is writable."""

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Watch ``writer`` no more."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall:
        """Call ``callable`` after ``delay`` seconds."""


@implementer(IStreamClientEndpoint)
class DirectEndpoint:
    """One numeric address and port; ``timeout`` seconds for the connection, as for `TCP4ClientEndpoint`."""

    def __init__(
        self, reactor: ConnectingReactor, poller: SocketPoller, address: str, port: int, timeout: float
    ) -> None:
        self._reactor = reactor
        self._poller = poller
        self._address = address
        self._port = port
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; fails with `ConnectError` or one of its kinds, as Twisted's endpoints do."""
        attempt = _Attempt(self._reactor, self._poller, self._address, self._port, protocolFactory)
        attempt.begin(self._timeout)
        return attempt.connected


@implementer(IWriteDescriptor)
class _Attempt:
    """One connection that is being made; watched by the reactor until its socket can be written to."""

    def __init__(
        self, reactor: ConnectingReactor, poller: SocketPoller, address: str, port: int, factory: IProtocolFactory
    ) -> None:
        self._reactor = reactor
        self._poller = poller
        self._where = (address, port)
        self._factory = factory
        self._socket: socket.socket | None = None
        self._timer: IDelayedCall | None = None
        self.connected: Deferred[IProtocol] = Deferred(self._cancelled)

    def begin(self, timeout: float) -> None:
        """Begin to connect."""
        family = socket.AF_INET6 if ":" in self._where[0] else socket.AF_INET
        try:
            self._socket = skt = socket.socket(family, socket.SOCK_STREAM)
            skt.setblocking(False)
            number = skt.connect_ex(self._where)
        except OSError as problem:  # no descriptor is free, or this system has no IPv6
            self._fail(getConnectError(problem))
            return
        if number not in _UNDER_WAY:
            self._fail(getConnectError(OSError(number, os.strerror(number))))
            return
        self._timer = self._reactor.callLater(timeout, self._fail, TimeoutError())
        self._reactor.addWriter(self)

    # called by the reactor

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 when it is closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """Return the name used in the reactor's log lines."""
        return "connecting"

    def doWrite(self) -> None:
        """Hand the socket to its transport, or report why there is no connection."""
        skt = self._socket
        if skt is None:
            return
        problem = _refusal(skt)
        if problem is None:
            try:
                peer = skt.getpeername()
            except OSError as gone:  # the peer has closed it meanwhile
                problem = gone
            else:
                self._stop()
                self._hand_over(skt, peer)
                return
        self._fail(getConnectError(problem))

    def connectionLost(self, reason: Failure) -> None:
        """Report why there is no connection: it is refused, or the reactor stops."""
        skt = self._socket
        self._fail(getConnectError((skt is not None and _refusal(skt)) or OSError(str(reason.value))))

    def _hand_over(self, skt: socket.socket, peer: tuple[Any, ...]) -> None:
        self._socket = None
        protocol = self._factory.buildProtocol(address_of(peer))
        if protocol is None:
            skt.close()
            self.connected.errback(NoProtocol())
            return
        transport = DirectTransport(self._poller, skt, protocol, peer, None, 0, self._reactor)
        protocol.makeConnection(transport)
        self.connected.callback(protocol)

    def _stop(self) -> None:
        """Watch the socket no more."""
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
            self._reactor.removeWriter(self)

    def _fail(self, problem: Exception) -> None:
        self._stop()
        skt, self._socket = self._socket, None
        if skt is not None:
            skt.close()
        if not self.connected.called:
            self.connected.errback(problem)

    def _cancelled(self, connected: Deferred[IProtocol]) -> None:
        self._fail(ConnectingCancelledError(address_of(self._where)))


def _refusal(skt: socket.socket) -> OSError | None:
    number = skt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None
