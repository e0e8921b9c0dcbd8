"""The sockets of all legs in two epolls: one the reactor watches as a single descriptor, one the clock looks into.

An epoll descriptor is readable while one of its own descriptors is ready, so an epoll inside the reactor's
needs nothing of the reactor but `addReader`. What it saves is measured: for every ready socket Twisted sets
up a log context and looks into three tables, as much work as the rest of a frame.

Waking up for each frame costs more than the frame. Legs whose frames go nowhere at once are therefore *gathered*:
they are read in the clock's beats, each 5 ms, all that came in one go. See ``docs/transport.md``.
"""

from __future__ import annotations

import select
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: Ready sockets served before the reactor has its turn: about 2 ms of work, less than a phase of the clock.
SOCKETS_PER_TURN = 128

#: EPOLLIN and EPOLLOUT, by their numbers: the names are missing where epoll is.
READ, WRITE = 0x001, 0x004


class Watched(Protocol):
    """A socket's transport, as the poll sees it. No method may raise."""

    def readable(self) -> None:
        """There is something to read, or to learn about the connection's end."""

    def ready(self, event: int) -> None:
        """Anything else than mere reading; ``event`` is a mask of EPOLL constants."""

    def lose(self, reason: Failure) -> None:
        """It is of no more use."""


def available() -> bool:
    """Whether this system has epoll."""
    return hasattr(select, "epoll")


@implementer(IReadDescriptor)
class SocketPoller:
    """Watches legs' sockets for the reactor, which sees one reader, and for the clock.

    The descriptors are made with the first socket and closed with the last: an idle server holds none.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._epoll: Any = None
        self._watched: dict[int, Watched] = {}
        #: The epoll that is looked into when the clock beats, and what it watches.
        self._beats: Any = None
        self._gathered: set[int] = set()
        #: More were ready in a beat than one turn serves.
        self._goes_on = False
        #: Transports that hold back what they are given while a lump of frames is read; None while none is.
        self.corked: list[Any] | None = None

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, descriptor: int, transport: Watched) -> None:
        """Tell ``transport`` when its socket has something to read."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self.reactor.addReader(self)
        self._epoll.register(descriptor, READ)
        self._watched[descriptor] = transport

    def change(self, descriptor: int, mask: int) -> None:
        """Watch for these events from now on (`READ`, `WRITE`, both or neither)."""
        (self._beats if descriptor in self._gathered else self._epoll).modify(descriptor, mask)

    def gather(self, descriptor: int, mask: int) -> None:
        """Look at this socket in `beat` from now on; ``mask`` is what it is watched for."""
        if descriptor in self._gathered:
            return
        if self._beats is None:
            self._beats = select.epoll()
        self._epoll.unregister(descriptor)
        self._beats.register(descriptor, mask)
        self._gathered.add(descriptor)

    def hasten(self, descriptor: int, mask: int) -> None:
        """Look at this socket whenever something happens, as at first."""
        if descriptor not in self._gathered:
            return
        self._gathered.remove(descriptor)
        self._beats.unregister(descriptor)
        self._epoll.register(descriptor, mask)

    def forget(self, descriptor: int) -> None:
        """No more news of this socket; to be called before it is closed."""
        if self._watched.pop(descriptor, None) is None:
            return
        if descriptor in self._gathered:
            self._gathered.remove(descriptor)
            self._beats.unregister(descriptor)
        else:
            self._epoll.unregister(descriptor)
        if not self._watched:
            self.reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None
            if self._beats is not None:
                self._beats.close()
                self._beats = None

    # as the clock sees it

    def beat(self) -> bool:
        """Serve the gathered sockets that are ready; false when there are none to look at in the next beat."""
        if self._beats is not None and self._serve(self._beats) == SOCKETS_PER_TURN and not self._goes_on:
            self._goes_on = True
            self.reactor.callLater(0, self._go_on)
        return bool(self._gathered)

    def _go_on(self) -> None:
        """The reactor had its turn; serve those who had to wait."""
        self._goes_on = False
        self.beat()

    # as the reactor sees it

    def fileno(self) -> int:
        """The descriptor of the epoll itself; -1 while there is none."""
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        """Its name where the reactor speaks of it."""
        return "legs"

    def doRead(self) -> None:
        """Serve the sockets that are ready."""
        self._serve(self._epoll)

    def _serve(self, epoll: Any) -> int:
        """One go at what ``epoll`` has; returns how many sockets that were."""
        watched = self._watched
        ready = epoll.poll(0, SOCKETS_PER_TURN)
        for descriptor, event in ready:
            transport = watched.get(descriptor)
            if transport is None:
                continue  # a neighbour's turn closed it
            if event == READ:
                transport.readable()
            else:
                transport.ready(event)
        return len(ready)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives all its readers up, for it stops."""
        for transport in list(self._watched.values()):
            transport.lose(reason)
