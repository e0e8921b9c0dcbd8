"""`audiosocket.postgres.database` that is refused: passwords, hosts, no slot left, no answer at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import protocol
from twisted.python.threadable import isInIOThread

from audiosocket.errors import ChangeNotAllowed
from audiosocket.postgres.database import Database
from audiosocket.settings import Settings
from audiosocket.settings_files import read_password
from tests.support.loopback_server import until
from tests.support.postgres import MAX_CONNECTIONS, RESERVED, ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.reactor import reactor
from tests.support.watched_database import SHORT_TIMEOUTS, TIMEOUTS, Open, a_row, fails, in_thread

pytestmark = pytest.mark.usefixtures("no_traceback")

# never getting in


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"DB_PASSWORD": "wrong-secret"}, f'password authentication failed for user "{ROLE}"'),
        ({"DB_NAME": "nowhere"}, 'database "nowhere" does not exist'),
        ({"DB_SSLMODE": "require"}, "server does not support SSL, but SSL was required"),
        ({"DB_HOST": "/nonexistent"}, "No such file or directory"),
    ],
)
async def test_a_refusal_is_tried_again_quietly(
    settings: dict[str, str], reason: str, open_database: Open, database_with_table: str
) -> None:
    watched = open_database(dataclasses.replace(TIMEOUTS, longest_pause=0.05), **settings)
    await until(lambda: watched.state.attempts >= 3)
    before = len(os.listdir("/proc/self/fd"))
    await until(lambda: watched.state.attempts >= 20)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # an attempt may be in progress
    assert reason in watched.state.reason
    assert reason in await fails(watched.rows())
    assert "wrong-secret" not in repr(watched.state)
    assert len(watched.log) == 1
    assert len(watched.warnings) == 1
    assert [state.state for state in watched.states] == ["down"]


async def test_a_wrong_password_that_is_corrected(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    watched = open_database(DB_PASSWORD="placeholder")
    await watched.down()
    try:
        await in_thread(postgres.execute, "postgres", f"alter role {ROLE} password 'placeholder'")
        await watched.healthy()
    finally:
        await in_thread(postgres.execute, "postgres", f"alter role {ROLE} password '{ROLE_PASSWORD}'")


async def test_a_password_in_a_file_is_read_again_for_each_connection(
    tmp_path: Path, postgres: PostgresServer, database_settings: dict[str, str], database_with_table: str
) -> None:
    file = tmp_path / "secret"
    file.write_text("not yet\n")
    settings = {**database_settings, "DB_PASSWORD": "", "DB_PASSWORD_FILE": str(file)}
    parsed = Settings.parse(settings)
    threads: set[bool] = set()

    def read() -> str:
        threads.add(isInIOThread())
        return read_password(parsed)

    database = Database(
        parsed, read, reactor, listen=True, changed=lambda: None, state_changed=lambda _: None, timeouts=TIMEOUTS
    )
    database.startService()
    try:
        await until(lambda: "password authentication failed" in database.state.reason)
        file.unlink()
        await until(lambda: "DB_PASSWORD_FILE" in database.state.reason)
        file.write_text(f"{ROLE_PASSWORD}\n")
        await until(lambda: database.state.listening)
        assert threads == {False}
    finally:
        await database.stopService()


async def test_a_change_that_the_database_does_not_allow_is_not_called_unreachable(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    sql = f"alter table extension_ia owner to test; revoke all on extension_ia from {ROLE}"
    await in_thread(postgres.execute, database_with_table, sql)
    watched = open_database()
    with pytest.raises(ChangeNotAllowed, match="the database does not allow it: permission denied"):
        await watched.database.insert(a_row(1), lambda rows: None)
    assert watched.state.state == "up"


async def test_a_unix_socket_and_a_host_name_work_as_hosts(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    for host in (str(postgres.directory), "localhost", "::ffff:127.0.0.1"):
        watched = open_database(DB_HOST=host)
        assert await watched.rows() == []
        await watched.healthy()


async def test_no_connection_left_on_the_server(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    taken = [postgres.connect(database_with_table, ROLE, ROLE_PASSWORD) for _ in range(MAX_CONNECTIONS - RESERVED)]
    try:
        watched = open_database()
        await until(lambda: watched.state.attempts > 2)
        assert "connection slots are reserved" in watched.state.reason
        taken.pop().close()
        await until(lambda: watched.state.state == "up" and watched.state.reason != "")
        assert watched.state.reason.startswith("notifications do not arrive: remaining connection slots")
        assert not watched.state.listening
        assert await watched.rows() == []
        assert len(watched.warnings) == 2  # down, then not listening
        taken.pop().close()
        await watched.healthy()
        assert watched.state.reason == ""
        assert watched.changes == 1
    finally:
        for connection in taken:
            connection.close()


class ConnectionsFactory(protocol.Factory):
    """A factory that keeps the transports of its connections."""

    def __init__(self, kind: type[protocol.Protocol]) -> None:
        self.protocol: Any = kind
        self.connections: list[Any] = []


class Mute(protocol.Protocol):
    """Accepts a connection and sends nothing."""

    def connectionMade(self) -> None:
        assert isinstance(self.factory, ConnectionsFactory)
        self.factory.connections.append(self.transport)


class Curt(protocol.Protocol):
    """Accepts a connection and closes it."""

    def connectionMade(self) -> None:
        self.transport.loseConnection()  # type: ignore[union-attr]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue is full: packets to it get no answer, not even a refusal."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_an_address_that_swallows_packets(open_database: Open) -> None:
    with black_hole() as port:
        watched = open_database(SHORT_TIMEOUTS, DB_PORT=str(port))
        assert await fails(watched.rows()) == "no answer within 1 s"
        before = len(os.listdir("/proc/self/fd"))
        await until(lambda: watched.state.attempts >= 2)
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        await watched.stop()


@pytest.mark.parametrize(
    ("kind", "reason"), [(Mute, "no answer within 1 s"), (Curt, "server closed the connection unexpectedly")]
)
async def test_a_port_that_is_no_postgresql(
    kind: type[protocol.Protocol], reason: str, open_database: Open
) -> None:
    factory = ConnectionsFactory(kind)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    watched = open_database(SHORT_TIMEOUTS, DB_PORT=str(port.getHost().port))
    assert await fails(watched.rows()) == reason
    await until(lambda: watched.state.attempts >= 2)
    assert len(watched.warnings) == 1
    await watched.stop()
    await port.stopListening()
    for transport in factory.connections:
        transport.abortConnection()
