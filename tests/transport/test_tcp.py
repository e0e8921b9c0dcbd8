"""`DirectTransport` and Twisted's own transport run the same tests: a protocol sees no difference."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISystemHandle, ITCPTransport
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface.verify import verifyClass

from audiosocket.transport import epoll
from audiosocket.transport.epoll import SocketPoller
from audiosocket.transport.port import ThrottledPort
from audiosocket.transport.tcp import CORK_BYTES, DirectTransport
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import LOOPBACK, reactor, reactor_turns, until

needs_epoll = pytest.mark.skipif(not epoll.available(), reason="this system has no epoll")
both = pytest.mark.parametrize("kind", [pytest.param("ours", marks=needs_epoll), "twisted"])
#: Larger than the buffers of both ends.
LARGE = os.urandom(1_000_000) * 16


class Peer(Protocol):
    """Records the calls of its transport; ``on_data`` is called with what arrives."""

    transport: Any

    def __init__(self) -> None:
        self.got = b""
        self.lost: list[Failure] = []
        self.calls: list[str] = []
        self.on_data: Callable[[bytes], object] = lambda data: None

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self.on_data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class ListeningPort:
    """A listening port whose connections have the transport under test."""

    def __init__(self, kind: str) -> None:
        self.peers: list[Peer] = []
        #: What the poller has called, in order.
        self.around: list[str] = []
        self.poller = SocketPoller(
            reactor, lambda: self.around.append("before"), lambda: self.around.append("after")
        )
        self.clients: list[socket.socket] = []
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._build  # type: ignore[method-assign, assignment]
        self.port = ThrottledPort(0, factory, 50, LOOPBACK, reactor)
        self.port.transport = functools.partial(DirectTransport, self.poller) if kind == "ours" else Server
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
        await until(self._all_closed)
        await self.port.stopListening()

    def _all_closed(self) -> bool:
        self.poller.poll()
        return all(peer.lost for peer in self.peers)


@contextlib.asynccontextmanager
async def listening(kind: str) -> AsyncIterator[ListeningPort]:
    port = ListeningPort(kind)
    try:
        yield port
    finally:
        await port.close()


async def read(client: socket.socket, count: int) -> bytes:
    """Return ``count`` bytes, or fewer when the connection ends before."""
    got = bytearray()
    while len(got) < count:
        try:
            piece = client.recv(65_536)
        except BlockingIOError:
            await reactor_turns(1)
            continue
        if not piece:
            break
        got += piece
    return bytes(got)


def test_it_provides_the_interfaces_of_a_tcp_transport() -> None:
    for interface in (ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
        assert verifyClass(interface, DirectTransport)


@both
async def test_written_bytes_arrive_and_arriving_bytes_are_read(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        peer.on_data = peer.transport.write
        client.send(b"one")
        assert await read(client, 3) == b"one"
        peer.transport.writeSequence([b"two", b"", b"three"])
        assert await read(client, 8) == b"twothree"
        assert peer.got == b"one"


@both
async def test_addresses_and_options(kind: str) -> None:
    async with listening(kind) as here:
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
async def test_a_clean_close_by_the_peer_is_reported_once(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        client.send(b"last bytes")
        client.close()
        await until(lambda: bool(peer.lost))
        assert peer.got == b"last bytes"
        assert peer.lost[0].check(ConnectionDone)
        peer.transport.write(b"too late")
        peer.transport.loseConnection()
        peer.transport.abortConnection()
        await reactor_turns()
        assert len(peer.lost) == 1


@both
async def test_a_reset_is_reported_as_connection_lost(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionLost)


@both
async def test_writing_to_a_closed_peer_only_loses_the_connection(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        client.close()
        for _ in range(50):
            peer.transport.write(b"data")
            await reactor_turns(1)
        assert len(peer.lost) == 1


@both
async def test_data_beyond_the_kernel_buffer_arrives_in_order(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        peer.transport.registerProducer(peer, True)
        for at in range(0, len(LARGE), 100_000):
            peer.transport.write(LARGE[at : at + 100_000])
        assert set(peer.calls) == {"pause"}
        assert await read(client, len(LARGE)) == LARGE
        await until(lambda: peer.calls[-1] == "resume")
        assert peer.calls.count("resume") == 1
        peer.transport.write(b"and more")
        assert await read(client, 8) == b"and more"
    assert peer.calls[-2:] == ["resume", "stop"]


@both
async def test_half_close_waits_for_queued_data_and_reading_goes_on(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        peer.transport.write(LARGE)
        peer.transport.loseWriteConnection()
        assert await read(client, len(LARGE) + 1) == LARGE
        client.send(b"still reading")
        await until(lambda: peer.got == b"still reading")
        assert not peer.lost
        peer.transport.write(b"never sent")
        client.close()
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionDone)


@both
async def test_close_waits_for_queued_data(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        peer.transport.write(LARGE)
        peer.transport.loseConnection()
        peer.transport.loseConnection()
        assert await read(client, len(LARGE) + 1) == LARGE
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionDone)


@both
async def test_abort_drops_queued_data_and_resets(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        peer.transport.write(LARGE)
        peer.transport.abortConnection()
        assert peer.lost == []  # not within the call: the caller is not finished
        await until(lambda: bool(peer.lost))
        assert peer.lost[0].check(ConnectionAborted)
        with pytest.raises(ConnectionResetError):
            await read(client, len(LARGE))


@both
async def test_a_protocol_that_raises_loses_only_its_own_connection(
    kind: str, logged_failures: LoggedFailures
) -> None:
    async with listening(kind) as here:
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
async def test_reading_can_be_paused(kind: str) -> None:
    async with listening(kind) as here:
        client, peer = await here.connect()
        peer.transport.pauseProducing()
        client.send(b"later")
        await reactor_turns()
        assert peer.got == b""
        peer.transport.resumeProducing()
        await until(lambda: peer.got == b"later")


@both
async def test_a_socket_closed_earlier_in_the_same_turn_is_skipped(kind: str) -> None:
    async with listening(kind) as here:
        pairs = [await here.connect() for _ in range(4)]

        def close_all(data: bytes) -> None:
            for _, peer in pairs:
                peer.transport.abortConnection()

        for client, peer in pairs:
            peer.on_data = close_all
            client.send(b"x")
        await until(lambda: all(peer.lost for _, peer in pairs))
        assert sum(len(peer.got) for _, peer in pairs) >= 1


# only DirectTransport


@needs_epoll
async def test_the_poller_tells_before_and_after_it_serves_sockets_also_when_one_fails(
    logged_failures: LoggedFailures,
) -> None:
    async with listening("ours") as here:
        client, peer = await here.connect()
        here.around.clear()

        def fail(data: bytes) -> None:
            here.around.append("data")
            raise LookupError("a bug")

        peer.on_data = fail
        client.send(b"x")
        await until(lambda: bool(peer.lost))
        assert here.around[:3] == ["before", "data", "after"]
        assert len(logged_failures.flush(LookupError)) == 1


@needs_epoll
async def test_answers_to_several_frames_are_written_together_on_every_connection() -> None:
    async with listening("ours") as here:
        client, peer = await here.connect()
        other_client, other = await here.connect()
        poller, held = here.poller, list[bool]()

        def answer(data: bytes) -> None:
            held.append(poller.corked is not None)
            for n in range(3):
                peer.transport.write(b"%d" % n)
                other.transport.write(b"%d" % n)
            with pytest.raises(BlockingIOError):
                other_client.recv(1)

        peer.on_data = answer
        client.send(bytes(CORK_BYTES))
        assert await read(client, 3) == await read(other_client, 3) == b"012"
        assert held == [True]
        assert poller.corked is None


@needs_epoll
async def test_a_half_close_while_corked_comes_after_what_was_written() -> None:
    async with listening("ours") as here:
        client, peer = await here.connect()

        def end(data: bytes) -> None:
            peer.transport.write(b"bye")
            peer.transport.loseWriteConnection()

        peer.on_data = end
        client.send(bytes(CORK_BYTES))
        assert await read(client, 4) == b"bye"


@needs_epoll
async def test_the_reactor_has_one_reader_and_none_without_connections() -> None:
    async with listening("ours") as here:
        assert here.poller.fileno() == -1
        pairs = [await here.connect() for _ in range(5)]
        assert [reader for reader in reactor.getReaders() if reader is here.poller] == [here.poller]
        assert len(here.poller) == 5
        assert not any(isinstance(reader, DirectTransport) for reader in reactor.getReaders())
        for client, _ in pairs:
            client.close()
        await until(lambda: all(peer.lost for _, peer in pairs))
        assert here.poller.fileno() == -1
        assert here.poller not in reactor.getReaders()


@needs_epoll
async def test_a_socket_polled_on_tick_is_read_on_the_tick_and_not_before() -> None:
    async with listening("ours") as here:
        client, peer = await here.connect()
        other_client, other = await here.connect()
        peer.transport.read_on_tick(True)
        client.send(b"one")
        client.send(b"two")
        other_client.send(b"meanwhile")
        await until(lambda: other.got == b"meanwhile")
        assert peer.got == b""
        assert here.poller.poll()
        assert peer.got == b"onetwo"
        client.send(b"three")
        await reactor_turns()
        assert peer.got == b"onetwo"
        peer.transport.read_on_tick(False)
        await until(lambda: peer.got == b"onetwothree")
        assert not here.poller.poll()


@needs_epoll
async def test_the_end_of_a_connection_polled_on_tick_is_reported_on_the_tick() -> None:
    async with listening("ours") as here:
        pairs = [await here.connect() for _ in range(2)]
        for client, peer in pairs:
            peer.transport.read_on_tick(True)
            client.send(b"last bytes")
            client.close()
        await reactor_turns()
        assert not any(peer.lost for _, peer in pairs)
        while here.poller.poll():
            await reactor_turns()
        assert [peer.got for _, peer in pairs] == [b"last bytes"] * 2
        assert all(peer.lost[0].check(ConnectionDone) for _, peer in pairs)
        assert here.poller.fileno() == -1


@needs_epoll
async def test_queued_data_of_a_socket_polled_on_tick_is_written_on_ticks() -> None:
    async with listening("ours") as here:
        client, peer = await here.connect()
        peer.transport.read_on_tick(True)
        peer.transport.write(LARGE)
        got = bytearray()
        while len(got) < len(LARGE):
            here.poller.poll()
            with contextlib.suppress(BlockingIOError):
                got += client.recv(1_000_000)
            await reactor_turns(1)
        assert bytes(got) == LARGE


@needs_epoll
async def test_more_ready_sockets_than_one_turn_serves_are_served_in_the_next_turns() -> None:
    async with listening("ours") as here:
        pairs = [await here.connect() for _ in range(epoll.SOCKETS_PER_TURN + 5)]
        for client, peer in pairs:
            peer.transport.read_on_tick(True)
            client.send(b"here")
        here.poller.poll()
        assert sum(bool(peer.got) for _, peer in pairs) == epoll.SOCKETS_PER_TURN
        await until(lambda: all(peer.got for _, peer in pairs))


@needs_epoll
async def test_a_socket_polled_on_tick_can_be_detached_aborted_and_paused() -> None:
    async with listening("ours") as here:
        pairs = [await here.connect() for _ in range(3)]
        for _, peer in pairs:
            peer.transport.read_on_tick(True)
        (client, detached), (_, aborted), (sender, paused) = pairs
        taken = detached.transport.detach()
        taken.send(b"from elsewhere")
        assert await read(client, 14) == b"from elsewhere"
        taken.close()
        detached.lost.append(Failure(CONNECTION_LOST))
        aborted.transport.abortConnection()
        await until(lambda: bool(aborted.lost))
        paused.transport.pauseProducing()
        sender.send(b"later")
        assert here.poller.poll()
        assert paused.got == b""
        paused.transport.resumeProducing()
        here.poller.poll()
        assert paused.got == b"later"
        paused.transport.read_on_tick(True)
        paused.transport.read_on_tick(False)
        paused.transport.read_on_tick(False)


@needs_epoll
async def test_all_connections_are_lost_when_the_reactor_stops() -> None:
    async with listening("ours") as here:
        pairs = [await here.connect() for _ in range(3)]
        here.poller.connectionLost(Failure(CONNECTION_LOST))
        assert [peer.lost[0].check(ConnectionLost) for _, peer in pairs] == [ConnectionLost] * 3


@needs_epoll
async def test_detach_returns_the_open_socket() -> None:
    async with listening("ours") as here:
        client, peer = await here.connect()
        taken = peer.transport.detach()
        try:
            assert peer.lost == []
            assert here.poller.fileno() == -1
            taken.send(b"from elsewhere")
            assert await read(client, 14) == b"from elsewhere"
            with pytest.raises(ValueError, match="closed"):
                peer.transport.getHandle()
            with pytest.raises(ValueError, match="closed"):
                peer.transport.detach()
        finally:
            taken.close()
            peer.lost.append(Failure(CONNECTION_LOST))  # a detached transport makes no more calls


@needs_epoll
async def test_only_one_streaming_producer_can_be_registered() -> None:
    async with listening("ours") as here:
        client, peer = await here.connect()
        with pytest.raises(ValueError, match="streaming"):
            peer.transport.registerProducer(peer, False)
        peer.transport.registerProducer(peer, True)
        with pytest.raises(RuntimeError, match="already"):
            peer.transport.registerProducer(peer, True)
        client.close()
        await until(lambda: bool(peer.lost))
        peer.transport.registerProducer(peer, True)
        assert peer.calls == ["stop", "stop"]


async def test_kept_epolls_stay_open_without_connections() -> None:
    async with listening("ours") as port:
        port.poller.keep_descriptors(True)
        kept = port.poller.fileno()
        assert kept >= 0
        client, peer = await port.connect()
        assert port.poller.fileno() == kept
        client.close()
        await until(lambda: bool(peer.lost))
        assert port.poller.fileno() == kept
        assert port.poller not in reactor.getReaders()
        port.poller.keep_descriptors(False)
        assert port.poller.fileno() == -1


async def test_a_port_without_descriptors_waits_and_accepts_when_there_are_some() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with listening("ours") as port:
        waiting = socket.socket()
        port.clients.append(waiting)
        highest = max(int(name) for name in os.listdir("/dev/fd"))
        fillers = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.open(os.devnull, os.O_RDONLY))
            waiting.connect((LOOPBACK, port.port.getHost().port))
            await until(lambda: port.port.gate is not None and port.port.gate.paused)
            assert not port.peers
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
        await until(lambda: bool(port.peers))
