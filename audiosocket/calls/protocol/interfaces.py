"""What a connection needs of its leg, its transport, its factory and the server.

They are generic in the connection: the leg, the factory and the server know more of it than its interface here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITCPTransport

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Extension, Role
from audiosocket.wire import Event

ConnectionT_contra = TypeVar("ConnectionT_contra", contravariant=True)


class LegEnd(Protocol[ConnectionT_contra]):
    """What a connection needs of its leg: `leg.Leg`."""

    @property
    def looping(self) -> bool:
        """Whether frames only go back as they come, which costs next to nothing: they are not counted."""

    def message_received(self, event: Event) -> None:
        """Take a message that is not an ordinary frame."""

    def frames_received(self, data: bytes, shape: tuple[int, int]) -> None:
        """Take one or more ordinary frames; ``shape`` is their rate and their length with the header."""

    def disconnected(self, connection: ConnectionT_contra, outcome: LegOutcome) -> None:
        """Note that a connection is closed or of no use; does nothing unless it is the one in use."""

    def cut_off(self, connection: ConnectionT_contra, outcome: LegOutcome) -> None:
        """Note that a connection through a proxy is closed, which does not say that the caller has hung up."""


class Transport(ITCPTransport, IConsumer, IPushProducer):
    """What a connection needs of its transport: TCP with a bounded buffer, and reading that can be paused."""


class ConnectionObserver(Protocol[ConnectionT_contra]):
    """What the connections of all ports ask and report: `server.admission.ConnectionAdmission`."""

    def may_connect(self, address: IAddress) -> bool:
        """Return whether this peer may open a connection: a caller, or a proxy in front of callers."""

    def is_proxy(self, connection: ConnectionT_contra) -> bool:
        """Return whether the other end must begin with a PROXY header, which is refused from any other."""

    def may_call(self, connection: ConnectionT_contra) -> bool:
        """Return whether the caller that a proxy has named on this connection may send its UUID."""

    def connected(self, connection: ConnectionT_contra) -> None:
        """Note a connection that was accepted; its UUID has not been received yet."""

    def identified(self, connection: ConnectionT_contra) -> None:
        """Note that its UUID was received."""

    def disconnected(self, connection: ConnectionT_contra) -> None:
        """Note that it is closed."""

    def rejected(self, connection: ConnectionT_contra, why: str) -> None:
        """Note that it is aborted, because its first message was not a UUID."""

    def refused(self, connection: ConnectionT_contra, call_id: UUID, why: str) -> None:
        """Note that its UUID was answered with a hangup frame."""

    def misbehaved(self, connection: ConnectionT_contra, why: str) -> None:
        """Note that the peer of a leg violated the protocol, or did what Asterisk does not do."""

    def protocol_error(self, kind: str) -> None:
        """Count an error of a peer; ``kind`` is one of `traffic.PROTOCOL_ERRORS`."""

    def blocked(self) -> None:
        """Count a frame that a peer did not take."""

    def paced(self, difference: float) -> None:
        """Note by how much the time that some frames took differs from their audio, in seconds."""


class ConnectionFactory(Protocol[ConnectionT_contra]):
    """What a connection needs of the factory of its port: `factory.AudioSocketFactory`."""

    extension: Extension
    role: Role
    #: Whether connections have their options from the listening socket.
    prepared: bool

    @property
    def observer(self) -> ConnectionObserver[ConnectionT_contra]:
        """What the connections of all ports ask and report."""

    @property
    def pass_on(self) -> Callable[[ConnectionT_contra, UUID, bytes], bool] | None:
        """With several workers: see `factory.PassOn`."""

    @property
    def locate(self) -> Callable[[ConnectionT_contra, UUID], Deferred[str] | None] | None:
        """With several nodes: see `factory.Locate`."""

    def connected(self, connection: ConnectionT_contra) -> None:
        """Note a new connection."""

    def disconnected(self, connection: ConnectionT_contra) -> None:
        """Note that a connection is closed."""

    def join(self, connection: ConnectionT_contra, call_id: UUID) -> LegEnd[ConnectionT_contra] | str:
        """Return the leg that this UUID belongs to, or the reason why it is refused."""
