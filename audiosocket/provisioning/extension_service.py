"""The sockets of one extension: a `MultiService` with one `TCPServer` per port."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, Protocol, cast

from twisted.application.internet import TCPServer
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorFDSet, IReactorTCP

from audiosocket.calls.protocol.factory import AudioSocketFactory, MakeTransport
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.reconcile import Placed, SocketAddress
from audiosocket.transport.accept_gate import AcceptGate
from audiosocket.transport.port import ThrottledPort

#: Length of the queue of connections that are not accepted yet; a SYN that finds it full is repeated after 1 s.
BACKLOG = 1_024


class PortFactory(Protocol):
    """The protocol factory of a port, or with workers its stand-in in the supervisor."""

    role: Role
    #: Makes the transport of an accepted socket; None for Twisted's own.
    transport: MakeTransport | None
    #: Where the port waits while file descriptors have run out; None for one of its own.
    gate: AcceptGate | None
    extension: Extension

    def when_empty(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` each time the last connection is closed, instead of an earlier one."""

    @property
    def connections(self) -> Sized:
        """Connections that are open on this port, calls or not."""


MakeFactory = Callable[[Extension, Role], PortFactory]


def adopt(descriptor: int, family: int, factory: AudioSocketFactory, reactor: IReactorFDSet) -> ThrottledPort:
    """Accept connections from a listening socket that the caller has opened and keeps."""
    port: ThrottledPort = ThrottledPort._fromListeningDescriptor(reactor, descriptor, family, factory)
    port.gate = factory.gate
    if factory.transport is not None:
        port.transport = factory.transport
    port.startListening()
    return port


class Listener(TCPServer):
    """One port of one extension. ``configured`` is where the row wants it, ``port`` where it is."""

    def __init__(
        self,
        factory: PortFactory,
        bind: str,
        configured: int,
        port: int,
        reactor: IReactorTCP,
        inherited: socket.socket | None = None,
    ) -> None:
        super().__init__(port, factory, backlog=BACKLOG, interface=bind, reactor=reactor)
        self.factory = factory
        #: The listening socket of the previous process, until it is used.
        self._inherited = inherited
        self.bind = bind
        self.configured = configured
        self.port = port

    def _getPort(self) -> Any:
        if not IReactorFDSet.providedBy(self.reactor):  # a reactor in memory has no file descriptors
            return super()._getPort()
        inherited, self._inherited = self._inherited, None
        if inherited is not None:
            with inherited:
                return adopt(inherited.fileno(), inherited.family, cast("Any", self.factory), self.reactor)
        port = ThrottledPort(self.port, cast("Any", self.factory), BACKLOG, self.bind, self.reactor)
        port.gate = self.factory.gate
        if isinstance(self.factory, AudioSocketFactory):
            port.prepare = self.factory.prepare
        if self.factory.transport is not None:
            port.transport = self.factory.transport
        port.startListening()
        return port

    @property
    def listening_socket(self) -> socket.socket | None:
        """The listening socket; None while it does not listen."""
        found: socket.socket | None = getattr(self._port, "socket", None)
        return found

    @property
    def role(self) -> Role:
        """The role of the callers on this port."""
        return self.factory.role

    @property
    def settled(self) -> bool:
        """Whether it has its configured port."""
        return self.port == self.configured

    def close(self) -> Deferred[None]:
        """Stop accepting and leave the tree; fires when the socket is closed. Connections go on."""
        return maybeDeferred(self.disownServiceParent)


class ExtensionService(MultiService):
    """The listeners of one row of ``extension_ia``, as its child services.

    ``failed`` has, by role, the ports that should be open and are not; ``generation`` is that of `Listeners` when
    this extension changed last.
    """

    def __init__(self, extension: Extension) -> None:
        super().__init__()
        self.extension = extension
        self.failed: dict[Role, ListenFailure] = {}
        self.generation = 0
        self._state = ("", "")
        self._state_since = 0.0

    def state(self, now: float) -> tuple[str, str, float]:
        """Return "listening", "degraded" or "failed", why, and since when it is seen so.

        ``now`` is the time of day, in seconds; a change since the last question began now.
        """
        wrong = self.mismatches
        seen = ("failed" if self.failed else "degraded" if wrong else "listening", "; ".join(wrong))
        if seen != self._state:
            self._state, self._state_since = seen, now
        return *seen, self._state_since

    @property
    def listeners(self) -> dict[Role, Listener]:
        """The listener of each role, without lingering ones."""
        return {child.role: child for child in self.children() if child.name == child.role.value}

    @property
    def lingering(self) -> list[Listener]:
        """Listeners on an alternative port that are kept until their calls have ended."""
        return [child for child in self.children() if child.name != child.role.value]

    def children(self) -> list[Listener]:
        """Return all listeners."""
        return [child for child in self if isinstance(child, Listener)]

    @property
    def placed(self) -> dict[Role, Placed]:
        """What each role has, or failed to get."""
        listeners = {
            role: Placed(SocketAddress(listener.bind, listener.configured), listener.port)
            for role, listener in self.listeners.items()
        }
        failed = {
            role: Placed(SocketAddress(failure.bind, failure.configured), None)
            for role, failure in self.failed.items()
        }
        return listeners | failed

    @property
    def unsettled(self) -> list[Role]:
        """The roles whose configured port could not be had."""
        elsewhere = [role for role, listener in self.listeners.items() if not listener.settled]
        return sorted({*elsewhere, *self.failed})

    @property
    def mismatches(self) -> list[str]:
        """Why the extension is not as its row wants it; empty when it is."""
        listeners = self.listeners
        elsewhere = [
            f"{role.value} port {listener.configured} is in use, listening on {listener.port} instead"
            for role, listener in sorted(listeners.items())
            if not listener.settled
        ]
        failed = [f"{role.value} {failed.reason}" for role, failed in sorted(self.failed.items())]
        missing = [
            f"{role.value} port {port} is not open yet"
            for role, port in self.extension.ports().items()
            if role not in listeners and role not in self.failed
        ]
        return elsewhere + failed + missing

    def relabel(self, extension: Extension) -> None:
        """Take the changed values of the row, for new calls; sockets and live calls stay as they are."""
        self.extension = extension
        for listener in self.children():
            listener.factory.extension = extension

    def open(
        self,
        make: MakeFactory,
        role: Role,
        where: ListenAddress,
        reactor: IReactorTCP,
        inherited: socket.socket | None = None,
    ) -> Listener:
        """Open one port, or go on with the ``inherited`` socket of the previous process.

        Raises `CannotListenError` and leaves nothing behind when that fails.
        """
        factory = make(self.extension, role)
        listener = Listener(factory, where.bind, where.configured, where.port, reactor, inherited)
        listener.setName(role.value)
        try:
            listener.setServiceParent(self)
        except CannotListenError:
            # the failed child is in the tree already, and would block the name
            maybeDeferred(listener.disownServiceParent)
            raise
        self.failed.pop(role, None)
        return listener

    def linger(self, listener: Listener) -> None:
        """Keep an alternative port open until its calls have ended, under another name in the tree."""
        self._rename(listener, f"{listener.role.value}-until-{listener.port}-is-quiet")

    def keep(self, listener: Listener) -> None:
        """Make a lingering listener that of its role again."""
        self._rename(listener, listener.role.value)

    def _rename(self, listener: Listener, name: str) -> None:
        del self.namedServices[str(listener.name)]
        listener.name = name
        self.namedServices[name] = listener


@dataclass(frozen=True)
class ListenAddress:
    """Where to open a listener: bind address, the row's port, and the port to try."""

    bind: str
    configured: int
    port: int


@dataclass(frozen=True)
class ListenFailure:
    """A port that should be open and is not."""

    bind: str
    configured: int
    reason: str


def is_taken(error: CannotListenError) -> bool:
    """Return whether another program has the port, as opposed to any other error."""
    return getattr(error.socketError, "errno", None) == errno.EADDRINUSE


def explained(error: CannotListenError) -> str:
    """Return the cause for an operator, with what to do where that is known."""
    number = getattr(error.socketError, "errno", None)
    if number == errno.EADDRINUSE:
        return f"port {error.port} is in use by another program"
    if number == errno.EACCES:
        return f"port {error.port} needs privileges: use one above 1023 or grant CAP_NET_BIND_SERVICE"
    return f"port {error.port}: {error.socketError}"


def is_local(address: str) -> bool:
    """Return whether ``address`` is an IP address of this machine; names are never resolved.

    Broadcast and multicast addresses can be bound, but no call can be made to them.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.is_multicast:
        return False
    try:
        with socket.socket(socket.AF_INET6 if parsed.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
            probe.connect((address, 9))  # sends nothing; fails for a broadcast address
    except OSError:
        return False
    return True
