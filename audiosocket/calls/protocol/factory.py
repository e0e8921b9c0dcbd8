"""The protocol factory of one port, which has an extension and a role.

Nothing is decided here about calls: its ``join`` function returns the leg that a UUID belongs to, or the reason
why it is refused.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from audiosocket.calls.protocol.connection import AudioSocketProtocol
from audiosocket.calls.protocol.interfaces import ConnectionObserver, LegEnd
from audiosocket.calls.protocol.socket_options import prepare
from audiosocket.extensions.model import Extension, Role
from audiosocket.transport.accept_gate import AcceptGate
from audiosocket.transport.clock import MediaClock

#: Makes a transport of what a `Port` gives: socket, protocol, peer, port, session number, reactor.
MakeTransport = Callable[..., Any]
#: With several workers: passes a connection, its UUID and all that it sent to the worker that has the call; false
#: when that is this one.
PassOn = Callable[[AudioSocketProtocol, UUID, bytes], bool]
#: With several nodes: finds out whether another one has the call of a UUID. Fires with the reason why the UUID is
#: refused, empty if it is not; None if nothing has to be waited for.
Locate = Callable[[AudioSocketProtocol, UUID], "Deferred[str] | None"]


class AudioSocketFactory(Factory):
    """The protocol factory of one port, for an extension and a role.

    ``join`` returns the leg of a UUID or the reason why it is refused. ``transport`` makes the transport of an
    accepted socket, None stands for Twisted's own. ``pass_on`` is given with several workers, see `PassOn`.
    ``gate`` is where the port waits while file descriptors have run out; None for one of its own. ``locate`` is
    given with several nodes, see `Locate`.
    """

    noisy = False

    def __init__(
        self,
        extension: Extension,
        role: Role,
        join: Callable[[AudioSocketProtocol, Role, Extension, UUID], LegEnd[AudioSocketProtocol] | str],
        observer: ConnectionObserver[AudioSocketProtocol],
        clock: MediaClock,
        transport: MakeTransport | None = None,
        pass_on: PassOn | None = None,
        gate: AcceptGate | None = None,
        locate: Locate | None = None,
    ) -> None:
        self.extension = extension
        self.role = role
        self._join = join
        self.observer = observer
        self._clock = clock
        self.transport = transport
        #: Open connections of this port, with or without a leg.
        self.connections: set[AudioSocketProtocol] = set()
        self._on_empty: Callable[[], object] | None = None
        self.pass_on = pass_on
        self.gate = gate
        self.locate = locate
        #: Whether connections have their options from the listening socket.
        self.prepared = False

    def prepare(self, listening: socket.socket) -> None:
        """Set the options of all connections on the socket that will accept them, which Linux copies to each."""
        self.prepared = prepare(listening)

    def buildProtocol(self, addr: IAddress | None) -> AudioSocketProtocol | None:  # type: ignore[override]
        if addr is None or not self.observer.may_connect(addr):
            return None
        where: Any = addr
        return AudioSocketProtocol(self, self._clock, f"{where.host}:{where.port}")

    def connected(self, connection: AudioSocketProtocol) -> None:
        """Note a new connection."""
        self.connections.add(connection)
        self.observer.connected(connection)

    def disconnected(self, connection: AudioSocketProtocol) -> None:
        """Note that a connection is closed."""
        self.connections.discard(connection)
        self.observer.disconnected(connection)
        if not self.connections and self._on_empty is not None:
            self._on_empty()

    def when_empty(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` each time the last connection is closed, instead of an earlier one."""
        self._on_empty = callback

    def join(self, connection: AudioSocketProtocol, call_id: UUID) -> LegEnd[AudioSocketProtocol] | str:
        """Return the leg that this UUID belongs to, or the reason why it is refused."""
        self.observer.identified(connection)
        return self._join(connection, self.role, self.extension, call_id)
