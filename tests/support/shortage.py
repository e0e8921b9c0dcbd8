"""A server that runs out of file descriptors, and the calls that are there before and come meanwhile."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from audiosocket.wire import uuid_frame
from tests.support.loopback_server import LOOPBACK
from tests.support.server_process import ROOT, ServerProcess


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


def sockets(pid: int) -> int:
    """Return how many sockets a process has; files that it reads for a moment are not among them."""
    found = 0
    for number in descriptors(pid):
        with suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
    return found


def knock(port: int, call_id: UUID | None = None) -> socket.socket:
    """Return a connection that has sent a UUID; a `Caller` does not wait as long as this one does."""
    waiting = socket.create_connection((LOOPBACK, port), timeout=5)
    waiting.send(uuid_frame(call_id or uuid4()))
    return waiting


def established(server: ServerProcess) -> subprocess.Popen[str]:
    """Return a process with calls whose every frame is numbered; it reports when its input is closed."""
    command = [sys.executable, "-m", "tests.support.numbered_calls", "5", str(server.visitor)]
    made = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    assert made.stdout.readline() == "up\n"
    return made


def report_of(calls: subprocess.Popen[str]) -> dict[str, Any]:
    report, _ = calls.communicate()
    return dict(json.loads(report))
