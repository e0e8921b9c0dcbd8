"""Several servers on addresses of loopback, with the same ports and one table, behind a HAProxy on 127.0.0.1."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from uuid import UUID

from audiosocket.wire import uuid_frame
from tests.support.haproxy import LOOPBACK, HAProxy
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess

#: Where the callers of `dialled` are; the connections of HAProxy come from another address.
CALLER = "127.0.0.9"
SECONDS = 30


def add_row(postgres: PostgresServer, database: str, fleet: Fleet) -> None:
    """Write the row of the fleet's extension into the table."""
    values = ("1000", "1001", str(fleet.visitor), str(fleet.resident))
    postgres.execute(database, "insert into extension_ia values (default, %s, %s, '0.0.0.0', %s, 7, %s)", values)


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
