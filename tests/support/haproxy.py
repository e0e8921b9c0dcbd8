"""A real HAProxy on 127.0.0.1 with the configuration that ``audiosocket haproxy`` prints."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from audiosocket.cli.haproxy import PEERS_PORT, Named, configuration
from tests.support.ports import free_port
from tests.support.server_process import wait_until

LOOPBACK = "127.0.0.1"
SECONDS = 30


class HAProxy:
    """A HAProxy that binds ``ports`` in front of ``nodes``, addresses by name, and asks each at ``api_port``.

    It runs between `start_proxy` and `close`. The test is skipped where it is not installed.
    """

    def __init__(self, nodes: Mapping[str, str], ports: Sequence[int], api_port: int) -> None:
        binary = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if binary is None:
            pytest.skip("haproxy is not installed (Debian: haproxy)")
        self._nodes = list(nodes)
        # A path in the directory of a test may be longer than a Unix socket's may be.
        self._directory = Path(tempfile.mkdtemp(prefix="asfleet-"))
        self._socket = self._directory / "admin.sock"
        text = configuration(
            nodes=[Named(name, address) for name, address in nodes.items()],
            balancers=[Named("lb1", LOOPBACK)],
            local=Named("lb1", LOOPBACK),
            bind=LOOPBACK,
            ports=ports,
            api_port=api_port,
        )
        text = text.replace("/run/haproxy/admin.sock", str(self._socket)).replace(
            f":{PEERS_PORT}", f":{free_port()}"
        )
        text = text.replace("maxconn 10000", "maxconn 1000")  # a test machine may have few descriptors
        (self._directory / "haproxy.cfg").write_text(text)
        self._command = [binary, "-W", "-f", str(self._directory / "haproxy.cfg")]
        self._proxy: subprocess.Popen[bytes] | None = None

    def start_proxy(self) -> None:
        """Start HAProxy, for the first time or after `kill_proxy`; wait until it has found all nodes."""
        with (self._directory / "log").open("ab") as log:
            self._proxy = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        up = {name: "UP" for name in self._nodes}
        assert wait_until(lambda: self.states() == up, SECONDS), (self._directory / "log").read_text()

    def kill_proxy(self) -> None:
        """Kill HAProxy's process and the one that has its connections, as a machine that fails does."""
        assert self._proxy is not None
        pid = self._proxy.pid
        for each in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
            os.kill(each, signal.SIGKILL)
        self._proxy.wait(SECONDS)

    def close(self) -> None:
        """Stop HAProxy, if it runs, and remove its files."""
        if self._proxy is not None:
            self._proxy.terminate()
            self._proxy.wait(SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

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
