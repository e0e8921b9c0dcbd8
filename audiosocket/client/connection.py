"""One non-blocking TCP connection in the reactor that exposes every read and write.

Twisted's transports buffer what the kernel does not accept and hide how a connection ended. An imitation of
Asterisk needs both, so this connection has a socket of its own.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReadDescriptor, IWriteDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

#: Seconds for one address, ``MAX_CONNECT_TIMEOUT_MSEC`` of res_audiosocket.c.
CONNECT_TIMEOUT = 2.0
READ_BYTES = 65_536

Address = tuple[int, Any]


class ConnectionReactor(Protocol):
    """The methods of a reactor that a caller uses: descriptors, timers, and threads to resolve names in."""

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall: ...

    def addReader(self, reader: IReadDescriptor) -> None: ...

    def removeReader(self, reader: IReadDescriptor) -> None: ...

    def addWriter(self, writer: IWriteDescriptor) -> None: ...

    def removeWriter(self, writer: IWriteDescriptor) -> None: ...

    def getThreadPool(self) -> Any: ...


async def connect(
    reactor: ConnectionReactor, host: str, port: int, clock: Callable[[], float], send_buffer: int | None = None
) -> tuple[Connection, float]:
    """Return a `Connection` and the time just before its attempt; the addresses are tried in turn, 2 s each.

    Raises `OSError`, that of the last address. Cancelling closes the socket.
    """
    problem = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for address in await _addresses(reactor, host, port):
        began = clock()
        try:
            connection = Connection(reactor, address, send_buffer)
            await connection.connect()
        except OSError as error:
            problem = error
        else:
            return connection, began
    raise problem


async def _addresses(reactor: ConnectionReactor, host: str, port: int) -> list[Address]:
    """Return every address of ``host`` in the system's order, as Asterisk tries them."""
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    except socket.gaierror:
        found = await deferToThreadPool(
            cast(IReactorFromThreads, reactor),
            reactor.getThreadPool(),
            socket.getaddrinfo,
            host,
            port,
            type=socket.SOCK_STREAM,
        )
    return [(int(family), address) for family, _kind, _protocol, _name, address in found]


@implementer(IReadDescriptor, IWriteDescriptor)
class Connection:
    """A socket: `connect`, then `receive` when ``readable`` was called, `send`, and `hang_up` or `close`."""

    def __init__(self, reactor: ConnectionReactor, address: Address, send_buffer: int | None = None) -> None:
        family, self._address = address
        self._reactor = reactor
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if send_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self._connecting: Deferred[None] | None = None
        self._timeout: IDelayedCall | None = None
        self._readable: Callable[[], None] | None = None
        self._backlog = b""
        self._error: OSError | None = None
        self._open = True

    def connect(self) -> Deferred[None]:
        """Return a Deferred that fires when connected; it fails with `OSError` after 2 s at the latest."""
        self._connecting = Deferred(lambda _: self.close())
        problem = self._socket.connect_ex(self._address)
        if problem in (0, errno.EINPROGRESS):
            self._timeout = self._reactor.callLater(CONNECT_TIMEOUT, self._connected, errno.ETIMEDOUT)
            self._reactor.addWriter(self)
            return self._connecting
        connecting = self._connecting
        self._connected(problem)
        return connecting

    def attach(self, readable: Callable[[], None]) -> None:
        """Call ``readable`` from now on whenever `receive` returns bytes or the end, or raises."""
        self._readable = readable
        self._reactor.addReader(self)

    def receive(self) -> bytes | None:
        """Return what the kernel has, ``b""`` at the end of the stream, None for nothing yet; raise `OSError`."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        if not data and self._error is not None:
            raise self._error
        return data

    def send(self, data: bytes) -> int:
        """Call ``send()`` once; return how many bytes the kernel accepted, 0 when its buffer is full.

        A closed connection accepts everything: what was received before is still to be read, and `receive` raises
        the error after that (the kernel reports it only once).
        """
        if self._backlog:
            self._backlog += data
            return len(data)
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._error = error
            return len(data)

    def send_all(self, data: bytes) -> None:
        """Send all of ``data`` as the kernel has space; what is sent later is queued behind it."""
        sent = self.send(data)
        if sent < len(data):
            self._backlog = data[sent:]
            self._reactor.addWriter(self)

    def hang_up(self) -> None:
        """Send FIN; reading continues."""
        self._stop_writing()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # reset by the peer: the next read raises it
                raise

    def reset(self) -> None:
        """Send RST."""
        if self._open:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the socket; the kernel sends RST if data of the server is unread."""
        if not self._open:
            return
        self._open = False
        self._stop_writing()
        self._reactor.removeReader(self)
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        self._socket.close()

    def _stop_writing(self) -> None:
        self._backlog = b""
        self._reactor.removeWriter(self)

    def _connected(self, problem: int) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is None:
            return
        if problem:
            self.close()
            connecting.errback(OSError(problem, os.strerror(problem)))
            return
        self._reactor.removeWriter(self)
        if self._timeout is not None:
            self._timeout.cancel()
        connecting.callback(None)

    # Called by the reactor.

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "caller"

    def doRead(self) -> None:
        if self._readable is not None:
            self._readable()

    def doWrite(self) -> None:
        if self._connecting is not None:
            self._connected(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            return
        backlog, self._backlog = self._backlog, b""
        self._backlog = backlog[self.send(backlog) :]
        if not self._backlog:
            self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """Read the end or the error, which the reactor noticed first, from the socket."""
        if not self._open:
            return
        if self._connecting is not None:
            self.doWrite()
        else:
            self.doRead()
