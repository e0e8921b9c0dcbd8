"""Sessions that the server keeps longer than the client, and none that a stop leaves behind."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Any

import pytest
from twisted.internet import defer, endpoints, protocol, task

from audiosocket.postgres.database import DatabaseState
from tests.support.loopback_server import until
from tests.support.postgres import PostgresServer
from tests.support.reactor import reactor
from tests.support.watched_database import SHORT_TIMEOUTS, TIMEOUTS, Backends, Open, fails

pytestmark = pytest.mark.usefixtures("no_traceback")

# what the server keeps although we have let go


class Wire(protocol.Protocol):
    """One side of the proxy; once cut it passes nothing on, not even the end of the connection."""

    def __init__(self, port: int | None = None) -> None:
        self.other: Wire | None = None
        self.cut = False
        self._port = port

    def connectionMade(self) -> None:
        if self._port is not None:
            self.transport.pauseProducing()  # type: ignore[union-attr]
            self.other = Wire()
            self.other.other = self
            connecting = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", self._port)
            endpoints.connectProtocol(connecting, self.other).addCallback(
                lambda _: self.transport.resumeProducing()  # type: ignore[union-attr]
            )

    def dataReceived(self, data: bytes) -> None:
        if not self.cut:
            self.other.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        if not self.cut:
            self.other.transport.loseConnection()  # type: ignore[union-attr]


class Proxy(protocol.Factory):
    """A TCP proxy to the server whose connections can be cut without either end noticing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.wires: list[Wire] = []

    def buildProtocol(self, _: object) -> Wire:
        self.wires.append(Wire(self._port))
        return self.wires[-1]

    def cut(self) -> None:
        """A partition: connections stay open at the server, which receives nothing more on them."""
        for wire in self.wires:
            wire.cut = wire.other.cut = True  # type: ignore[union-attr]

    def close(self) -> None:
        for wire in self.wires:
            for end in (wire, wire.other):
                end.transport.abortConnection()  # type: ignore[union-attr]


@pytest.mark.deadline(60)
async def test_sessions_the_server_still_keeps_after_a_partition_are_ended(
    open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    proxy = Proxy(postgres.port)
    port = reactor.listenTCP(0, proxy, interface="127.0.0.1")
    watched = open_database(SHORT_TIMEOUTS, DB_PORT=str(port.getHost().port))
    await watched.healthy()
    for _ in range(2):
        before = await backends.pids()
        assert len(before) == 2
        proxy.cut()
        await watched.down()
        assert await backends.pids() == before  # the server knows nothing of it
        await watched.healthy()
        after = await backends.pids()
        assert len(after) == 2
        assert not set(before) & set(after)
    await watched.stop()
    await port.stopListening()
    proxy.close()


@pytest.mark.parametrize("which", [0, 1])
async def test_a_backend_that_is_stuck_alone_counts_as_ours(
    which: int, open_database: Open, backends: Backends, database_with_table: str
) -> None:
    watched = open_database(SHORT_TIMEOUTS)
    await watched.healthy()
    pids = await backends.pids()
    os.kill(pids[which], signal.SIGSTOP)
    try:
        watching = defer.ensureDeferred(
            until(lambda: watched.state.state == "up" and "keeps 1 earlier session" in watched.state.reason)
        )
        await backends.watch_while(lambda: not watching.called)
        await watching
        assert await watched.rows() == []  # queries work beside it
        assert backends.most == 2
    finally:
        os.kill(pids[which], signal.SIGCONT)
    await watched.healthy()
    assert await backends.now() == 2


async def test_stopping_at_any_moment_leaves_nothing_behind(
    open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    idle = open_database()
    await idle.healthy()
    await idle.stop()
    assert await fails(idle.rows()) == "the connection has been stopped or not been started"
    assert (idle.state.state, idle.state.backends) == ("down", 0)

    just_started = open_database()
    await just_started.stop()

    backing_off = open_database(
        dataclasses.replace(TIMEOUTS, first_pause=60.0, longest_pause=60.0), DB_NAME="nowhere"
    )
    await backing_off.down()
    assert backing_off.state.next_try_seconds is not None
    await backing_off.stop()

    blocked = open_database()
    await blocked.healthy()
    blocker = postgres.connect(database_with_table)
    with blocker.cursor() as cursor:
        cursor.execute("begin; lock table extension_ia")
    reads = [defer.ensureDeferred(blocked.rows()) for _ in range(3)]
    await task.deferLater(reactor, 0.1)
    await blocked.stop()
    assert all([await fails(reading) == "stopped" for reading in reads])
    blocker.close()

    frozen = open_database()
    await frozen.healthy()
    postgres.freeze()
    reading = defer.ensureDeferred(frozen.rows())
    await task.deferLater(reactor, 0.05)
    await frozen.stop()
    await fails(reading)

    connecting = open_database()
    reading = defer.ensureDeferred(connecting.rows())
    await task.deferLater(reactor, 0.05)
    assert connecting.state.state == "connecting"
    await connecting.stop()
    assert await fails(reading) == "the server is stopping"
    postgres.thaw()


async def test_stopped_by_its_own_callback(open_database: Open, database_with_table: str) -> None:
    watched = open_database()
    stopped: list[defer.Deferred[None]] = []

    def stop(_: DatabaseState) -> None:
        if not stopped:
            stopped.append(watched.database.stopService())

    watched.database._state_changed = stop
    await until(lambda: len(stopped) == 1)
    await stopped[0]
    assert watched.state.backends == 0


async def test_started_again_after_a_stop(open_database: Open, database_with_table: str) -> None:
    watched = open_database()
    await watched.healthy()
    await watched.database.stopService()
    watched.database.startService()
    await watched.healthy()
    assert await watched.rows() == []
