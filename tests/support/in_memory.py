"""The server between Asterisk and the apps in memory: transports, factories, switchboard, clock.

`AsteriskConnection` is the end that Asterisk holds, and a strict one: it checks that every write towards it is one
whole frame it would accept, and that nothing follows a hangup frame. Time moves only by `InMemoryServer.run`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.task import Clock as Time
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.calls.call import Call, JournalWriter
from audiosocket.calls.call_limits import CallLimits, Limits
from audiosocket.calls.events import EventLog, Record
from audiosocket.calls.protocol.connection import AudioSocketProtocol
from audiosocket.calls.protocol.factory import AudioSocketFactory
from audiosocket.calls.registry import CallRegistry
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension, Role
from audiosocket.interfaces import App, AppFactory, CallerInfo, Leg, ReturnOutcome
from audiosocket.media.resample import StreamConverter
from audiosocket.returncalls.service import ReturnCalls
from audiosocket.server.admission import ConnectionAdmission
from audiosocket.server.app_instances import AppInstances
from audiosocket.server.caller_identification import CallerIdentification
from audiosocket.server.live_legs import LiveLegs
from audiosocket.server.switchboard import MakeConfirmation, Switchboard
from audiosocket.settings import PRIVATE_NETWORKS
from audiosocket.transport.clock import MediaClock
from audiosocket.transport.ticker import TICK_MS, TimerTicker
from audiosocket.wire import HANGUP_FRAME, audio_frame, uuid_frame
from tests.support.fake_leg import app_context

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
OTHER_CALL = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
OTHER_EXTENSION = Extension(7, "7000", "7001", "0.0.0.0", 9070, 9071, 3)
FRAME = audio_frame(8000, b"\x11\x22" * 160)
#: What Twisted buffers for a peer that does not read before it pauses the producer, in bytes.
BUFFER_BYTES = 65_536
#: The time at the start, in seconds: not zero, and not on the 5 ms grid.
START = 1_000.0013


@implementer(ITCPTransport, IConsumer, IPushProducer)
class AsteriskConnection:
    """Asterisk's end of a connection and Twisted's transport in one; ``writes`` has what the server wrote."""

    def __init__(self, time: Time, host: str, port: int) -> None:
        self.time = time
        self.host = host
        self.port = port
        self.protocol: AudioSocketProtocol | None = None
        #: Every write with its time in seconds.
        self.writes: list[tuple[float, bytes]] = []
        self.producer: Any = None
        self.no_delay = self.keep_alive = False
        self.hangup_sent = False
        #: The server has sent its FIN.
        self.half_closed = False
        self.aborted = False
        #: `connectionLost` was called.
        self.closed = False
        #: Asterisk does not read: what is written is buffered.
        self.not_reading = False
        self.unread_bytes = 0
        self.paused = False
        #: What was sent while the server does not read; None while it reads.
        self._not_read: bytes | None = None

    # what Asterisk does

    def send(self, data: bytes) -> None:
        """Send ``data`` as Asterisk, received in one read; lost after an abort, as on a real socket."""
        if not self.closed and not self.aborted:
            assert self.protocol is not None
            if self._not_read is not None:
                self._not_read += data
            else:
                self.protocol.dataReceived(data)

    def hang_up(self) -> None:
        """Close the connection as Asterisk, with a FIN."""
        self._lose(ConnectionDone())

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self._lose(ConnectionLost())

    def resume_reading(self) -> None:
        """Read again as Asterisk, everything at once."""
        self.not_reading, self.unread_bytes = False, 0
        if self.paused and self.producer is not None:
            self.paused = False
            self.producer.resumeProducing()

    # what it received

    @property
    def received(self) -> bytes:
        return b"".join(data for _, data in self.writes)

    @property
    def ended_by_server(self) -> bool:
        """Whether the last write was the hangup frame and the server's FIN followed it."""
        return self.hangup_sent and self.half_closed

    def audio(self, since: float = 0.0) -> list[tuple[float, int, bytes]]:
        """Return time in seconds, kind and payload of each audio frame written since ``since``."""
        return [(when, data[0], data[3:]) for when, data in self.writes if data[0] and when >= since]

    def pcm(self, since: float = 0.0) -> bytes:
        return b"".join(payload for _, _, payload in self.audio(since))

    # the transport

    def write(self, data: bytes) -> None:
        kind, length = struct.unpack_from(">BH", data)
        assert len(data) == 3 + length, "a write must be exactly one frame"
        assert kind == 0 or (0x10 <= kind <= 0x18 and length), f"Asterisk ends the leg on kind 0x{kind:02x}"
        assert not self.half_closed, "written after the FIN"
        assert not self.hangup_sent, "written after the hangup frame"
        if self.closed or self.aborted:
            return
        self.writes.append((self.time.seconds(), data))
        self.hangup_sent = data == HANGUP_FRAME
        if self.not_reading:
            self.unread_bytes += len(data)
            if self.unread_bytes > BUFFER_BYTES and self.producer is not None and not self.paused:
                self.paused = True
                self.producer.pauseProducing()

    @property
    def read(self) -> bool:
        """Whether the server reads."""
        return self._not_read is None

    def pauseProducing(self) -> None:
        if self._not_read is None:
            self._not_read = b""

    def resumeProducing(self) -> None:
        """Read what was sent meanwhile, in the reactor's next turn and at most 64 kB at a time."""
        waiting, self._not_read = self._not_read, None
        if waiting:
            self.time.callLater(0, self._read_later, waiting)

    def stopProducing(self) -> None:
        self.loseConnection()

    def _read_later(self, data: bytes) -> None:
        now, later = data[:BUFFER_BYTES], data[BUFFER_BYTES:]
        self.send(now)
        if later:
            self.send(later) if self._not_read is not None else self.time.callLater(0, self._read_later, later)

    def writeSequence(self, iovec: Any) -> None:
        raise AssertionError("Asterisk requires a whole frame in one write")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert IPushProducer.providedBy(producer)
        assert self.producer is None, "two producers"
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        raise AssertionError("close() with unread input would make the kernel send RST")

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        if not self.closed and not self.aborted:
            self.aborted = True
            self.time.callLater(0, self._lose, ConnectionAborted())

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        return self.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = enabled

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self.port)

    def getPeer(self) -> IPv4Address | IPv6Address:
        return peer_address(self.host)

    def _lose(self, why: Exception) -> None:
        if self.closed:
            return
        self.closed = True
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        assert self.protocol is not None
        self.protocol.connectionLost(Failure(why))


def refused(connection: AsteriskConnection) -> bool:
    """Return whether the answer to a connection was the hangup frame and nothing else."""
    return [data for _, data in connection.writes] == [HANGUP_FRAME] and connection.ended_by_server


def peer_address(host: str) -> IPv4Address | IPv6Address:
    """Return the address of a peer on ``host``."""
    if ":" in host:
        return IPv6Address("TCP", host, 50_123)
    return IPv4Address("TCP", host, 50_123)


@dataclass
class AppEvent:
    """One call of an app's method."""

    method: str
    leg: Leg
    value: Any


class RecordingApp(App):
    """An app that records its method calls and runs the test's function for each method."""

    def __init__(self, **then: Callable[[Leg], object]) -> None:
        self.events: list[AppEvent] = []
        self._then = then

    def joined(self, leg: Leg) -> None:
        self._note("joined", leg, None)

    def resumed(self, leg: Leg) -> None:
        self._note("resumed", leg, None)

    def other_gone(self, leg: Leg, outcome: str) -> None:
        self._note("other_gone", leg, outcome)

    def identified(self, leg: Leg, caller: CallerInfo) -> None:
        self._note("identified", leg, caller)

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        self._note("audio", leg, (pcm, rate))

    def digit(self, leg: Leg, digit: str) -> None:
        self._note("digit", leg, digit)

    def marked(self, leg: Leg, name: str, heard_ms: int) -> None:
        self._note("marked", leg, (name, heard_ms))

    def left(self, leg: Leg, outcome: str) -> None:
        self._note("left", leg, outcome)

    def _note(self, what: str, leg: Leg, value: Any) -> None:
        self.events.append(AppEvent(what, leg, value))
        if what in self._then:
            self._then[what](leg)

    @property
    def methods(self) -> list[str]:
        """The names of the methods called, in order."""
        return [event.method for event in self.events]

    def values(self, what: str) -> list[Any]:
        return [event.value for event in self.events if event.method == what]


class RememberingApp(RecordingApp):
    """A `RecordingApp` that remembers the last digit."""

    def digit(self, leg: Leg, digit: str) -> None:
        super().digit(leg, digit)
        leg.remember(self, {"digit": digit})

    def restored(self, leg: Leg, state: Any) -> None:
        self._note("restored", leg, state)


class Echo(App):
    """Sends every frame back."""

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        leg.pass_on(pcm, rate)


#: Receives the end of a return call; see `ReturnCalls`.
ReturnEnded = Callable[[Call, ReturnOutcome], bool]


class InMemoryServer:
    """A switchboard with a factory for each port; ``apps`` are used for both roles, one instance for all calls.

    An app given as a function (an `AppFactory`) is created once per call.
    """

    def __init__(
        self,
        *apps: App | AppFactory,
        accept_unexpected_resident: bool = False,
        allowed: str = PRIVATE_NETWORKS,
        proxies: str = "",
        journal: JournalWriter | None = None,
        time: Time | None = None,
        callers: CallerIdentification | None = None,
        make_returns: Callable[[Time, ReturnEnded], ReturnCalls] | None = None,
        confirmation: MakeConfirmation | None = None,
        limits: Limits | None = None,
        most_connections: int = 0,
        most_per_peer: int = 0,
    ) -> None:
        self.time = time or Time()
        self.time.advance(START)
        self.clock = MediaClock(TimerTicker(self.time, self.time.seconds), self.time.seconds)
        self.events: list[Record] = []
        self.legs = LiveLegs()
        returns = None if make_returns is None else make_returns(self.time, self.legs.return_ended)
        self.registry = CallRegistry(
            EventLog([self.events.append]),
            accept_unexpected_resident=accept_unexpected_resident,
            journal=journal,
            returns=returns,
            limits=CallLimits(limits),
        )
        self.admission = ConnectionAdmission(
            [ip_network(part) for part in allowed.split(",")],
            self.time.seconds,
            self.legs.traffic,
            proxy_peers=[ip_network(part) for part in proxies.split(",") if part],
            most=most_connections,
            most_per_peer=most_per_peer,
        )
        served: Sequence[tuple[str, AppFactory]] = [
            (f"app{number}", _factory(app)) for number, app in enumerate(apps)
        ]
        self.switchboard = Switchboard(
            self.registry,
            AppInstances.fixed(
                {Role.VISITOR: served, Role.RESIDENT: served},
                app_context(self.time),
                lambda spec: [pair for pair in served if pair[0] in spec.split("+")],
            ),
            legs=self.legs,
            admission=self.admission,
            clock=self.clock,
            make_converter=StreamConverter,
            returns=returns,
            callers=callers,
            confirmation=confirmation,
        )
        self._factories: dict[tuple[int, Role], AudioSocketFactory] = {}

    def factory(self, role: Role = Role.VISITOR, extension: Extension = DEFAULT_EXTENSION) -> AudioSocketFactory:
        """Return the factory of that port."""
        key = (extension.id, role)
        if key not in self._factories:
            self._factories[key] = AudioSocketFactory(
                extension, role, self.switchboard.join, self.admission, self.clock
            )
        return self._factories[key]

    def connect(
        self,
        role: Role = Role.VISITOR,
        extension: Extension = DEFAULT_EXTENSION,
        host: str = "127.0.0.1",
    ) -> AsteriskConnection:
        """Return a connection on which nothing has been sent."""
        line = AsteriskConnection(self.time, host, extension.ports()[role])
        line.protocol = self.factory(role, extension).buildProtocol(peer_address(host))
        assert line.protocol is not None, f"{host} was rejected"
        line.protocol.makeConnection(line)
        return line

    def join(
        self,
        call_id: UUID = CALL,
        role: Role = Role.VISITOR,
        extension: Extension = DEFAULT_EXTENSION,
    ) -> AsteriskConnection:
        """Return a connection that has sent its UUID."""
        line = self.connect(role, extension)
        line.send(uuid_frame(call_id))
        return line

    @property
    def now(self) -> float:
        """Steady time in seconds."""
        return float(self.time.seconds())

    def run(self, ms: float, *senders: AsteriskConnection, step: float = 5.0, frame: bytes = FRAME) -> None:
        """Let time pass in steps of ``step`` ms; each of ``senders`` sends ``frame`` every 20 ms."""
        start = self.now
        for n in range(1, round(ms / step) + 1):
            self.time.advance(start + n * step / 1000 - self.now)
            if n * step % 20 == 0:
                for line in senders:
                    line.send(frame)

    def stall(self, ms: float) -> None:
        """Block the reactor for ``ms``, then run everything that is due at once."""
        self.time.advance(ms / 1000)

    def event_names(self) -> list[str]:
        """The names of all call events so far."""
        return [record["event"] for record in self.events]

    @property
    def idle(self) -> bool:
        """No timer is left anywhere, one tick later: the clock stops in its own turn."""
        self.time.advance(TICK_MS / 1000)
        return not self.time.getDelayedCalls()


def _factory(app: App | AppFactory) -> AppFactory:
    return (lambda _: app) if isinstance(app, App) else app
