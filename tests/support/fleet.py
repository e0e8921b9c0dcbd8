"""Several servers on addresses of loopback, with the same ports and one table, behind a HAProxy on 127.0.0.1."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from uuid import UUID

from audiosocket import schema
from audiosocket.wire import uuid_frame
from tests.support.haproxy import LOOPBACK, HAProxy
from tests.support.ports import free_ports
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.server_process import ServerProcess

#: Where the callers of `dialled` are; the connections of HAProxy come from another address.
CALLER = "127.0.0.9"
SECONDS = 30
#: Where the nodes of `two_nodes` listen.
ADDRESSES = {"n1": "127.0.0.2", "n2": "127.0.0.3"}

Nodes = dict[str, ServerProcess]


def add_row(postgres: PostgresServer, database: str, fleet: Fleet) -> None:
    """Write the row of the fleet's extension into the table."""
    values = ("1000", "1001", str(fleet.visitor), str(fleet.resident))
    postgres.execute(database, "insert into extension_ia values (default, %s, %s, '0.0.0.0', %s, 7, %s)", values)


def create_tables(postgres: PostgresServer, database: str) -> None:
    """Create the tables of a fleet, as the role that its nodes have."""
    connection = postgres.connect(database, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(schema.sql(fleet=True))
    connection.close()


@contextmanager
def two_nodes(directory: Path, settings: Callable[[str], Mapping[str, str]]) -> Iterator[Nodes]:
    """Run n1 and n2 until the end of the ``with``; ``settings`` returns those of the node on an address."""
    with ExitStack() as stack:
        servers = {
            name: ServerProcess(
                directory / name,
                {"FLEET": "true", "NODE_NAME": name, "BIND_ADDRESS": address, **settings(address)},
                app="echo",
                wait=False,
            )
            for name, address in ADDRESSES.items()
        }
        for server in servers.values():
            stack.enter_context(server)
        for server in servers.values():
            assert server.until_ready(2 * SECONDS), server.stdout()
        yield servers


class Fleet(HAProxy):
    """``count`` servers and a HAProxy with the configuration that ``audiosocket haproxy`` prints.

    A context manager; the row with ``visitor`` and ``resident`` must be in the database of ``settings`` before.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str], count: int) -> None:
        self.visitor, self.resident, api_port = free_ports(3)
        self.nodes = {
            f"n{number}": ServerProcess(
                directory / f"n{number}",
                {
                    **settings,
                    "BIND_ADDRESS": f"127.0.0.{number + 1}",
                    "API_HOST": f"127.0.0.{number + 1}",
                    "API_PORT": str(api_port),
                    "PROXY_PEERS": f"{LOOPBACK}/32",
                },
                app="echo",
                wait=False,
            )
            for number in range(1, count + 1)
        }
        addresses = {name: node.settings["API_HOST"] for name, node in self.nodes.items()}
        super().__init__(addresses, [self.visitor, self.resident], api_port)
        self._started = ExitStack()

    def __enter__(self) -> Fleet:
        with ExitStack() as stack:
            for node in self.nodes.values():
                stack.enter_context(node)
            for node in self.nodes.values():
                assert node.until_ready(2 * SECONDS), node.stdout()
            stack.callback(self.close)
            self.start_proxy()
            self._started = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.close()

    def callers(self, name: str) -> dict[str, str]:
        """Return the address of the visitor of each live call of a node, by UUID."""
        calls = self.nodes[name].api("/api/calls")["calls"]
        return {one["call_id"]: one["legs"][0]["peer"] for one in calls if one["state"] == "live"}


def dialled(port: int, call_id: UUID) -> socket.socket:
    """Return a connection through HAProxy that has sent its UUID."""
    line = socket.create_connection((LOOPBACK, port), SECONDS, source_address=(CALLER, 0))
    line.sendall(uuid_frame(call_id))
    return line


def is_accepted(line: socket.socket) -> bool:
    """Wait for the first bytes of the answer; return whether they are audio, not a hangup frame or the end."""
    try:
        return line.recv(1) == b"\x10"
    except OSError:
        return False


def is_up(line: socket.socket) -> bool:
    """Return whether a connection is open and brings no hangup frame in all that has arrived until now."""
    line.setblocking(False)
    try:
        while data := line.recv(65_536):
            if data.endswith(b"\x00\x00\x00") and len(data) == 3:
                return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        line.settimeout(SECONDS)
    return False
