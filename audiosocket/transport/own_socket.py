"""What a transport tells about its socket, and the options that its protocol may set."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address


class OwnSocket:
    """The part of `ITCPTransport` that is the same for each transport with a socket of its own."""

    __slots__ = ("_peer", "_socket")

    #: None once it is closed.
    _socket: socket.socket | None
    _peer: tuple[Any, ...]

    def getHandle(self) -> socket.socket:
        """Return the socket; raises `ValueError` when it is closed."""
        return self._open()

    def getPeer(self) -> IPv4Address | IPv6Address:
        """Return the address of the other end, also when it has closed."""
        return address_of(self._peer)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return the address of this end; raises `ValueError` when the socket is closed."""
        return address_of(self._open().getsockname())

    def getTcpNoDelay(self) -> bool:
        return bool(self._open().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._open().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self._open().getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._open().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise ValueError("this connection is closed")
        return self._socket


def address_of(where: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    """Return an address of the socket module as Twisted's."""
    return (IPv4Address if len(where) == 2 else IPv6Address)("TCP", *where)
