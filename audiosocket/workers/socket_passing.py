"""Pass an accepted connection to the worker that owns its UUID: the socket itself, and what was read from it.

Each worker has an inbox: the reading end of a pair of datagram sockets, whose sending end all the others have. The
supervisor holds both ends as well, so that messages in the inbox of a dead worker are read by the one that
replaces it.
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
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.errors import AudioSocketError
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.transport.accept_gate import AcceptGate

#: Messages read from the inbox in one turn of the reactor.
PER_TURN = 8
#: A message with all that can have been read from its connection, in bytes.
MAX_MESSAGE_BYTES = 72_000
#: What an inbox holds while its worker is being replaced, in bytes of kernel memory.
INBOX_BYTES = 4_000_000
#: Message headers, one for each port, that are cached.
MAX_HEADERS = 4_096

_LENGTH = struct.Struct(">H")


@dataclass(frozen=True)
class PassedSocket:
    """A connection on its way to its worker.

    ``token`` is the port that accepted it, ``extension`` and ``role`` are the port's, ``unread`` is all that was
    read from the connection.
    """

    token: int
    extension: Extension
    role: Role
    unread: bytes


def inbox() -> tuple[socket.socket, socket.socket]:
    """Return the sending end and the reading end of a new inbox."""
    into, out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (into, out):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, INBOX_BYTES)
    return into, out


def send(into: socket.socket, passed: PassedSocket, descriptor: int) -> bool:
    """Put a connection into an inbox; return false when that is full. The caller closes its own descriptor."""
    header = _header(passed.token, passed.extension, passed.role)
    try:
        socket.send_fds(into, [header, passed.unread], [descriptor])
    except OSError:
        return False
    return True


@lru_cache(maxsize=MAX_HEADERS)
def _header(token: int, extension: Extension, role: Role) -> bytes:
    fields = {"token": token, "extension": extension.to_json(), "role": role.value}
    header = json.dumps(fields, separators=(",", ":")).encode()
    return _LENGTH.pack(len(header)) + header


@lru_cache(maxsize=MAX_HEADERS)
def _parse_header(header: bytes) -> tuple[int, Extension, Role]:
    fields: Mapping[str, Any] = json.loads(header)
    return int(fields["token"]), parse_json(fields["extension"]), Role(fields["role"])


def _parse(message: bytes) -> PassedSocket:
    (length,) = _LENGTH.unpack_from(message)
    start = _LENGTH.size
    return PassedSocket(*_parse_header(message[start : start + length]), message[start + length :])


@implementer(IReadDescriptor)
class Inbox:
    """Reads an inbox in the reactor and calls ``received`` for each connection; that then owns the descriptor.

    ``gate`` is where it waits while file descriptors have run out: a message that is read then has lost its
    connection.
    """

    _log = Logger()

    def __init__(
        self,
        out: socket.socket,
        received: Callable[[PassedSocket, int], object],
        reactor: IReactorFDSet,
        gate: AcceptGate,
    ) -> None:
        self._out = out
        self._received = received
        self._reactor = reactor
        self._gate = gate
        self._running = False

    def start(self) -> None:
        """Start reading."""
        self._running = True
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Stop reading; what arrives stays in the inbox."""
        self._running = False
        self._reactor.removeReader(self)

    def go_on(self) -> None:
        """Read again, unless it was stopped."""
        if self._running:
            self._reactor.addReader(self)

    def fileno(self) -> int:
        return self._out.fileno()

    def logPrefix(self) -> str:
        return "inbox"

    def connectionLost(self, reason: object) -> None:
        """Do nothing; the reactor calls it when it stops."""

    def doRead(self) -> None:
        for _ in range(PER_TURN):
            try:
                os.close(os.dup(self._out.fileno()))
            except OSError as error:
                self._reactor.removeReader(self)
                self._gate.pause(self, error)
                return
            try:
                message, descriptors, _flags, _address = socket.recv_fds(self._out, MAX_MESSAGE_BYTES, 1)
            except BlockingIOError:
                return
            if not message:  # all sending ends are closed
                self.stop()
                return
            if not descriptors:
                self._log.error("a passed connection is lost: too many open files; raise the limit (ulimit -n)")
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
                self._message_received(message, descriptor)

    def _message_received(self, message: bytes, descriptor: int) -> None:
        try:
            passed = _parse(message)
        except (ValueError, KeyError, struct.error, AudioSocketError):
            self._log.failure("a passed connection is closed: its message cannot be parsed")
            os.close(descriptor)
            return
        self._received(passed, descriptor)


def detach_socket(transport: Any) -> socket.socket:
    """Return the socket of a transport, which does not use it any more; its protocol is not notified."""
    if hasattr(transport, "detach"):
        detached: socket.socket = transport.detach()
        return detached
    # Twisted's own transport would shut the connection down for every process: it gets another socket to close.
    transport.unregisterProducer()
    transport.stopReading()
    transport.stopWriting()
    detached, transport.socket = transport.socket, socket.socket()
    transport.protocol = Protocol()
    transport.connectionLost(Failure(ConnectionDone()))
    return detached
