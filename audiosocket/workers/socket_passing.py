"""An accepted connection goes to the worker that owns its UUID: the socket itself, and what was read of it.

Each worker has an inbox, one end of a pair of datagram sockets whose other end all the others send into. The
front holds both ends as well, so what lies in an inbox survives its reader and waits for the next one.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.errors import AudioSocketError
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.parsing import parse_json

#: Connections taken from the inbox between two turns of the reactor.
PER_TURN = 8
#: A handed connection with all that can have been read of it, in bytes.
LETTER_BYTES = 72_000
#: What an inbox holds while its worker is being replaced, in bytes of kernel memory.
INBOX_BYTES = 4_000_000

#: Heads of letters, one for each port, that need not be made or read again.
HEADS_KEPT = 4_096

_HEAD = struct.Struct(">H")


@dataclass(frozen=True)
class PassedSocket:
    """A connection on its way: the port it came in by (``token``), whose and for whom that is, what it said."""

    token: int
    extension: Extension
    role: Role
    unread: bytes


def inbox() -> tuple[socket.socket, socket.socket]:
    """The end to send into and the end to read from."""
    into, out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (into, out):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, INBOX_BYTES)
    return into, out


def send(into: socket.socket, handed: PassedSocket, descriptor: int) -> bool:
    """Put a connection into an inbox; false when that is full. The caller closes its own descriptor."""
    try:
        socket.send_fds(into, [_head(handed.token, handed.extension, handed.role), handed.unread], [descriptor])
    except OSError:
        return False
    return True


@lru_cache(maxsize=HEADS_KEPT)
def _head(token: int, extension: Extension, role: Role) -> bytes:
    about = {"token": token, "extension": extension.to_json(), "role": role.value}
    head = json.dumps(about, separators=(",", ":")).encode()
    return _HEAD.pack(len(head)) + head


@lru_cache(maxsize=HEADS_KEPT)
def _about(head: bytes) -> tuple[int, Extension, Role]:
    about: Mapping[str, Any] = json.loads(head)
    return int(about["token"]), parse_json(about["extension"]), Role(about["role"])


@implementer(IReadDescriptor)
class Inbox:
    """Reads an inbox in the reactor and gives each connection to ``take``, which then owns the descriptor."""

    _log = Logger()

    def __init__(self, out: socket.socket, take: Callable[[PassedSocket, int], object], reactor: Any) -> None:
        self._out = out
        self._take = take
        self._reactor = reactor

    def start(self) -> None:
        """Read from now on."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Leave what comes to somebody else."""
        self._reactor.removeReader(self)

    def fileno(self) -> int:
        return self._out.fileno()

    def logPrefix(self) -> str:
        return "inbox"

    def connectionLost(self, reason: object) -> None:
        """The reactor stops."""

    def doRead(self) -> None:
        for _ in range(PER_TURN):
            try:
                letter, descriptors, _flags, _address = socket.recv_fds(self._out, LETTER_BYTES, 1)
            except BlockingIOError:
                return
            if not letter:  # all senders are gone
                self.stop()
                return
            if not descriptors:
                self._log.error(
                    "a connection handed over is lost: too many open files; raise the limit (ulimit -n)"
                )
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
                self._open(letter, descriptor)

    def _open(self, letter: bytes, descriptor: int) -> None:
        try:
            handed = _read(letter)
        except (ValueError, KeyError, struct.error, AudioSocketError):
            self._log.failure("a connection handed over is closed: its letter cannot be read")
            os.close(descriptor)
            return
        self._take(handed, descriptor)


def _read(letter: bytes) -> PassedSocket:
    (length,) = _HEAD.unpack_from(letter)
    start = _HEAD.size
    return PassedSocket(*_about(letter[start : start + length]), letter[start + length :])


def take_out(transport: Any) -> socket.socket:
    """The socket of a transport, which hears nothing more of it; its protocol is told nothing."""
    if hasattr(transport, "detach"):
        mine: socket.socket = transport.detach()
        return mine
    # Twisted's own would shut the connection down for every process: it gets something else to close.
    transport.unregisterProducer()
    transport.stopReading()
    transport.stopWriting()
    mine, transport.socket = transport.socket, socket.socket()
    transport.protocol = Protocol()
    transport.connectionLost(Failure(ConnectionDone()))
    return mine
