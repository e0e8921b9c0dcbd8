"""A caller in Python: a channel of Asterisk that sends and receives exact frames.

Asterisk is asked to originate ``AudioSocket/<our port>/<uuid>/c(<codec>)`` into the dialplan under test, so this
side of the call is AudioSocket too, here implemented without the server's code.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet import defer, interfaces, protocol, task

from tests.real_asterisk import sound

_HANGUP, _UUID, _DIGIT = 0x00, 0x01, 0x03


#: Places a call and returns its handset and channel id; arguments as for `pick_up`.
PickUp = Callable[..., Awaitable[tuple["Handset", str]]]


class Handset(protocol.Protocol):
    """A caller that sends a frame every 20 ms, silence when nothing is queued, as a telephone does."""

    transport: interfaces.ITCPTransport

    def __init__(self, reactor: Any, rate: int) -> None:
        self.rate = rate
        self.heard = bytearray()
        self.connected_: defer.Deferred[None] = defer.Deferred()
        self.gone: defer.Deferred[None] = defer.Deferred()
        self._reactor = reactor
        self._received = b""
        self._kind = 0x10 + sound.RATES.index(rate)
        self._to_say: list[bytes] = []
        self._said: list[defer.Deferred[None]] = []
        self._clock = task.LoopingCall.withCount(self._speak)
        self._clock.clock = reactor

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 3:
            kind, length = struct.unpack_from(">BH", self._received)
            if len(self._received) < 3 + length:
                return
            payload = self._received[3 : 3 + length]
            self._received = self._received[3 + length :]
            if kind == self._kind:
                self.heard += payload
            elif kind == _UUID:
                self._clock.start(sound.FRAME_MS / 1000).addErrback(lambda _: self.transport.abortConnection())
                self.connected_.callback(None)

    def connectionLost(self, reason: object = protocol.connectionDone) -> None:
        if self._clock.running:
            self._clock.stop()
        self.gone.callback(None)

    def _speak(self, ticks: int) -> None:
        size = sound.frame_bytes(self.rate)
        for _ in range(ticks):
            payload = self._to_say.pop(0) if self._to_say else bytes(size)
            self.transport.write(struct.pack(">BH", self._kind, len(payload)) + payload)
        if not self._to_say:
            for deferred in self._said:
                deferred.callback(None)
            self._said = []

    def play(self, audio: bytes) -> defer.Deferred[None]:
        """Queue audio, sent in real time; the Deferred fires when the last frame was sent."""
        self._to_say += sound.frames(audio, self.rate)
        deferred: defer.Deferred[None] = defer.Deferred()
        self._said.append(deferred)
        return deferred

    async def listen(self, enough: Callable[[bytes], bool], seconds: float = 5) -> bytes:
        """Wait until the audio received is enough, or for ``seconds``; return it."""
        deadline = self._reactor.seconds() + seconds
        while not enough(bytes(self.heard)) and self._reactor.seconds() < deadline and not self.gone.called:
            await task.deferLater(self._reactor, 0.02)
        return bytes(self.heard)

    def hang_up(self) -> None:
        """Hang up: Asterisk's channel ends. Nothing happens after the end of the call."""
        if self.gone.called:
            return
        self.transport.write(struct.pack(">BH", _HANGUP, 0))
        self.transport.loseWriteConnection()


async def pick_up(
    reactor: Any, originate: Callable[..., Any], rate: int, seconds: float = 5, **call: Any
) -> tuple[Handset, str]:
    """Place a call from a new handset, ``call`` as for `Asterisk.originate`; return handset and channel id."""
    handset = Handset(reactor, rate)
    factory = protocol.Factory.forProtocol(lambda: handset)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        address = f"127.0.0.1:{port.getHost().port}"
        channel = f"AudioSocket/{address}/{uuid.uuid4()}/c({sound.codec_name(rate)})"
        channel_id: str = await originate(channel, **call)
        await handset.connected_.addTimeout(seconds, reactor)
    finally:
        await port.stopListening()
    return handset, channel_id
