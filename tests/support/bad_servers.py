"""Small AudioSocket servers for the test caller: one that is right, the others wrong in one way each.

Each is a Twisted protocol class; `serve` puts one on a free loopback port. `PacedServer` is right: silence or an
echo from the UUID on, one write per 20 ms, 0x00 and a half-close at its end.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.wire import HANGUP_FRAME, Audio, Digit, Identified, Parser, audio_frame

FRAME = audio_frame(8000, bytes(320))


class Server(Protocol):
    """Reads everything, remembers it, sends nothing by itself."""

    def connectionMade(self) -> None:
        self.parser = Parser()
        self.received: list[Any] = []
        self.notes: list[str] = []
        self.open = True
        self.transport.setTcpNoDelay(True)
        self.factory.calls.append(self)
        self.begin()

    def begin(self) -> None:
        """The connection is up."""

    def dataReceived(self, data: bytes) -> None:
        for event in self.parser.receive(data):
            self.received.append(event)
            if isinstance(event, Identified):
                self.identified()
            elif isinstance(event, Audio):
                self.audio(event)

    def identified(self) -> None:
        """The UUID is here."""

    def audio(self, event: Audio) -> None:
        """A frame of the caller is here."""

    @property
    def digits(self) -> str:
        return "".join(event.digit for event in self.received if isinstance(event, Digit))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        self.notes.append(reason.type.__name__)
        self.stop()
        self.factory.gone(self)

    def stop(self) -> None:
        """The connection is gone."""


@implementer(IHalfCloseableProtocol)
class PacedServer(Server):
    """Right in everything: paced silence from the UUID on; `hang_up` is 0x00, half-close, wait."""

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
        self.notes.append("wrote to the end")


class EchoServer(Server):
    """Right: each frame back at once (the simplest correct server)."""

    def identified(self) -> None:
        self.transport.write(FRAME)

    def audio(self, event: Audio) -> None:
        self.transport.write(audio_frame(event.rate, event.pcm))


class FaultyServer(PacedServer):
    """Paced and right for ten frames, then `misbehave` once instead of the next."""

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
        """Send the rest, if the caller is still there."""
        self.stop()
        reactor.callLater(seconds, lambda: self.transport.connected and self.transport.write(data))


def sends(data: bytes) -> type[FaultyServer]:
    """A server that sends ``data`` once, then goes on."""

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
    """Legal: half a header, the rest 200 ms later; Asterisk waits."""

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
    """Sends another frame 50 ms after its 0x00, whatever the caller does."""

    def misbehave(self) -> None:
        self.transport.write(HANGUP_FRAME)
        self.later(0.05, FRAME)

    def readConnectionLost(self) -> None:
        self.notes.append("ignored a FIN")


class StopsSending(FaultyServer):
    def misbehave(self) -> None:
        self.stop()


class NeverReads(PacedServer):
    """Talks, but never reads after the UUID; its receive buffer is small."""

    def identified(self) -> None:
        super().identified()
        self.transport.stopReading()


class ListeningServer:
    """A server on a loopback port: its ``port`` and its ``calls``, which outlive their connections."""

    def __init__(self, protocol: type[Server], receive_buffer: int | None = None) -> None:
        self.factory = ServerFactory.forProtocol(protocol)
        self.factory.calls = self.calls = []
        self.factory.gone = self._gone
        self._live: Callable[[], bool] = lambda: any(call.open for call in self.calls)
        self._empty: Deferred[None] | None = None
        self._port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.port: int = self._port.getHost().port
        if receive_buffer is not None:
            self._port.socket.setsockopt(1, 8, struct.pack("i", receive_buffer))  # SOL_SOCKET, SO_RCVBUF

    def _gone(self, call: Server) -> None:
        if self._empty is not None and not self._live():
            self._empty.callback(None)

    async def close(self) -> None:
        await self._port.stopListening()
        for call in self.calls:
            if call.open:
                call.transport.abortConnection()
        if self._live():
            self._empty = Deferred()
            await self._empty


@asynccontextmanager
async def serve(protocol: type[Server], receive_buffer: int | None = None) -> AsyncIterator[ListeningServer]:
    """A listening server for the length of a ``with``; connections that are left are aborted at its end."""
    listening = ListeningServer(protocol, receive_buffer)
    try:
        yield listening
    finally:
        await listening.close()
