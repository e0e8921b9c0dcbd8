"""The messages between a process and its successor, and the sockets that go along with them.

A pair of ``SOCK_SEQPACKET`` sockets: a message is short, or the bytes of a hand-over in pieces, with the
descriptors before them. All methods block, for `EXCHANGE_SECONDS` at most: the one process has stopped doing
anything else, and the other has not begun.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

#: The longest time that one side waits for the other while nobody serves the calls, in seconds.
EXCHANGE_SECONDS = 5.0
#: Bytes of a packet: the smallest default of a socket's buffer that is known holds three.
PACKET_BYTES = 60_000
#: Descriptors in a packet; the kernel allows 253.
DESCRIPTORS = 200
SEND_BUFFER_BYTES = 1_000_000

#: Messages: the successor is ready; it has understood what it was given; it is to begin; it has begun.
READY, TAKEN, BEGIN, DONE = b"ready", b"taken", b"begin", b"done"
#: A message of the successor that begins like this says why it cannot take over.
REFUSED = b"no: "
_DESCRIPTORS, _DATA, _END = b"f", b"d", b"e"


class ChannelClosed(OSError):
    """The other process is gone, or does not answer."""


class HandOverChannel:
    """One end of the pair. Methods raise OSError when the other end is gone or does not answer in time."""

    def __init__(self, skt: socket.socket) -> None:
        self._socket = skt
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        skt.settimeout(EXCHANGE_SECONDS)

    @classmethod
    def pair(cls) -> tuple[HandOverChannel, socket.socket]:
        """Return an end and the socket of the other, for the successor."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    @classmethod
    def of(cls, descriptor: int) -> HandOverChannel:
        """Return the end that was inherited as this descriptor."""
        skt = socket.socket(fileno=descriptor)
        skt.set_inheritable(False)
        return cls(skt)

    def fileno(self) -> int:
        """Return the descriptor, -1 when it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, message: bytes) -> None:
        """Send a short message."""
        self._socket.sendall(message)

    def expect(self, wanted: bytes) -> None:
        """Wait for this message; raises OSError for another one."""
        answer = self.receive()
        if answer != wanted:
            raise ChannelClosed(f"it answered {answer[:100]!r}")

    def receive(self) -> bytes:
        """Wait for a short message; raises `ChannelClosed` when the other process is gone."""
        try:
            message = self._socket.recv(PACKET_BYTES)
        except TimeoutError:
            raise ChannelClosed(f"no answer within {EXCHANGE_SECONDS:g} s") from None
        if not message:
            raise ChannelClosed("the other process is gone")
        return message

    def send_all(self, data: bytes, numbers: Sequence[int]) -> None:
        """Send everything that is handed over: bytes, and descriptors in their order."""
        for at in range(0, len(numbers), DESCRIPTORS):
            socket.send_fds(self._socket, [_DESCRIPTORS], numbers[at : at + DESCRIPTORS])
        for at in range(0, len(data), PACKET_BYTES):
            self._socket.sendall(_DATA + data[at : at + PACKET_BYTES])
        self._socket.sendall(_END)

    def receive_all(self) -> tuple[bytes, list[int]]:
        """Return what `send_all` sent; the caller owns the descriptors. If this raises OSError they are closed."""
        pieces: list[bytes] = []
        received: list[int] = []
        try:
            while True:
                packet, numbers, flags, _ = socket.recv_fds(self._socket, PACKET_BYTES + 1, DESCRIPTORS)
                received += numbers
                for number in numbers:
                    os.set_inheritable(number, False)
                _check(packet, flags)
                if packet[:1] == _END:
                    return b"".join(pieces), received
                if packet[:1] == _DATA:
                    pieces.append(packet[1:])
        except BaseException:
            for number in received:
                os.close(number)
            raise


def _check(packet: bytes, flags: int) -> None:
    if flags & socket.MSG_CTRUNC:
        raise ChannelClosed("there are not enough file descriptors for all connections")
    if not packet:
        raise ChannelClosed("the other process is gone")
