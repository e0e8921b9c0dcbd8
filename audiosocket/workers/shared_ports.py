"""Ports that all workers listen on: opened here, once, and handed to each worker as a descriptor.

`SharedPorts` is what the front's `Listeners` take for a reactor, so that alternatives, retries, swaps and
the lines in the log are the same as in one process. Each port is as many sockets as there are workers, bound
with SO_REUSEPORT: the kernel deals connections out among them. The front keeps every socket open, so what waits
in a dead worker's queue is answered by its successor.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.errors import AudioSocketError
from audiosocket.extensions.model import Extension, Role


class Listening(Protocol):
    """A worker, as its ports see it."""

    def open_port(self, port: SharedPort) -> None:
        """Listen there, too."""

    def close_port(self, port: SharedPort) -> Deferred[Any]:
        """Fires when it listens there no more."""

    def relabel_port(self, port: SharedPort) -> None:
        """The values of the port's row have changed."""


class SharedPortFactory:
    """Stands for the factories of one port in all workers; `listeners.Listeners` keeps its books on it."""

    noisy = False

    def __init__(self, extension: Extension, role: Role) -> None:
        self._extension = extension
        self.role = role
        #: Nothing is accepted here.
        self.transport: Callable[..., Any] | None = None
        self.port: SharedPort | None = None
        self.emptied: Callable[[], object] | None = None
        self._counts: dict[int, int] = {}

    def doStart(self) -> None:
        """Twisted's word for the first port of a factory."""

    def doStop(self) -> None:
        """Twisted's word for the end of the last one."""

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
        """As many as all workers have on this port, calls or not."""
        return range(sum(self._counts.values()))

    def count(self, worker: int, connections: int) -> None:
        """A worker has that many now."""
        before = len(self.connections)
        self._counts[worker] = connections
        if before and not self.connections and self.emptied is not None:
            self.emptied()


@implementer(IListeningPort)
class SharedPort:
    """One port. ``token`` is its name between the processes; no other port ever has the same."""

    def __init__(
        self,
        token: int,
        side: SharedPortFactory,
        where: tuple[str, int],
        sockets: Sequence[socket.socket],
        owner: SharedPorts,
    ) -> None:
        self.token = token
        self.side = side
        self.sockets: list[socket.socket | None] = list(sockets)
        self._where = where
        self._owner = owner
        side.port = self

    def startListening(self) -> None:
        """It does already."""

    def getHost(self) -> IPv4Address | IPv6Address:
        """Address and port."""
        kind = IPv6Address if ":" in self._where[0] else IPv4Address
        return kind("TCP", *self._where)

    def relabel(self) -> None:
        """Tell the workers that the row has other values."""
        for worker in self._owner.workers:
            worker.relabel_port(self)

    def stopListening(self) -> Deferred[None]:
        """Fires when nobody listens here any more; connections go on."""
        self._owner.ports.pop(self.token, None)
        done: Deferred[Any] = DeferredList(
            [worker.close_port(self).addErrback(_went_with_it) for worker in self._owner.workers]
        )
        return done.addCallback(lambda _: self._closed())

    def _closed(self) -> None:
        self.close()
        self._owner.forget_if_empty(self.token)

    def close(self) -> None:
        """Close the front's own copies."""
        for index in range(len(self.sockets)):
            self.give_up(index)

    def give_up(self, index: int) -> None:
        """Close the socket of one worker, which is not there."""
        mine, self.sockets[index] = self.sockets[index], None
        if mine is not None:
            mine.close()

    def renew(self, index: int) -> None:
        """Open the socket of one worker again. Raises OSError."""
        if self.sockets[index] is None:
            self.sockets[index] = _listen(*self._where, self._owner.backlog, shared=True)


def _went_with_it(why: Failure) -> None:
    """A worker that is gone listens nowhere; one that is blocked is going to be replaced."""
    why.trap(AudioSocketError)


@implementer(IReactorTCP, IReactorTime)
class SharedPorts:
    """The reactor of the front's `Listeners`: listening means that all ``workers`` do."""

    backlog = 1_024

    def __init__(self, workers: Sequence[Listening], reactor: Any) -> None:
        self.workers = workers
        self._reactor = reactor
        self._tokens = 0
        #: What is open, by token.
        self.ports: dict[int, SharedPort] = {}
        #: Where connections are counted, closed ports included as long as they have some.
        self.sides: dict[int, SharedPortFactory] = {}

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Open a port for all workers; raises `CannotListenError` when anybody else has it."""
        self.backlog = backlog
        sockets: list[socket.socket] = []
        try:
            # With SO_REUSEPORT a second server of the same user would share the port unnoticed.
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
        self.sides[shared.token] = factory
        for worker in self.workers:
            worker.open_port(shared)
        return shared

    def connectTCP(self, *args: Any, **kwargs: Any) -> Any:
        """The front's listeners call nobody."""
        raise NotImplementedError("only for listening")

    def close(self) -> None:
        """Close the front's own copies of all sockets: what the workers close now is closed."""
        for port in self.ports.values():
            port.close()

    def count(self, worker: int, counts: dict[str, int]) -> None:
        """A worker says how many connections it has, by token."""
        for name, number in counts.items():
            token = int(name)
            side = self.sides.get(token)
            if side is not None:
                side.count(worker, number)
                self.forget_if_empty(token)

    def forget_if_empty(self, token: int) -> None:
        """Count no more connections of a port that is closed and has none."""
        if token not in self.ports and token in self.sides and not self.sides[token].connections:
            del self.sides[token]

    def forget(self, worker: int) -> None:
        """All connections of a worker are gone."""
        self.count(worker, {str(token): 0 for token in list(self.sides)})

    def seconds(self) -> float:
        """Steady time, in seconds."""
        return float(self._reactor.seconds())

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As the reactor's."""
        return self._reactor.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[Any]:
        """As the reactor's."""
        return list(self._reactor.getDelayedCalls())


def _listen(interface: str, port: int, backlog: int, *, shared: bool) -> socket.socket:
    opened = _bind(interface, port, shared=shared)
    opened.listen(backlog)
    return opened


def _bind(interface: str, port: int, *, shared: bool) -> socket.socket:
    """A bound socket; raises OSError and leaves none."""
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
