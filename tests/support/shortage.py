"""A server that runs out of file descriptors, and the calls that are there before and come meanwhile."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from audiosocket.wire import uuid_frame
from tests.support.loopback_server import LOOPBACK
from tests.support.server_process import ROOT, ServerProcess

#: Calls that `established` begins.
ESTABLISHED = 5
_LISTEN = "0A"  # a state in /proc/net/tcp


class Shortage:
    """Leaves a process so many free descriptors, until `end`."""

    def __init__(self, pid: int, free: int) -> None:
        self._pid = pid
        self._before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        taken = descriptors(pid)
        number = 0
        while free:  # numbers below the limit that nothing has
            free -= number not in taken
            number += 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, self._before[1]))

    def end(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._before)


def descriptors(pid: int) -> set[int]:
    """Return the numbers of the descriptors of a process."""
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


def accepted(*ports: int) -> int:
    """Return how many accepted connections there are at ports of loopback; one not accepted has no inode yet."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    local = {f":{port:04X}" for port in ports}
    return sum(row[1][-5:] in local and row[3] != _LISTEN and row[9] != "0" for row in rows)


def knock(port: int, call_id: UUID | None = None) -> socket.socket:
    """Return a connection that has sent a UUID; a `Caller` does not wait as long as this one does."""
    waiting = socket.create_connection((LOOPBACK, port), timeout=5)
    waiting.send(uuid_frame(call_id or uuid4()))
    return waiting


def established(server: ServerProcess) -> subprocess.Popen[str]:
    """Return a process with calls whose every frame is numbered; it reports when its input is closed."""
    command = [sys.executable, "-m", "tests.support.numbered_calls", str(ESTABLISHED), str(server.visitor)]
    made = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    assert made.stdout.readline() == "up\n"
    return made


def report_of(calls: subprocess.Popen[str]) -> dict[str, Any]:
    report, _ = calls.communicate()
    return dict(json.loads(report))
