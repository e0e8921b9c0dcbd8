"""Ports that all workers listen on: opened by the supervisor and passed to each worker as a descriptor.

`SharedPorts` is what the supervisor's `Listeners` use as a reactor, so that alternatives, retries, swaps and log
lines are the same as in one process. Each port consists of as many sockets as there are workers, bound with
SO_REUSEPORT: the kernel distributes connections among them. The supervisor keeps every socket open, so that
connections in the queue of a dead worker are accepted by the one that replaces it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.errors import AudioSocketError
from audiosocket.extensions.model import Extension, Role
from audiosocket.provisioning.listeners import IListeningReactor
from audiosocket.transport.accept_gate import AcceptGate


class PortUser(Protocol):
    """A worker, as its ports see it."""

    def open_port(self, port: SharedPort) -> None:
        """Begin to listen on the port, too."""

    def close_port(self, port: SharedPort) -> Deferred[Any]:
        """Stop listening on the port; fires when that is done."""

    def relabel_port(self, port: SharedPort) -> None:
        """Take the changed values of the port's row."""


class SharedPortFactory:
    """Stands for the factories of one port in all workers; used by `listeners.Listeners`."""

    noisy = False

    def __init__(self, extension: Extension, role: Role) -> None:
        self._extension = extension
        self.role = role
        #: Nothing is accepted in this process.
        self.transport: Callable[..., Any] | None = None
        self.gate: AcceptGate | None = None
        self.port: SharedPort | None = None
        self._on_empty: Callable[[], object] | None = None
        self._counts: dict[int, int] = {}

    def doStart(self) -> None:
        """Do nothing; Twisted calls it before the first port of a factory listens."""

    def doStop(self) -> None:
        """Do nothing; Twisted calls it after the last port of a factory was closed."""

    @property
    def extension(self) -> Extension:
        """The row that new calls on this port belong to."""
        return self._extension

    @extension.setter
    def extension(self, extension: Extension) -> None:
        self._extension = extension
        if self.port is not None:
            self.port.relabel()

    @property
    def connections(self) -> range:
        """As many items as all workers have connections on this port, with a call or without."""
        return range(sum(self._counts.values()))

    def count(self, worker: int, connections: int) -> None:
        """Set the number of connections that a worker has on this port."""
        before = len(self.connections)
        self._counts[worker] = connections
        if before and not self.connections and self._on_empty is not None:
            self._on_empty()

    def when_empty(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` each time the last connection is closed, instead of an earlier one."""
        self._on_empty = callback


@implementer(IListeningPort)
class SharedPort:
    """One port. ``token`` identifies it between the processes; it is never used again."""

    def __init__(
        self,
        token: int,
        factory: SharedPortFactory,
        address: tuple[str, int],
        sockets: Sequence[socket.socket],
        owner: SharedPorts,
    ) -> None:
        self.token = token
        self.factory = factory
        #: The listening socket of each worker; None while that worker is out.
        self.sockets: list[socket.socket | None] = list(sockets)
        self._address = address
        self._owner = owner
        factory.port = self

    def startListening(self) -> None:
        """Do nothing: the sockets listen from the beginning."""

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return address and port."""
        kind = IPv6Address if ":" in self._address[0] else IPv4Address
        return kind("TCP", *self._address)

    def relabel(self) -> None:
        """Send the changed values of the row to the workers."""
        for worker in self._owner.workers:
            worker.relabel_port(self)

    def stopListening(self) -> Deferred[None]:
        """Close the port in all processes; fires when that is done. Connections go on."""
        self._owner.ports.pop(self.token, None)
        done: Deferred[Any] = DeferredList(
            [worker.close_port(self).addErrback(_ignore_gone) for worker in self._owner.workers]
        )
        return done.addCallback(lambda _: self._closed())

    def _closed(self) -> None:
        self.close()
        self._owner.forget_if_empty(self.token)

    def close(self) -> None:
        """Close the supervisor's copies of the sockets."""
        for index in range(len(self.sockets)):
            self.close_socket(index)

    def close_socket(self, index: int) -> None:
        """Close the supervisor's copy of one worker's socket."""
        own, self.sockets[index] = self.sockets[index], None
        if own is not None:
            own.close()

    def reopen_socket(self, index: int) -> None:
        """Open the socket of one worker again. Raises OSError."""
        if self.sockets[index] is None:
            self.sockets[index] = _listen(*self._address, self._owner.backlog, shared=True)


def _ignore_gone(why: Failure) -> None:
    """Ignore a worker that does not respond: it is gone, or blocked and going to be replaced."""
    why.trap(AudioSocketError)


@implementer(IListeningReactor)
class SharedPorts:
    """The reactor of the supervisor's `Listeners`: a port is opened in all ``workers``.

    ``clock`` is the real reactor.
    """

    backlog = 1_024

    def __init__(self, workers: Sequence[PortUser], clock: IReactorTime) -> None:
        self.workers = workers
        self._clock = clock
        self._tokens = 0
        #: The open ports, by token.
        self.ports: dict[int, SharedPort] = {}
        #: The factories that have a port or connections, by token of the port.
        self.factories: dict[int, SharedPortFactory] = {}

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Open a port for all workers; raises `CannotListenError` when another program has it."""
        self.backlog = backlog
        sockets: list[socket.socket] = []
        try:
            # With SO_REUSEPORT alone a second server of the same user would share the port unnoticed.
            _bind(interface, port, shared=False).close()
            for _ in self.workers:
                sockets.append(_listen(interface, port, backlog, shared=True))
        except OSError as error:
            for opened in sockets:
                opened.close()
            raise CannotListenError(interface, port, error) from error
        self._tokens += 1
        shared = SharedPort(self._tokens, factory, (interface, port), sockets, self)
        self.ports[shared.token] = shared
        self.factories[shared.token] = factory
        for worker in self.workers:
            worker.open_port(shared)
        return shared

    def connectTCP(self, *args: Any, **kwargs: Any) -> Any:
        """Not implemented: listeners do not connect."""
        raise NotImplementedError("only for listening")

    def close(self) -> None:
        """Close the supervisor's copies of all sockets, so that a port is closed once the workers close it."""
        for port in self.ports.values():
            port.close()

    def count(self, worker: int, counts: Mapping[str, int]) -> None:
        """Set how many connections a worker has, by token."""
        for name, number in counts.items():
            token = int(name)
            factory = self.factories.get(token)
            if factory is not None:
                factory.count(worker, number)
                self.forget_if_empty(token)

    def forget_if_empty(self, token: int) -> None:
        """Stop counting for a port that is closed and has no connections."""
        if token not in self.ports and token in self.factories and not self.factories[token].connections:
            del self.factories[token]

    def forget(self, worker: int) -> None:
        """Count no connections of a worker that is gone."""
        self.count(worker, {str(token): 0 for token in list(self.factories)})

    def seconds(self) -> float:
        """Return steady time, in seconds."""
        return float(self._clock.seconds())

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> IDelayedCall:
        """Call later, with the real reactor."""
        return self._clock.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return the delayed calls of the real reactor."""
        return list(self._clock.getDelayedCalls())


def _listen(interface: str, port: int, backlog: int, *, shared: bool) -> socket.socket:
    opened = _bind(interface, port, shared=shared)
    opened.listen(backlog)
    return opened


def _bind(interface: str, port: int, *, shared: bool) -> socket.socket:
    """Return a bound socket; raises OSError and then leaves none open."""
    version = ip_address(interface.partition("%")[0]).version if interface else 4
    opened = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((interface, port))
    except OSError:
        opened.close()
        raise
    return opened
