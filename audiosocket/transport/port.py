"""A listening port that accepts few connections at a time, and none while file descriptors have run out."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.tcp import Port
from twisted.logger import Logger

from audiosocket.transport.accept_gate import EXHAUSTED, AcceptGate
from audiosocket.transport.open_files import DescriptorReserve

#: Connections accepted in one turn of the reactor; the rest waits in the kernel's queue.
ACCEPTS_PER_TURN = 8


class ThrottledPort(Port):
    """A port that accepts few connections at a time, so that a flood of them does not delay the calls.

    Twisted's own accepts a hundred and more per turn of the reactor, and lets the number grow. When descriptors
    run out, it accepts and closes connections, with three log lines each; this one pauses.
    """

    #: Makes the transport of an accepted socket, called as `Server` is.
    transport: Any
    factory: Any
    reactor: Any
    #: Where it waits while descriptors have run out; None for a gate of its own, without a reserve.
    gate: AcceptGate | None = None
    #: Called with the listening socket before it listens.
    prepare: Callable[[socket.socket], None] | None = None
    _logger = Logger()

    def createInternetSocket(self) -> socket.socket:
        """Return a socket that is neither bound nor listening."""
        made: socket.socket = super().createInternetSocket()
        if self.prepare is not None:
            self.prepare(made)
        return made

    def doRead(self) -> None:
        """Accept some connections."""
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, address = self.socket.accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self.stopReading()
                    self._gate().pause(self, error)
                return  # or nobody waits any more
            try:
                self._connect(accepted, address)
            except Exception:  # noqa: BLE001 - one connection must not affect the others
                self._logger.failure("a connection is closed: it could not be set up")
            if self.disconnecting or self.disconnected:
                return

    def _connect(self, accepted: socket.socket, address: tuple[Any, ...]) -> None:
        if len(address) == 4:  # only this has the scope of an IPv6 address as text
            numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            address = (socket.getnameinfo(address, numeric)[0], *address[1:])
        session, self.sessionno = self.sessionno, self.sessionno + 1
        try:
            protocol: IProtocol | None = self.factory.buildProtocol(self._buildAddr(address))
            if protocol is None:
                accepted.close()
                return
            transport = self.transport(accepted, protocol, address, self, session, self.reactor)
        except BaseException:
            accepted.close()
            raise
        try:
            protocol.makeConnection(transport)
        except BaseException:
            transport.abortConnection()
            raise

    def _gate(self) -> AcceptGate:
        if self.gate is None:
            self.gate = AcceptGate(self.reactor, DescriptorReserve(0))
        return self.gate

    def go_on(self) -> None:
        """Accept again, unless it is closed."""
        if self.connected and not self.disconnecting:
            self.startReading()
