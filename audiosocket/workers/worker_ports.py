"""The ports of one worker: sockets that the supervisor has opened, and connections that other workers pass."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.tcp import Server
from twisted.logger import Logger

from audiosocket.calls.protocol.connection import AudioSocketProtocol
from audiosocket.calls.protocol.factory import AudioSocketFactory, PassOn
from audiosocket.extensions.model import Extension, Role
from audiosocket.provisioning.extension_service import adopt
from audiosocket.server.reactor import ServerReactor
from audiosocket.transport.accept_gate import AcceptGate
from audiosocket.workers import socket_passing
from audiosocket.workers.affinity import owner
from audiosocket.workers.socket_passing import Inbox, PassedSocket

#: Ports opened in one turn of the reactor.
PER_TURN = 8


class WorkerPorts(Service):
    """The ports of worker number ``index``, and its inbox.

    ``inbox`` is the reading end of its own inbox, ``inboxes`` are the sending ends of all workers' inboxes.
    ``rejected`` is called with the reason when a connection cannot be passed. ``gate`` is where the inbox waits
    while file descriptors have run out.
    """

    _log = Logger()

    def __init__(
        self,
        index: int,
        make_factory: Callable[[Extension, Role, PassOn], AudioSocketFactory],
        inbox: socket.socket,
        inboxes: Sequence[socket.socket],
        reactor: ServerReactor,
        rejected: Callable[[str], object],
        gate: AcceptGate,
    ) -> None:
        self._index = index
        self._make_factory = make_factory
        self._inboxes = inboxes
        self._reactor = reactor
        self._rejected = rejected
        self._inbox = Inbox(inbox, self._socket_received, reactor, gate)
        self._ports: dict[int, tuple[IListeningPort, AudioSocketFactory]] = {}
        #: Listening sockets that are opened next, by token.
        self._pending: dict[int, tuple[int, AudioSocketFactory]] = {}
        self._turn: IDelayedCall | None = None
        #: Factories by the token of their port: the port's own, and former ones that still have connections.
        self._factories: dict[int, list[AudioSocketFactory]] = {}

    def startService(self) -> None:
        super().startService()
        self._inbox.start()

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        self._inbox.stop()
        if self._turn is not None and self._turn.active():
            self._turn.cancel()
        return DeferredList([self.close(token) for token in [*self._pending, *self._ports]])

    # requests of the supervisor

    def open(self, token: int, extension: Extension, role: Role, descriptor: int) -> None:
        """Accept connections from a listening socket soon; its descriptor is closed here.

        Not at once: a worker that replaces another may have thousands to open while its calls resume.
        """
        self._pending[token] = (descriptor, self._factory(token, extension, role))
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._open_some)

    def _open_some(self) -> None:
        self._turn = None
        for token in list(islice(self._pending, PER_TURN)):
            descriptor, factory = self._pending.pop(token)
            try:
                with socket.socket(fileno=os.dup(descriptor)) as listening:
                    family = listening.family
                self._ports[token] = (adopt(descriptor, family, factory, self._reactor), factory)
            finally:
                os.close(descriptor)
        if self._pending:
            self._turn = self._reactor.callLater(0, self._open_some)

    def _current(self, token: int) -> AudioSocketFactory | None:
        """Return the factory of a port that is open or going to be opened."""
        return (self._ports.get(token) or self._pending.get(token) or (None, None))[1]

    def relabel(self, token: int, extension: Extension) -> None:
        """Set the changed values of the row; new calls have them."""
        factory = self._current(token)
        if factory is not None:
            factory.extension = extension

    def close(self, token: int) -> Deferred[Any]:
        """Stop accepting; fires when that is done. Connections go on."""
        if token in self._pending:
            os.close(self._pending.pop(token)[0])
        port, _ = self._ports.pop(token, (None, None))
        return succeed(None) if port is None else maybeDeferred(port.stopListening)

    @property
    def open_ports(self) -> int:
        """The number of open ports."""
        return len(self._ports)

    def counts(self) -> dict[str, int]:
        """Return the open connections by token, of ports that have any; forget closed ports without any."""
        counts: dict[str, int] = {}
        for token, factories in list(self._factories.items()):
            current = self._current(token)
            if len(factories) > 1 or current is None:
                factories[:] = [one for one in factories if one.connections or one is current]
            if not factories:
                del self._factories[token]
            number = sum(len(one.connections) for one in factories)
            if number:
                counts[str(token)] = number
        return counts

    def _factory(self, token: int, extension: Extension, role: Role) -> AudioSocketFactory:
        factory = self._make_factory(extension, role, partial(self._pass_on, token))
        self._factories.setdefault(token, []).append(factory)
        return factory

    # connections of other workers

    def _pass_on(self, token: int, connection: AudioSocketProtocol, call_id: UUID, unread: bytes) -> bool:
        """Pass the connection to the worker that owns the call; return false when that is this one."""
        index = owner(call_id, len(self._inboxes))
        if index == self._index:
            return False
        factory = connection.factory
        peer = connection.peer
        with socket_passing.detach_socket(connection.transport) as detached:
            connection.detached()
            passed = PassedSocket(token, factory.extension, factory.role, unread)
            if not socket_passing.send(self._inboxes[index], passed, detached.fileno()):
                self._rejected(f"{peer}: the inbox of worker {index}, which has {call_id}, is full")
        return True

    def _socket_received(self, passed: PassedSocket, descriptor: int) -> None:
        """Go on with a connection that another worker has accepted."""
        connected = socket.socket(fileno=descriptor)
        try:
            connected.setblocking(False)
            peer = connected.getpeername()
        except OSError:
            connected.close()
            return  # the peer has closed already
        current = self._current(passed.token)
        if current is not None and current.extension == passed.extension:
            factory = current
        else:  # the row has changed since, or its port is closed or not open yet
            factory = self._factory(passed.token, passed.extension, passed.role)
        protocol = factory.buildProtocol((IPv4Address if len(peer) == 2 else IPv6Address)("TCP", *peer))
        if protocol is None:
            connected.close()
            return
        make: Any = factory.transport or Server
        transport = make(connected, protocol, peer, None, 0, self._reactor)
        protocol.makeConnection(transport)
        try:
            protocol.dataReceived(passed.unread)
        except Exception:  # noqa: BLE001 - as in the transports: an error costs its own connection
            self._log.failure("a connection is closed: its protocol raised")
            transport.abortConnection()
