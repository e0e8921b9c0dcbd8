"""A server that runs out of file descriptors: calls go on, no call is left over, and it recovers by itself.

Its limit is lowered from outside, so that so many descriptors are free at a given moment. ``OPEN_FILES`` is a list
of those numbers, for example ``0,1,2,3`` instead of the few of a test run.
"""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from audiosocket.wire import uuid_frame
from tests.support.loopback_server import LOOPBACK
from tests.support.server_calls import all_up, call, hang_up
from tests.support.server_process import ServerProcess

FREE = [int(number) for number in os.environ.get("OPEN_FILES", "0,1,9,16").split(",")]
#: Calls that are made while descriptors are short.
LATER_CALLS = 30
#: Warnings and errors about it, without those of each recording that could not be written.
MAX_LINES = 5

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system has no prlimit")


class Shortage:
    """Leaves a process so many free descriptors, until `end`."""

    def __init__(self, pid: int, free: int) -> None:
        self._pid = pid
        self._before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        number = 0
        while free:  # numbers below the limit that nothing has
            free -= number not in taken
            number += 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, self._before[1]))

    def end(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._before)


def knock(port: int) -> socket.socket:
    """Return a connection that has sent a UUID; a `Caller` does not wait as long as this one does."""
    waiting = socket.create_connection((LOOPBACK, port), timeout=5)
    waiting.send(uuid_frame(uuid4()))
    return waiting


async def live_calls(server: ServerProcess) -> int:
    status: dict[str, Any] = await deferToThread(server.api, "/api/status")
    return int(status["live_calls"])


async def until_live(server: ServerProcess, count: int) -> None:
    while await live_calls(server) != count:
        pass


async def one_more(server: ServerProcess) -> None:
    later = await call(server.visitor)
    await hang_up([later])


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the first call", "during calls"])
@pytest.mark.parametrize("free", FREE)
async def test_calls_survive_a_shortage_and_new_ones_are_answered_after_it(
    tmp_path: Path, free: int, moment: str
) -> None:
    with ServerProcess(tmp_path, {"VISITOR_APP": "play+echo+record", "RECORD_DIR": "recordings"}) as server:
        established: list[Caller] = []
        if moment == "during calls":
            established = await all_up(server.visitor, [uuid4() for _ in range(5)])
        before = len(server.log().splitlines())
        shortage = Shortage(server.pid, free)
        later = [knock(server.visitor) for _ in range(LATER_CALLS)]
        for one in established:
            await one.until_heard(len(one.heard) + 8_000)
        shortage.end()
        for waiting in later:  # they are answered now, if they have not been before
            assert await deferToThread(waiting.recv, 3)
        await one_more(server)
        for one in established:
            await one.until_heard(len(one.heard) + 8_000)
        await hang_up(established)
        reports = [one.report for one in established]
        assert all(report is not None and report.ok for report in reports), reports
        for waiting in later:
            waiting.close()
        await until_live(server, 0)
        status, _ = await deferToThread(server.request, "/healthz")
        assert status == 200
        later_lines = server.log().splitlines()[before:]
        lines = [
            line for line in later_lines if ("ERROR" in line or "WARNING" in line) and "RECORD_DIR" not in line
        ]
        assert len(lines) <= MAX_LINES, lines[:20]
