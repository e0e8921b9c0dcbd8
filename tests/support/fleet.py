"""Several servers on addresses of loopback, with the same ports and one table, behind a HAProxy on 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from uuid import UUID

import pytest

from audiosocket.cli.haproxy import PEERS_PORT, Named, configuration
from audiosocket.wire import uuid_frame
from tests.support.ports import free_ports
from tests.support.postgres import PostgresServer
from tests.support.server_process import ServerProcess, wait_until

LOOPBACK = "127.0.0.1"
#: Where the callers of `dialled` are; the connections of HAProxy come from another address.
CALLER = "127.0.0.9"
SECONDS = 30


def add_row(postgres: PostgresServer, database: str, fleet: Fleet) -> None:
    """Write the row of the fleet's extension into the table."""
    values = ("1000", "1001", str(fleet.visitor), str(fleet.resident))
    postgres.execute(database, "insert into extension_ia values (default, %s, %s, '0.0.0.0', %s, 7, %s)", values)


class Fleet:
    """``count`` servers and a HAProxy with the configuration that ``audiosocket haproxy`` prints.

    A context manager; the row with ``visitor`` and ``resident`` must be in the database of ``settings`` before.
    The test is skipped where HAProxy is not installed.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str], count: int) -> None:
        binary = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if binary is None:
            pytest.skip("haproxy is not installed (Debian: haproxy)")
        self.visitor, self.resident, api_port, peers_port = free_ports(4)
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
        # A path in the directory of a test may be longer than a Unix socket's may be.
        self._directory = Path(tempfile.mkdtemp(prefix="asfleet-"))
        self._socket = self._directory / "admin.sock"
        text = configuration(
            nodes=[Named(name, node.settings["API_HOST"]) for name, node in self.nodes.items()],
            balancers=[Named("lb1", LOOPBACK)],
            local=Named("lb1", LOOPBACK),
            bind=LOOPBACK,
            ports=[self.visitor, self.resident],
            api_port=api_port,
        )
        text = text.replace("/run/haproxy/admin.sock", str(self._socket)).replace(
            f":{PEERS_PORT}", f":{peers_port}"
        )
        text = text.replace("maxconn 10000", "maxconn 1000")  # a test machine may have few descriptors
        (self._directory / "haproxy.cfg").write_text(text)
        self._command = [binary, "-W", "-f", str(self._directory / "haproxy.cfg")]
        self._proxy: subprocess.Popen[bytes] | None = None
        self._started = ExitStack()

    def __enter__(self) -> Fleet:
        with ExitStack() as stack:
            for node in self.nodes.values():
                stack.enter_context(node)
            for node in self.nodes.values():
                assert node.until_ready(2 * SECONDS), node.stdout()
            stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
            stack.callback(self._stop_proxy)
            self.start_proxy()
            self._started = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.close()

    def start_proxy(self) -> None:
        """Start HAProxy, for the first time or after `kill_proxy`; wait until it has found all nodes."""
        with (self._directory / "log").open("ab") as log:
            self._proxy = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        up = {name: "UP" for name in self.nodes}
        assert wait_until(lambda: self.states() == up, SECONDS), (self._directory / "log").read_text()

    def kill_proxy(self) -> None:
        """Kill HAProxy's process and the one that has its connections, as a machine that fails does."""
        assert self._proxy is not None
        pid = self._proxy.pid
        for each in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
            os.kill(each, signal.SIGKILL)
        self._proxy.wait(SECONDS)

    def _stop_proxy(self) -> None:
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait(SECONDS)

    def ask(self, command: str) -> str:
        """Return HAProxy's answer to a command on its socket, an empty text while there is none."""
        with socket.socket(socket.AF_UNIX) as line:
            try:
                line.connect(str(self._socket))
                line.sendall(command.encode() + b"\n")
                with line.makefile() as answer:
                    return answer.read()
            except OSError:
                return ""

    def states(self) -> dict[str, str]:
        """Return how HAProxy sees each node: UP, NOLB (drained) or DOWN."""
        rows = [line.split(",") for line in self.ask("show stat").splitlines() if line.startswith("nodes,n")]
        return {row[1]: row[17].split()[0] for row in rows}

    def until_state(self, name: str, state: str) -> None:
        """Wait until HAProxy sees a node so."""
        assert wait_until(lambda: self.states().get(name) == state, SECONDS), self.states()

    def reload(self) -> None:
        """Have HAProxy read its configuration again, and wait until the next process has its sockets.

        The socket of commands may still be answered by the process before, which ends with its last call.
        """
        assert self._proxy is not None
        before = self._loaded()
        for _ in range(SECONDS):
            self._proxy.send_signal(signal.SIGUSR2)
            if wait_until(lambda: self._loaded() > before, 1):
                return
            # A signal that arrives while the reload before is not quite over is dropped.
        raise AssertionError((self._directory / "log").read_text())

    def _loaded(self) -> int:
        return (self._directory / "log").read_text().count("Loading success")

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
