"""The transport of legs and Twisted's own, side by side: to a protocol there is no difference."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISystemHandle, ITCPTransport
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface.verify import verifyClass

from audiosocket.provisioning.extension_service import ThrottledPort
from audiosocket.transport import epoll as legpoll
from audiosocket.transport.epoll import SocketPoller
from audiosocket.transport.tcp import LUMP_BYTES, DirectTransport
from tests.conftest import LoggedFailures
from tests.support.loopback_server import LOOPBACK, reactor, turns, until

needs_epoll = pytest.mark.skipif(not legpoll.available(), reason="this system has no epoll")
both = pytest.mark.parametrize("kind", [pytest.param("ours", marks=needs_epoll), "twisted"])
#: More than the buffers of both ends.
MUCH = os.urandom(1_000_000) * 16


class Peer(Protocol):
    """Notes what its transport tells it, and does what the test wants on data."""

    transport: Any

    def __init__(self) -> None:
        self.got = b""
        self.lost: list[Failure] = []
        self.told: list[str] = []
        self.on_data: Callable[[bytes], object] = lambda data: None

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self.on_data(data)

    def connectionLost(self, reason: Failure = CONNECTION_LOST) -> None:
        self.lost.append(reason)

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Place:
    """A listening port whose connections have the transport under test."""

    def __init__(self, kind: str) -> None:
        self.peers: list[Peer] = []
        self.poll = SocketPoller(reactor)
        self.clients: list[socket.socket] = []
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._build  # type: ignore[method-assign, assignment]
        self.port = ThrottledPort(0, factory, 50, LOOPBACK, reactor)
        self.port.transport = functools.partial(DirectTransport, self.poll) if kind == "ours" else Server
        self.port.startListening()

    def _build(self, address: Any) -> Peer:
        self.peers.append(Peer())
        return self.peers[-1]

    async def connect(self) -> tuple[socket.socket, Peer]:
        client = socket.create_connection((LOOPBACK, self.port.getHost().port))
        client.setblocking(False)
        self.clients.append(client)
        count = len(self.peers)
        await until(lambda: len(self.peers) > count and self.peers[-1].transport is not None)
        return client, self.peers[-1]

    async def close(self) -> None:
        for client in self.clients:
            client.close()
        await until(self._all_are_lost)
        await self.port.stopListening()

    def _all_are_lost(self) -> bool:
        self.poll.beat()
        return all(peer.lost for peer in self.peers)


@contextlib.asynccontextmanager
async def place(kind: str) -> AsyncIterator[Place]:
    it = Place(kind)
    try:
        yield it
    finally:
        await it.close()


async def read(client: socket.socket, count: int) -> bytes:
    """So many bytes, or what there is before the end."""
    got = bytearray()
    while len(got) < count:
        try:
            piece = client.recv(65_536)
        except BlockingIOError:
            await turns(1)
            continue
        if not piece:
            break
        got += piece
    return bytes(got)


def test_it_has_all_that_a_tcp_transport_has() -> None:
    for interface in (ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
        assert verifyClass(interface, DirectTransport)


@both
async def test_what_is_written_arrives_and_what_arrives_is_read(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        peer.on_data = peer.transport.write
        client.send(b"one")
        assert await read(client, 3) == b"one"
        peer.transport.writeSequence([b"two", b"", b"three"])
        assert await read(client, 8) == b"twothree"
        assert peer.got == b"one"


@both
async def test_addresses_and_options(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        transport = peer.transport
        assert (transport.getPeer().host, transport.getPeer().port) == client.getsockname()
        assert transport.getHost().port == here.port.getHost().port
        assert transport.getHost().type == transport.getPeer().type == "TCP"
        for wanted in (True, False):
            transport.setTcpNoDelay(wanted)
            transport.setTcpKeepAlive(wanted)
            assert (transport.getTcpNoDelay(), transport.getTcpKeepAlive()) == (wanted, wanted)
        assert transport.getHandle().fileno() >= 0


@both
async def test_the_peers_end_is_told_once_and_in_clean(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        client.send(b"last words")
        client.close()
        await until(lambda: bool(peer.lost))
        assert peer.got == b"last words"
        assert peer.lost[0].check(ConnectionDone)
        peer.transport.write(b"too late")
        peer.transport.loseConnection()
        peer.transport.abortConnection()
        await turns()
        assert len(peer.lost) == 1


@both
async def test_a_reset_is_told_as_lost(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionLost)


@both
async def test_writing_to_a_peer_that_is_gone_ends_in_its_loss_and_nothing_else(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        client.close()
        for _ in range(50):
            peer.transport.write(b"is anybody there?")
            await turns(1)
        assert len(peer.lost) == 1


@both
async def test_more_than_the_kernel_takes_arrives_in_order(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        peer.transport.registerProducer(peer, True)
        for at in range(0, len(MUCH), 100_000):
            peer.transport.write(MUCH[at : at + 100_000])
        assert set(peer.told) == {"pause"}
        assert await read(client, len(MUCH)) == MUCH
        await until(lambda: peer.told[-1] == "resume")
        assert peer.told.count("resume") == 1
        peer.transport.write(b"and more")
        assert await read(client, 8) == b"and more"
    assert peer.told[-2:] == ["resume", "stop"]


@both
async def test_half_closing_waits_for_what_is_written_and_reading_goes_on(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        peer.transport.write(MUCH)
        peer.transport.loseWriteConnection()
        assert await read(client, len(MUCH) + 1) == MUCH
        client.send(b"I am still here")
        await until(lambda: peer.got == b"I am still here")
        assert not peer.lost
        peer.transport.write(b"never sent")
        client.close()
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionDone)


@both
async def test_closing_waits_for_what_is_written(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        peer.transport.write(MUCH)
        peer.transport.loseConnection()
        peer.transport.loseConnection()
        assert await read(client, len(MUCH) + 1) == MUCH
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionDone)


@both
async def test_aborting_forgets_what_waits_and_resets(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        peer.transport.write(MUCH)
        peer.transport.abortConnection()
        assert peer.lost == []  # not while somebody is still in the middle of calling it
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionAborted)
        with pytest.raises(ConnectionResetError):
            await read(client, len(MUCH))


@both
async def test_a_protocol_that_raises_loses_its_own_connection_only(
    kind: str, logged_failures: LoggedFailures
) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        other_client, other = await here.connect()
        other.on_data = other.transport.write

        def fail(data: bytes) -> None:
            raise LookupError("a bug")

        peer.on_data = fail
        client.send(b"x")
        other_client.send(b"y")
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(LookupError)
        assert await read(other_client, 1) == b"y"
        assert len(logged_failures.flush(LookupError)) == 1


@both
async def test_reading_can_be_put_off(kind: str) -> None:
    async with place(kind) as here:
        client, peer = await here.connect()
        peer.transport.pauseProducing()
        client.send(b"later")
        await turns()
        assert peer.got == b""
        peer.transport.resumeProducing()
        await until(lambda: peer.got == b"later")


@both
async def test_a_neighbour_closed_in_the_same_turn_is_left_alone(kind: str) -> None:
    async with place(kind) as here:
        pairs = [await here.connect() for _ in range(4)]

        def close_all(data: bytes) -> None:
            for _, peer in pairs:
                peer.transport.abortConnection()

        for client, peer in pairs:
            peer.on_data = close_all
            client.send(b"x")
        await until(lambda: all(peer.lost for _, peer in pairs))
        assert sum(len(peer.got) for _, peer in pairs) >= 1


# what is ours alone


@needs_epoll
async def test_answers_to_a_lump_leave_together_also_those_to_another_connection() -> None:
    async with place("ours") as here:
        client, peer = await here.connect()
        other_client, other = await here.connect()
        poll, held = here.poll, []

        def answer(data: bytes) -> None:
            held.append(poll.corked is not None)
            for n in range(3):
                peer.transport.write(b"%d" % n)
                other.transport.write(b"%d" % n)
            with pytest.raises(BlockingIOError):
                other_client.recv(1)

        peer.on_data = answer
        client.send(bytes(LUMP_BYTES))
        assert await read(client, 3) == await read(other_client, 3) == b"012"
        assert held == [True]
        assert poll.corked is None


@needs_epoll
async def test_a_goodbye_in_the_middle_of_a_lump_comes_after_what_was_written() -> None:
    async with place("ours") as here:
        client, peer = await here.connect()

        def end(data: bytes) -> None:
            peer.transport.write(b"bye")
            peer.transport.loseWriteConnection()

        peer.on_data = end
        client.send(bytes(LUMP_BYTES))
        assert await read(client, 4) == b"bye"


@needs_epoll
async def test_the_reactor_sees_one_reader_and_none_when_nobody_is_there() -> None:
    async with place("ours") as here:
        assert here.poll.fileno() == -1
        pairs = [await here.connect() for _ in range(5)]
        assert [reader for reader in reactor.getReaders() if reader is here.poll] == [here.poll]
        assert len(here.poll) == 5
        assert not any(isinstance(reader, DirectTransport) for reader in reactor.getReaders())
        for client, _ in pairs:
            client.close()
        await until(lambda: all(peer.lost for _, peer in pairs))
        assert here.poll.fileno() == -1
        assert here.poll not in reactor.getReaders()


@needs_epoll
async def test_a_gathered_socket_is_read_in_the_beat_and_not_before() -> None:
    async with place("ours") as here:
        client, peer = await here.connect()
        other_client, other = await here.connect()
        peer.transport.read_in_beats(True)
        client.send(b"one")
        client.send(b"two")
        other_client.send(b"meanwhile")
        await until(lambda: other.got == b"meanwhile")
        assert peer.got == b""
        assert here.poll.beat()
        assert peer.got == b"onetwo"
        client.send(b"three")
        await turns()
        assert peer.got == b"onetwo"
        peer.transport.read_in_beats(False)
        await until(lambda: peer.got == b"onetwothree")
        assert not here.poll.beat()


@needs_epoll
async def test_the_end_of_a_gathered_connection_is_told_in_the_beat() -> None:
    async with place("ours") as here:
        pairs = [await here.connect() for _ in range(2)]
        for client, peer in pairs:
            peer.transport.read_in_beats(True)
            client.send(b"last words")
            client.close()
        await turns()
        assert not any(peer.lost for _, peer in pairs)
        while here.poll.beat():
            await turns()
        assert [peer.got for _, peer in pairs] == [b"last words"] * 2
        assert all(peer.lost[0].check(ConnectionDone) for _, peer in pairs)
        assert here.poll.fileno() == -1


@needs_epoll
async def test_a_gathered_socket_that_does_not_take_all_is_written_to_in_beats() -> None:
    async with place("ours") as here:
        client, peer = await here.connect()
        peer.transport.read_in_beats(True)
        peer.transport.write(MUCH)
        got = bytearray()
        while len(got) < len(MUCH):
            here.poll.beat()
            with contextlib.suppress(BlockingIOError):
                got += client.recv(1_000_000)
            await turns(1)
        assert bytes(got) == MUCH


@needs_epoll
async def test_more_gathered_sockets_than_one_turn_serves_are_all_served_soon() -> None:
    async with place("ours") as here:
        pairs = [await here.connect() for _ in range(legpoll.SOCKETS_PER_TURN + 5)]
        for client, peer in pairs:
            peer.transport.read_in_beats(True)
            client.send(b"here")
        here.poll.beat()
        assert sum(bool(peer.got) for _, peer in pairs) == legpoll.SOCKETS_PER_TURN
        await until(lambda: all(peer.got for _, peer in pairs))


@needs_epoll
async def test_a_gathered_socket_can_be_taken_out_aborted_and_paused() -> None:
    async with place("ours") as here:
        pairs = [await here.connect() for _ in range(3)]
        for _, peer in pairs:
            peer.transport.read_in_beats(True)
        (client, out), (_, aborted), (sender, paused) = pairs
        taken = out.transport.detach()
        taken.send(b"from elsewhere")
        assert await read(client, 14) == b"from elsewhere"
        taken.close()
        out.lost.append(Failure(CONNECTION_LOST))
        aborted.transport.abortConnection()
        await until(lambda: bool(aborted.lost))
        paused.transport.pauseProducing()
        sender.send(b"later")
        assert here.poll.beat()
        assert paused.got == b""
        paused.transport.resumeProducing()
        here.poll.beat()
        assert paused.got == b"later"
        paused.transport.read_in_beats(True)
        paused.transport.read_in_beats(False)
        paused.transport.read_in_beats(False)


@needs_epoll
async def test_a_reactor_that_stops_loses_all_connections() -> None:
    async with place("ours") as here:
        pairs = [await here.connect() for _ in range(3)]
        here.poll.connectionLost(Failure(CONNECTION_LOST))
        assert [peer.lost[0].check(ConnectionLost) for _, peer in pairs] == [ConnectionLost] * 3


@needs_epoll
async def test_a_socket_can_be_taken_out_open_as_it_is() -> None:
    async with place("ours") as here:
        client, peer = await here.connect()
        taken = peer.transport.detach()
        try:
            assert peer.lost == []
            assert here.poll.fileno() == -1
            taken.send(b"from elsewhere")
            assert await read(client, 14) == b"from elsewhere"
            with pytest.raises(ValueError, match="closed"):
                peer.transport.getHandle()
            with pytest.raises(ValueError, match="closed"):
                peer.transport.detach()
        finally:
            taken.close()
            peer.lost.append(Failure(CONNECTION_LOST))  # by contract nobody tells it


@needs_epoll
async def test_only_one_streaming_producer_is_taken() -> None:
    async with place("ours") as here:
        client, peer = await here.connect()
        with pytest.raises(ValueError, match="streaming"):
            peer.transport.registerProducer(peer, False)
        peer.transport.registerProducer(peer, True)
        with pytest.raises(RuntimeError, match="already"):
            peer.transport.registerProducer(peer, True)
        client.close()
        await until(lambda: bool(peer.lost))
        peer.transport.registerProducer(peer, True)
        assert peer.told == ["stop", "stop"]
