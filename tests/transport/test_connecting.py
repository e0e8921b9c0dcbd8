"""`DirectEndpoint` and Twisted's own client endpoint run the same tests; then what only the former does."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    NoProtocol,
    TimeoutError,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from audiosocket.server.assembly import media
from audiosocket.transport import epoll
from audiosocket.transport.connecting import DirectEndpoint
from audiosocket.transport.epoll import SocketPoller
from tests.support.loopback_server import LOOPBACK, reactor, reactor_turns, until

needs_epoll = pytest.mark.skipif(not epoll.available(), reason="this system has no epoll")
both = pytest.mark.parametrize("kind", [pytest.param("ours", marks=needs_epoll), "twisted"])


class Peer(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.got = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Peers(Factory):
    protocol = Peer
    noisy = False


class NoPeers(Peers):
    def buildProtocol(self, addr: object) -> None:
        return None


def endpoint(
    kind: str, port: int, timeout: float = 5, poller: SocketPoller | None = None
) -> IStreamClientEndpoint:
    if kind == "ours":
        return DirectEndpoint(
            reactor, SocketPoller(reactor) if poller is None else poller, LOOPBACK, port, timeout
        )
    made: IStreamClientEndpoint = TCP4ClientEndpoint(reactor, LOOPBACK, port, timeout=timeout)
    return made


def _has(peer: Peer, count: int) -> bool:
    return len(peer.got) == count


@asynccontextmanager
async def listening() -> AsyncIterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server
    await reactor_turns()


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


@both
async def test_both_sides_are_connected(kind: str) -> None:
    async with listening() as server:
        peer: Any = await endpoint(kind, port_of(server)).connect(Peers())
        accepted, address = server.accept()
        with accepted:
            assert (peer.transport.getHost().host, peer.transport.getHost().port) == address
            assert peer.transport.getPeer().port == port_of(server)
            peer.transport.write(b"to the server")
            accepted.send(b"from the server")
            await until(lambda: peer.got == b"from the server")
            assert accepted.recv(100) == b"to the server"
        await until(lambda: peer.lost is not None)


@both
async def test_nobody_listens(kind: str) -> None:
    async with listening() as server:
        port = port_of(server)
    with pytest.raises(ConnectionRefusedError):
        await endpoint(kind, port).connect(Peers())


@both
async def test_no_answer_in_time_is_a_timeout(kind: str) -> None:
    with socket.create_server((LOOPBACK, 0), backlog=0) as server:
        waiting = []
        for _ in range(3):  # fill the queue: a further SYN is not answered
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((LOOPBACK, port_of(server)))
            waiting.append(one)
        with pytest.raises(TimeoutError):
            await endpoint(kind, port_of(server), 0.05).connect(Peers())
        for one in waiting:
            one.close()


@both
async def test_connecting_can_be_cancelled(kind: str) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        before = set(reactor.getWriters())
        connecting = endpoint(kind, port_of(server)).connect(Peers())
        connecting.cancel()
        with pytest.raises((ConnectingCancelledError, CancelledError)):
            await connecting
        assert set(reactor.getWriters()) == before


@both
async def test_a_factory_without_a_protocol(kind: str) -> None:
    async with listening() as server:
        with pytest.raises(NoProtocol):
            await endpoint(kind, port_of(server)).connect(NoPeers())


@needs_epoll
async def test_an_address_that_cannot_be_connected_to_is_an_error_at_once() -> None:
    for address in ("255.255.255.255", "::ffff:255.255.255.255"):
        connecting = DirectEndpoint(reactor, SocketPoller(reactor), address, 1, 5).connect(Peers())
        with pytest.raises(ConnectError):
            await connecting


@needs_epoll
async def test_the_reactor_stops_while_it_connects() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        before = set(reactor.getWriters())
        connecting = endpoint("ours", port_of(server)).connect(Peers())
        (attempt,) = set(reactor.getWriters()) - before
        assert attempt.logPrefix() == "connecting"
        attempt.connectionLost(Failure(TimeoutError()))
        attempt.doWrite()
        with pytest.raises(ConnectError):
            await connecting
        assert attempt.fileno() == -1


@needs_epoll
async def test_a_connection_that_wants_it_is_polled_between_ticks_and_keeps_the_clock_running() -> None:
    """Without any leg."""
    clock, _, keep, make_tcp = media("", reactor, time.monotonic)
    assert make_tcp is not None
    async with listening() as server:
        peer: Any = await make_tcp(LOOPBACK, port_of(server), 5).connect(Peers())
        accepted, _ = server.accept()
        peer.transport.read_on_tick(True, between=True)
        for number in range(1, 4):
            accepted.send(b"x")
            await until(partial(_has, peer, number))
        accepted.close()
        await until(lambda: peer.lost is not None)
    await until(lambda: not clock._running)
    keep(False)
    assert not [each for each in reactor.getDelayedCalls() if "SocketPoller" in str(each.func)]


@needs_epoll
async def test_sockets_are_polled_halfway_to_the_next_tick() -> None:
    poller = SocketPoller(reactor)
    async with listening() as server:
        often: Any = await endpoint("ours", port_of(server), 5, poller).connect(Peers())
        first, _ = server.accept()
        seldom: Any = await endpoint("ours", port_of(server), 5, poller).connect(Peers())
        second, _ = server.accept()
        often.transport.read_on_tick(True, between=True)
        seldom.transport.read_on_tick(True)
        assert poller.poll()
        second.send(b"after the tick")
        await until(lambda: seldom.got == b"after the tick")  # without another tick
        often.transport.read_on_tick(False)
        second.send(b", again")
        poller.poll()
        await reactor_turns()
        first.close()
        await until(lambda: often.lost is not None)
        second.close()
        while poller.poll():
            await reactor_turns(1)
        assert seldom.got == b"after the tick, again"
