"""The TCP transport of a leg or a bot: writes directly, queues what the kernel does not take, uses little memory.

To its protocol it behaves like Twisted's TCP transport. Three things differ: a write goes to the socket directly
and only its rest is queued; while several frames are read at once, the answers are held back and written in one
piece; it is watched by a `SocketPoller`. See ``docs/transport.md``.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IProtocol,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.transport.epoll import READ, WRITE, PolledTransport, SocketPoller
from audiosocket.transport.own_socket import OwnSocket

READ_BYTES = 65_536
#: A read of this size may be several frames, whose answers should be written together: two of 20 ms at 8 kHz.
CORK_BYTES = 646
#: Bytes that may be queued before the producer is paused.
MAX_QUEUE_BYTES = 65_536

_DISCONNECTED = 0x008 | 0x010  # EPOLLERR, EPOLLHUP
_DONE = Failure(ConnectionDone())
_LOST = Failure(ConnectionLost())
_ABORTED = Failure(ConnectionAborted())
#: SO_LINGER on, for 0 s: closing sends RST and drops what is not yet sent.
_NO_LINGER = struct.pack("ii", 1, 0)


@implementer(ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class DirectTransport(OwnSocket):
    """The transport of one connection.

    The arguments after ``poll`` are those with which a listening `Port` makes its transports.
    """

    __slots__ = (
        "_closing",
        "_deliver",
        "_descriptor",
        "_held",
        "_mask",
        "_paused",
        "_poll",
        "_producer",
        "_protocol",
        "_queue",
        "_receive",
        "_send",
        "_shut",
    )
    _log = Logger()

    def __init__(
        self,
        poll: SocketPoller,
        skt: socket.socket,
        protocol: IProtocol,
        peer: tuple[Any, ...],
        port: object,
        session: int,
        reactor: object,
    ) -> None:
        skt.setblocking(False)
        self._poll = poll
        self._socket: socket.socket | None = skt
        self._descriptor = skt.fileno()
        self._send = skt.send
        self._receive = skt.recv
        self._protocol = protocol
        self._deliver = protocol.dataReceived
        self._peer = peer
        self._producer: IPushProducer | None = None
        #: Whether the producer is paused.
        self._paused = False
        #: What the kernel has not taken yet.
        self._queue: bytearray | None = None
        #: What was written while several frames are read at once.
        self._held: list[bytes] | None = None
        #: What follows once everything is written: "" nothing, "half" half-close, "whole" close.
        self._closing = ""
        #: True once nothing can be written any more.
        self._shut = False
        self._mask = READ
        poll.watch(self._descriptor, self)

    # writing

    def write(self, data: bytes) -> None:
        """Send ``data`` now as far as the kernel takes it, and queue the rest."""
        if self._poll.corked is not None:
            self._hold(data)
        elif self._queue is not None:
            self._enqueue(data)
        elif not self._shut:
            try:
                sent = self._send(data)
            except OSError as error:
                self._not_sent(data, error)
            else:
                if sent != len(data):
                    self._enqueue(data[sent:])

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send the pieces in one write."""
        self.write(b"".join(data))

    def _not_sent(self, data: bytes, error: OSError) -> None:
        if isinstance(error, BlockingIOError):
            self._enqueue(data)
        else:
            self._shut = True  # the poller sees the end of the connection and closes it

    def _enqueue(self, data: bytes) -> None:
        if self._queue is None:
            self._queue = bytearray()
            self._watch_for(self._mask | WRITE)
        self._queue += data
        if len(self._queue) > MAX_QUEUE_BYTES and self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def _hold(self, data: bytes) -> None:
        if self._held is None:
            self._held = []
            self._poll.corked.append(self)  # type: ignore[union-attr] # only called while there is a list
        self._held.append(data)

    def release(self) -> None:
        """Write what was held back while several frames were read."""
        held, self._held = self._held, None
        if held is not None:
            self.write(held[0] if len(held) == 1 else b"".join(held))
            self._close_if_written()

    def _write_more(self) -> None:
        queue = self._queue
        if queue is None:
            return
        try:
            sent = self._send(queue)
        except BlockingIOError:
            return
        except OSError:
            self.lose(_LOST)
            return
        del queue[:sent]
        if queue:
            return
        self._queue = None
        self._watch_for(self._mask & ~WRITE)
        if self._paused:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()
        self._close_if_written()

    # called by the poller

    def readable(self) -> None:
        """Read once and pass the bytes to the protocol."""
        try:
            data = self._receive(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.lose(_LOST)
            return
        if not data:
            self.lose(_DONE)
            return
        try:
            if len(data) < CORK_BYTES:
                self._deliver(data)
            else:
                self._corked(data)
        except Exception:  # noqa: BLE001 - an error in one connection must not affect the others
            self._log.failure("a connection is closed: its protocol raised")
            self.lose(Failure())

    def _corked(self, data: bytes) -> None:
        holding: list[PolledTransport] = []
        self._poll.corked = holding
        try:
            self._deliver(data)
        finally:
            self._poll.corked = None
            for transport in holding:
                transport.release()

    def ready(self, event: int) -> None:
        """Write more, or close; what the peer sent before it closed is read first."""
        if event & READ:
            self.readable()
        elif event & _DISCONNECTED:
            self.lose(_LOST)
            return
        if event & WRITE and self._socket is not None:
            self._write_more()

    def lose(self, reason: Failure) -> None:
        """Close the socket and report ``reason`` to the protocol; do nothing when closed already."""
        if self._socket is None:
            return
        self._release_socket().close()
        if self._producer is not None:
            self._producer.stopProducing()
            self._producer = None
        self._protocol.connectionLost(reason)

    def detach(self) -> socket.socket:
        """Return the open socket and end this transport; the protocol gets no more calls.

        Raises `ValueError` when it is closed or something is still queued.
        """
        if self._socket is None or self._queue is not None or self._held is not None:
            raise ValueError("this connection is closed or has not written everything")
        return self._release_socket()

    def _release_socket(self) -> socket.socket:
        skt = self._socket
        if skt is None:
            raise ValueError("this connection is closed")
        self._poll.forget(self._descriptor)
        self._socket, self._queue, self._held, self._shut = None, None, None, True
        return skt

    # closing

    def loseConnection(self) -> None:
        """Close once everything is written."""
        self._closing = "whole"
        self._close_if_written()

    def loseWriteConnection(self) -> None:
        """Half-close once everything is written; reading goes on."""
        if not self._closing:
            self._closing = "half"
        self._close_if_written()

    def _close_if_written(self) -> None:
        skt = self._socket
        if not self._closing or skt is None or self._queue is not None or self._held is not None:
            return
        if self._closing == "whole":
            self._poll.reactor.callLater(0, self.lose, _DONE)
        elif not self._shut:
            self._shut = True
            with suppress(OSError):  # the peer has closed it; the poller sees that
                skt.shutdown(socket.SHUT_WR)

    def abortConnection(self) -> None:
        """Reset the connection and drop the queue; ``connectionLost`` follows in the reactor's next turn."""
        skt = self._socket
        if skt is None:
            return
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._shut, self._queue, self._held = True, None, None
        self._watch_for(0)
        self._poll.reactor.callLater(0, self.lose, _ABORTED)

    # producer and consumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause ``producer`` while more than 64 kB are queued; only streaming producers are supported."""
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered already")
        if not streaming:
            raise ValueError("a leg's transport takes streaming producers only")
        if self._socket is None:
            producer.stopProducing()
        else:
            self._producer = cast("IPushProducer", producer)

    def unregisterProducer(self) -> None:
        """Pause and resume the producer no more."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Stop reading until `resumeProducing`."""
        self._watch_for(self._mask & ~READ)

    def resumeProducing(self) -> None:
        """Read again."""
        self._watch_for(self._mask | READ)

    def stopProducing(self) -> None:
        """Close, as nothing more is to be read."""
        self.loseConnection()

    def _watch_for(self, mask: int) -> None:
        if self._socket is not None and mask != self._mask:
            self._mask = mask
            self._poll.change(self._descriptor, mask)

    def read_on_tick(self, on_tick: bool, *, between: bool = False) -> None:
        """Read on the ticks of the clock (at most 5 ms late, and cheaper), or as soon as something has arrived.

        ``between``: on the ticks and halfway between them.
        """
        if self._socket is None:
            return
        if on_tick:
            self._poll.poll_on_tick(self._descriptor, self._mask, between=between)
        else:
            self._poll.poll_immediately(self._descriptor, self._mask)
