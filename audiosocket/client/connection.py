"""One non-blocking TCP connection in the reactor, as naked as Asterisk's own: every read and write is seen.

Twisted's transports buffer what does not fit and hide how a connection ended; an imitation of Asterisk has to
see both, so this one owns its socket.
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
CONNECT_PATIENCE = 2.0
READ_BYTES = 65_536

Address = tuple[int, Any]


class ConnectionReactor(Protocol):
    """What the caller needs of a reactor: descriptors, timers and threads to resolve names in."""

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
    """A connected line and the time just before it was tried: each address in turn, 2 s for each.

    Raises `OSError`, that of the last address; cancelling leaves no socket behind.
    """
    problem = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for address in await _addresses(reactor, host, port):
        began = clock()
        try:
            line = Connection(reactor, address, send_buffer)
            await line.connect()
        except OSError as error:
            problem = error
        else:
            return line, began
    raise problem


async def _addresses(reactor: ConnectionReactor, host: str, port: int) -> list[Address]:
    """Every address of ``host`` in the system's order, as Asterisk tries them."""
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
    """The socket: `connect` it, be told by ``readable`` when something came, `receive`, `send`, end it."""

    def __init__(self, reactor: ConnectionReactor, address: Address, send_buffer: int | None = None) -> None:
        family, self._address = address
        self._reactor = reactor
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if send_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self._connecting: Deferred[None] | None = None
        self._patience: IDelayedCall | None = None
        self._readable: Callable[[], None] | None = None
        self._backlog = b""
        self._fault: OSError | None = None
        self._open = True

    def connect(self) -> Deferred[None]:
        """Fires when the connection is up; fails with `OSError`, after 2 s at the latest."""
        self._connecting = Deferred(lambda _: self.close())
        problem = self._socket.connect_ex(self._address)
        if problem in (0, errno.EINPROGRESS):
            self._patience = self._reactor.callLater(CONNECT_PATIENCE, self._connected, errno.ETIMEDOUT)
            self._reactor.addWriter(self)
            return self._connecting
        connecting = self._connecting
        self._connected(problem)
        return connecting

    def attach(self, readable: Callable[[], None]) -> None:
        """From now on ``readable`` is called whenever `receive` has something: bytes, the end or an error."""
        self._readable = readable
        self._reactor.addReader(self)

    def receive(self) -> bytes | None:
        """What the kernel has, ``b""`` at the end of the stream, None for nothing yet; raises `OSError`."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        if not data and self._fault is not None:
            raise self._fault
        return data

    def send(self, data: bytes) -> int:
        """One ``send()``: how many bytes the kernel took, 0 when its buffer is full.

        A connection that is gone takes everything: what came before its end is still to be read, and
        `receive` raises the error after that (the kernel reports it once, to whoever asks first).
        """
        if self._backlog:
            self._backlog += data
            return len(data)
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fault = error
            return len(data)

    def send_patiently(self, data: bytes) -> None:
        """Send all of it, as the kernel has room; what is sent afterwards queues behind it."""
        sent = self.send(data)
        if sent < len(data):
            self._backlog = data[sent:]
            self._reactor.addWriter(self)

    def hang_up(self) -> None:
        """FIN; reading goes on."""
        self._forget_writing()
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # the peer has reset it: the read that comes next will say so
                raise

    def reset(self) -> None:
        """RST instead of FIN, now."""
        if self._open:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Leave the reactor and close the socket (RST if the server's data is unread, as everywhere)."""
        if not self._open:
            return
        self._open = False
        self._forget_writing()
        self._reactor.removeReader(self)
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._socket.close()

    def _forget_writing(self) -> None:
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
        if self._patience is not None:
            self._patience.cancel()
        connecting.callback(None)

    # What the reactor calls.

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
        """The reactor saw a hang-up or an error before we did; the socket itself tells which."""
        if not self._open:
            return
        if self._connecting is not None:
            self.doWrite()
        else:
            self.doRead()
