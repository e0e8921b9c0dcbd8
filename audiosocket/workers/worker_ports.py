"""The ports of one worker: sockets that the front has opened, and connections that other workers hand over."""

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

from audiosocket.calls.protocol import AudioSocketFactory, AudioSocketProtocol
from audiosocket.extensions.model import Extension, Role
from audiosocket.provisioning.extension_service import adopt
from audiosocket.workers import socket_passing as handover
from audiosocket.workers.affinity import owner
from audiosocket.workers.socket_passing import Inbox, PassedSocket

#: Ports opened between two turns of the reactor.
PER_TURN = 8


class WorkerPorts(Service):
    """Worker number ``index``; ``boxes`` are the ends of all workers' inboxes that letters are put into."""

    _log = Logger()

    def __init__(
        self,
        index: int,
        make_factory: Callable[[Extension, Role], AudioSocketFactory],
        inbox: socket.socket,
        boxes: Sequence[socket.socket],
        reactor: Any,
        rejected: Callable[[str], object],
    ) -> None:
        self._index = index
        self._make_factory = make_factory
        self._boxes = boxes
        self._reactor = reactor
        self._rejected = rejected
        self._inbox = Inbox(inbox, self.take, reactor)
        self._ports: dict[int, tuple[IListeningPort, AudioSocketFactory]] = {}
        #: Listening sockets that come next, by token.
        self._coming: dict[int, tuple[int, AudioSocketFactory]] = {}
        self._turn: IDelayedCall | None = None
        #: Factories by the token of their port; besides the port's own those whose connections go on.
        self._factories: dict[int, list[AudioSocketFactory]] = {}

    def startService(self) -> None:
        super().startService()
        self._inbox.start()

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        self._inbox.stop()
        if self._turn is not None and self._turn.active():
            self._turn.cancel()
        return DeferredList([self.close(token) for token in [*self._coming, *self._ports]])

    # what the front orders

    def open(self, token: int, extension: Extension, role: Role, descriptor: int) -> None:
        """Accept connections from a listening socket soon; its descriptor is closed here.

        A worker that replaces another has thousands to open and calls that come back meanwhile.
        """
        self._coming[token] = (descriptor, self._factory(token, extension, role))
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._open_some)

    def _open_some(self) -> None:
        self._turn = None
        for token in list(islice(self._coming, PER_TURN)):
            descriptor, factory = self._coming.pop(token)
            try:
                with socket.socket(fileno=os.dup(descriptor)) as listening:
                    family = listening.family
                self._ports[token] = (adopt(descriptor, family, factory, self._reactor), factory)
            finally:
                os.close(descriptor)
        if self._coming:
            self._turn = self._reactor.callLater(0, self._open_some)

    def _current(self, token: int) -> AudioSocketFactory | None:
        """The factory of a port that is open or about to be."""
        return (self._ports.get(token) or self._coming.get(token) or (None, None))[1]

    def relabel(self, token: int, extension: Extension) -> None:
        """The row changed its values; new calls see them."""
        factory = self._current(token)
        if factory is not None:
            factory.extension = extension

    def close(self, token: int) -> Deferred[Any]:
        """Stop accepting; connections go on."""
        if token in self._coming:
            os.close(self._coming.pop(token)[0])
        port, _ = self._ports.pop(token, (None, None))
        return succeed(None) if port is None else maybeDeferred(port.stopListening)

    @property
    def open_ports(self) -> int:
        """How many ports are open."""
        return len(self._ports)

    def counts(self) -> dict[str, int]:
        """Open connections by token, of ports that have some; forgets closed ports that have none."""
        counts: dict[str, int] = {}
        for token, factories in list(self._factories.items()):
            current = self._current(token)
            if len(factories) > 1 or current is None:
                factories[:] = [each for each in factories if each.connections or each is current]
            if not factories:
                del self._factories[token]
            number = sum(len(each.connections) for each in factories)
            if number:
                counts[str(token)] = number
        return counts

    def _factory(self, token: int, extension: Extension, role: Role) -> AudioSocketFactory:
        factory = self._make_factory(extension, role)
        factory.elsewhere = partial(self._elsewhere, token)
        self._factories.setdefault(token, []).append(factory)
        return factory

    # between workers

    def _elsewhere(self, token: int, connection: AudioSocketProtocol, call_id: UUID, said: bytes) -> bool:
        """Hand the connection to the worker that has the call; false when that is this one."""
        where = owner(call_id, len(self._boxes))
        if where == self._index:
            return False
        factory = connection.factory
        peer = connection.peer
        with handover.take_out(connection.transport) as skt:
            connection.given_away()
            handed = PassedSocket(token, factory.extension, factory.role, said)
            if not handover.send(self._boxes[where], handed, skt.fileno()):
                self._rejected(f"{peer}: the inbox of worker {where}, which has {call_id}, is full")
        return True

    def take(self, handed: PassedSocket, descriptor: int) -> None:
        """Go on with a connection that another worker accepted."""
        skt = socket.socket(fileno=descriptor)
        try:
            skt.setblocking(False)
            peer = skt.getpeername()
        except OSError:
            skt.close()
            return  # it was faster
        current = self._current(handed.token)
        if current is not None and current.extension == handed.extension:
            factory = current
        else:  # the row has changed since, or its port is closed or not open yet
            factory = self._factory(handed.token, handed.extension, handed.role)
        protocol = factory.buildProtocol((IPv4Address if len(peer) == 2 else IPv6Address)("TCP", *peer))
        if protocol is None:
            skt.close()
            return
        make: Any = factory.transport or Server
        transport = make(skt, protocol, peer, None, 0, self._reactor)
        protocol.makeConnection(transport)
        try:
            protocol.dataReceived(handed.unread)
        except Exception:  # noqa: BLE001 - as in the transports: a fault costs its own connection
            self._log.failure("a connection is closed: its protocol raised")
            transport.abortConnection()
