"""Small AudioSocket servers for the strict client: two correct ones, the others with one fault each.

Each is a Twisted protocol class; `serve` listens with one on a free loopback port. `PacedServer` is correct:
silence or queued audio from the UUID on, one write per 20 ms, 0x00 and a half-close at its end.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.wire import HANGUP_FRAME, Audio, Digit, Identified, Parser, audio_frame
from tests.support.reactor import reactor

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
FRAME = audio_frame(8000, bytes(320))


def message(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


class Server(Protocol):
    """A server that records everything and sends nothing."""

    factory: RecordingFactory
    #: A TCP transport; Twisted has no interface for all that is used of it.
    transport: Any

    def connectionMade(self) -> None:
        self.parser = Parser()
        #: What the parser returned, of any type of `wire.Event`.
        self.received: list[Any] = []
        self.notes: list[str] = []
        self.open = True
        self.transport.setTcpNoDelay(True)
        self.factory.calls.append(self)
        self.begin()

    def begin(self) -> None:
        """Called when the connection is open."""

    def dataReceived(self, data: bytes) -> None:
        for event in self.parser.receive(data):
            self.received.append(event)
            if isinstance(event, Identified):
                self.identified()
            elif isinstance(event, Audio):
                self.audio(event)

    def identified(self) -> None:
        """Called with the UUID."""

    def audio(self, event: Audio) -> None:
        """Called with each audio frame of the caller."""

    @property
    def digits(self) -> str:
        return "".join(event.digit for event in self.received if isinstance(event, Digit))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        self.notes.append(type(reason.value).__name__)
        self.stop()
        self.factory.closed(self)

    def stop(self) -> None:
        """Called when the connection is closed."""


@implementer(IHalfCloseableProtocol)
class PacedServer(Server):
    """A correct server: paced silence from the UUID on; `hang_up` sends 0x00, half-closes and waits."""

    rate = 8000

    def begin(self) -> None:
        self.queue: list[bytes] = []
        self.clock = LoopingCall(self.tick)

    def identified(self) -> None:
        self.clock.start(0.02)

    def tick(self) -> None:
        frame = self.queue.pop(0) if self.queue else bytes(self.rate // 50 * 2)
        self.transport.write(audio_frame(self.rate, frame))

    def hang_up(self) -> None:
        self.stop()
        self.transport.write(HANGUP_FRAME)
        self.transport.loseWriteConnection()

    def stop(self) -> None:
        if self.clock.running:
            self.clock.stop()

    def readConnectionLost(self) -> None:
        self.stop()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.notes.append("write side closed")


class EchoServer(Server):
    """A correct server that returns each frame immediately."""

    def identified(self) -> None:
        self.transport.write(FRAME)

    def audio(self, event: Audio) -> None:
        self.transport.write(audio_frame(event.rate, event.pcm))


class FaultyServer(PacedServer):
    """A server that is correct for nine frames and calls `misbehave` instead of the tenth."""

    after = 10

    def begin(self) -> None:
        super().begin()
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == self.after:
            self.misbehave()
        else:
            super().tick()

    def misbehave(self) -> None:
        raise NotImplementedError

    def later(self, seconds: float, data: bytes) -> None:
        """Send ``data`` after ``seconds``, if the connection is still open."""
        self.stop()
        reactor.callLater(seconds, lambda: self.transport.connected and self.transport.write(data))


def sends(data: bytes) -> type[FaultyServer]:
    """Return a server that sends ``data`` once and then continues correctly."""

    class Sends(FaultyServer):
        def misbehave(self) -> None:
            self.transport.write(data)

    return Sends


class SplitsFrames(FaultyServer):
    def misbehave(self) -> None:
        self.transport.write(FRAME[:3])
        self.later(0.1, FRAME[3:])


class SplitsPayload(FaultyServer):
    def misbehave(self) -> None:
        self.transport.write(FRAME[:200])
        self.later(0.1, FRAME[200:])


class PausesInHeader(FaultyServer):
    """Legal: half a header, the rest 200 ms later; Asterisk waits for it."""

    def misbehave(self) -> None:
        self.transport.write(FRAME[:2])
        self.stop()
        reactor.callLater(0.2, self.go_on)

    def go_on(self) -> None:
        if self.transport.connected:
            self.transport.write(FRAME[2:])
            self.clock.start(0.02)


class NeverFinishesHeader(FaultyServer):
    def misbehave(self) -> None:
        self.stop()
        self.transport.write(FRAME[:2])


class Resets(FaultyServer):
    def misbehave(self) -> None:
        self.stop()
        self.transport.abortConnection()


class CutsFrame(FaultyServer):
    def misbehave(self) -> None:
        self.stop()
        self.transport.write(FRAME[:50])
        self.transport.loseConnection()


class ClosesWithoutHangup(FaultyServer):
    """Legal: a FIN without 0x00."""

    def misbehave(self) -> None:
        self.stop()
        self.transport.loseConnection()


class HangsUp(FaultyServer):
    def misbehave(self) -> None:
        self.hang_up()


class SendsAfterHangup(FaultyServer):
    """A server that sends another frame 50 ms after its 0x00."""

    def misbehave(self) -> None:
        self.transport.write(HANGUP_FRAME)
        self.later(0.05, FRAME)

    def readConnectionLost(self) -> None:
        self.notes.append("ignored a FIN")


class StopsSending(FaultyServer):
    def misbehave(self) -> None:
        self.stop()


class NeverReads(PacedServer):
    """A server that sends but does not read after the UUID."""

    def identified(self) -> None:
        super().identified()
        self.transport.stopReading()


class RecordingFactory(ServerFactory):
    """A factory that keeps its protocols in ``calls`` and reports closed ones to ``closed``."""

    def __init__(self, protocol: type[Server], calls: list[Server], closed: Callable[[Server], None]) -> None:
        self.protocol: Any = protocol
        self.calls = calls
        self.closed = closed


class ListeningServer:
    """A server on a loopback port: its ``port`` and its ``calls``, closed ones included."""

    def __init__(self, protocol: type[Server], receive_buffer: int | None = None) -> None:
        self.calls: list[Server] = []
        factory = RecordingFactory(protocol, self.calls, self._closed)
        self._empty: Deferred[None] | None = None
        self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port: int = self._port.getHost().port
        if receive_buffer is not None:
            self._port.socket.setsockopt(1, 8, struct.pack("i", receive_buffer))  # SOL_SOCKET, SO_RCVBUF

    def _is_live(self) -> bool:
        return any(call.open for call in self.calls)

    def _closed(self, call: Server) -> None:
        if self._empty is not None and not self._is_live():
            self._empty.callback(None)

    async def close(self) -> None:
        await self._port.stopListening()
        for call in self.calls:
            if call.open:
                call.transport.abortConnection()
        if self._is_live():
            self._empty = Deferred()
            await self._empty


@asynccontextmanager
async def serve(protocol: type[Server], receive_buffer: int | None = None) -> AsyncIterator[ListeningServer]:
    """Serve with a protocol class on a free loopback port; abort the connections that are left at the end."""
    listening = ListeningServer(protocol, receive_buffer)
    try:
        yield listening
    finally:
        await listening.close()
