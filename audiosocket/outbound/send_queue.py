"""Frames on their way into a TCP or TLS transport, counted when the transport has enough to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection
from zope.interface import implementer


@implementer(IPushProducer)
class SendQueue:
    """Writes frames to ``transport`` until it asks for a pause (Twisted: 64 KiB unsent); then they wait here.

    ``drained`` is called when the transport has passed on everything and no frame waits.
    """

    def __init__(self, transport: Any, drained: Callable[[], None]) -> None:
        self._transport = transport
        self._drained = drained
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        #: Whether the transport has asked for a pause.
        self.is_full = False
        #: Whether this is a TCP socket of Twisted's, without TLS.
        self._direct = isinstance(transport, Connection)
        transport.registerProducer(self, True)

    def __len__(self) -> int:
        """Return the bytes of frames that wait for a transport that is full, the last one it took included."""
        return self._bytes

    def add(self, frame: bytes) -> None:
        """Send a frame after all others."""
        if self.is_full:
            self._waiting.append(frame)
            self._bytes += len(frame)
        elif self._direct:
            self.add_first(frame)
        else:
            self._transport.write(frame)
            if self.is_full:
                self._bytes += len(frame)

    def add_first(self, frame: bytes) -> None:
        """Send a frame before those that wait."""
        sent = self._write_now(frame)
        if sent < len(frame):
            self._transport.write(frame[sent:] if sent else frame)
        if self.is_full:
            self._bytes += len(frame)

    def _write_now(self, frame: bytes) -> int:
        """Give the kernel what it takes of a frame before which nothing waits; return how many bytes those are.

        Twisted would wait until the socket is reported as writable: two more system calls and a reactor turn.
        """
        transport = self._transport
        if not self._direct or transport.dataBuffer or transport._tempDataBuffer or transport.disconnecting:
            return 0
        try:
            sent: int = transport.socket.send(frame)
        except OSError:  # full, or lost: Twisted's turn will show
            return 0
        return sent

    def close(self) -> None:
        """Drop what waits and let the transport go, so that it can close."""
        self.stopProducing()
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """See `IPushProducer`."""
        self.is_full = True

    def resumeProducing(self) -> None:
        """See `IPushProducer`: the transport has passed on all that it was given."""
        self.is_full = False
        waiting, self._waiting, self._bytes = self._waiting, deque(), 0
        while waiting and not self.is_full:
            self.add_first(waiting.popleft())
        self._waiting = waiting
        self._bytes += sum(map(len, waiting))
        if not self.is_full:
            self._drained()

    def stopProducing(self) -> None:
        """See `IPushProducer`: the connection is lost."""
        self._waiting.clear()
        self._bytes = 0
