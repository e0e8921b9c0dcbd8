"""The sockets of all legs in two epolls: one watched by the reactor, one polled on each tick of the clock.

An epoll descriptor is readable while one of its own descriptors is ready, so an epoll inside the reactor's
needs nothing of the reactor but `addReader`. What this saves was measured: for every ready socket Twisted sets
up a log context and looks into three tables, as much work as the rest of a frame.

Waking up for each frame costs more than the frame. Legs whose frames are not passed on at once are therefore
polled on each tick, every 5 ms, and all that arrived is read in one go. While connections to bots are open, both
are polled between two ticks, too. See ``docs/transport.md``.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: Ready sockets served before the reactor has its turn: about 2 ms of work, less than a phase of the clock.
SOCKETS_PER_TURN = 128
#: How long after a tick sockets are polled once more while one wants that, in seconds: half of a tick.
BETWEEN_SECONDS = 0.0025

#: EPOLLIN and EPOLLOUT, by their numbers: the names are missing on systems without epoll.
READ, WRITE = 0x001, 0x004


class PollerReactor(Protocol):
    """The part of `IReactorFDSet` and `IReactorTime` that is needed here."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """Call ``reader.doRead`` when it is readable."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Watch ``reader`` no more."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall:
        """Call ``callable`` after ``delay`` seconds."""


class PolledTransport(Protocol):
    """A socket's transport, as seen by the poller. No method may raise."""

    def readable(self) -> None:
        """Read: there is data, or the connection has ended."""

    def ready(self, event: int) -> None:
        """Handle any other event; ``event`` is a mask of EPOLL constants."""

    def lose(self, reason: Failure) -> None:
        """Close."""

    def release(self) -> None:
        """Write what was held back while `SocketPoller.corked` was set."""


def _nothing() -> None:
    pass


def available() -> bool:
    """Return whether this system has epoll."""
    return hasattr(select, "epoll")


def _no_clock() -> None:
    """Do nothing: `SocketPoller.poll` is called anyway."""


@implementer(IReadDescriptor)
class SocketPoller:
    """Watches legs' sockets for the reactor, which sees one reader, and for the clock.

    ``before`` and ``after`` are called around the service of sockets that are ready together, and must not raise.
    The epoll descriptors are created for the first socket and closed with the last, unless they are kept (see
    `keep_descriptors`).
    """

    def __init__(
        self,
        reactor: PollerReactor,
        before: Callable[[], object] = _nothing,
        after: Callable[[], object] = _nothing,
    ) -> None:
        self.reactor = reactor
        self._before = before
        self._after = after
        #: The epoll inside the reactor's.
        self._immediate: select.epoll | None = None
        #: The epoll that is polled on each tick, and the descriptors in it.
        self._ticked: select.epoll | None = None
        #: Whether both stay open without a socket.
        self._keep = False
        self._on_tick: set[int] = set()
        #: Those of them for which both are polled between two ticks, too.
        self._between: set[int] = set()
        #: The next poll between two ticks, while it is scheduled.
        self._poll_between: IDelayedCall | None = None
        #: Makes the clock call `poll`; it stops when nothing is left to poll.
        self.start_ticks: Callable[[], object] = _no_clock
        self._transports: dict[int, PolledTransport] = {}
        #: A call of `_continue` is scheduled: more sockets were ready than one turn serves.
        self._continues = False
        #: Transports that hold back writes while several frames are read at once; None otherwise.
        self.corked: list[PolledTransport] | None = None

    def __len__(self) -> int:
        return len(self._transports)

    def watch(self, descriptor: int, transport: PolledTransport) -> None:
        """Call ``transport`` when its socket is readable."""
        immediate, _ = self._epolls()
        immediate.register(descriptor, READ)
        if not self._transports:
            self.reactor.addReader(self)
        self._transports[descriptor] = transport

    def keep_descriptors(self, keep: bool) -> None:
        """Create both epolls now and keep them while there are no sockets, or not. Raises OSError."""
        self._keep = keep
        if keep:
            self._epolls()
        self._close_if_unused()

    def _epolls(self) -> tuple[select.epoll, select.epoll]:
        """Return both, created if need be: a leg that has the one must not fail to get the other."""
        if self._immediate is None:
            self._immediate = select.epoll()
        if self._ticked is None:
            try:
                self._ticked = select.epoll()
            except OSError:
                self._close_if_unused()
                raise
        return self._immediate, self._ticked

    def _close_if_unused(self) -> None:
        if self._transports or self._keep:
            return
        if self._poll_between is not None:
            self._poll_between.cancel()
            self._poll_between = None
        for epoll in (self._immediate, self._ticked):
            if epoll is not None:
                epoll.close()
        self._immediate = self._ticked = None

    def change(self, descriptor: int, mask: int) -> None:
        """Watch for these events from now on (`READ`, `WRITE`, both or neither)."""
        epoll = self._ticked if descriptor in self._on_tick else self._immediate
        if epoll is not None:
            epoll.modify(descriptor, mask)

    def poll_on_tick(self, descriptor: int, mask: int, *, between: bool = False) -> None:
        """Serve this socket in `poll` from now on; ``mask`` is what it is watched for.

        With ``between``, all of them are also served halfway to the next tick, as long as this one is among them.
        """
        if descriptor in self._on_tick or self._immediate is None or self._ticked is None:
            return
        self._immediate.unregister(descriptor)
        self._ticked.register(descriptor, mask)
        self._on_tick.add(descriptor)
        if between:
            self._between.add(descriptor)
        self.start_ticks()

    def poll_immediately(self, descriptor: int, mask: int) -> None:
        """Serve this socket whenever the reactor finds it ready, as at first."""
        if descriptor not in self._on_tick or self._immediate is None or self._ticked is None:
            return
        self._on_tick.remove(descriptor)
        self._between.discard(descriptor)
        self._ticked.unregister(descriptor)
        self._immediate.register(descriptor, mask)

    def forget(self, descriptor: int) -> None:
        """Watch this socket no more; to be called before it is closed."""
        if self._transports.pop(descriptor, None) is None:
            return
        epoll = self._ticked if descriptor in self._on_tick else self._immediate
        self._on_tick.discard(descriptor)
        self._between.discard(descriptor)
        if epoll is not None:
            epoll.unregister(descriptor)
        if not self._transports:
            self.reactor.removeReader(self)
        self._close_if_unused()

    # called by the clock

    def poll(self) -> bool:
        """Serve the sockets polled on ticks; return false when there are none to poll on the next tick."""
        self._serve_ticked()
        if self._between and self._poll_between is None:
            self._poll_between = self.reactor.callLater(BETWEEN_SECONDS, self._halfway)
        return bool(self._on_tick)

    def _serve_ticked(self) -> None:
        if self._ticked is not None and self._serve(self._ticked) == SOCKETS_PER_TURN and not self._continues:
            self._continues = True
            self.reactor.callLater(0, self._continue)

    def _continue(self) -> None:
        """Serve the rest of the ready sockets, after the reactor had its turn."""
        self._continues = False
        self._serve_ticked()

    def _halfway(self) -> None:
        self._poll_between = None
        self._serve_ticked()

    # called by the reactor

    def fileno(self) -> int:
        """Return the descriptor of the epoll itself; -1 while there is none."""
        return -1 if self._immediate is None else self._immediate.fileno()

    def logPrefix(self) -> str:
        """Return the name used in the reactor's log lines."""
        return "legs"

    def doRead(self) -> None:
        """Serve the sockets that are ready."""
        if self._immediate is not None:
            self._serve(self._immediate)

    def _serve(self, epoll: select.epoll) -> int:
        """Serve at most `SOCKETS_PER_TURN` ready sockets of ``epoll``; return how many they were."""
        transports = self._transports
        ready = epoll.poll(0, SOCKETS_PER_TURN)
        self._before()
        try:
            for descriptor, event in ready:
                transport = transports.get(descriptor)
                if transport is None:
                    continue  # closed while another socket was served
                if event == READ:
                    transport.readable()
                else:
                    transport.ready(event)
        finally:
            self._after()
        return len(ready)

    def connectionLost(self, reason: Failure) -> None:
        """Close all connections, as the reactor stops."""
        for transport in list(self._transports.values()):
            transport.lose(reason)
