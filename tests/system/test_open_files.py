"""A server that runs out of file descriptors: calls go on, no call is left over, and it recovers by itself.

Its limit is lowered from outside, so that so many descriptors are free at a given moment. ``OPEN_FILES`` is a list
of those numbers, for example ``0,1,2,3`` instead of the few of a test run; ``OPEN_FILES_WORKERS`` is WORKERS, and
each process has so few then.
"""

from __future__ import annotations

import os
import resource
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.support.loopback_server import LOOPBACK
from tests.support.server_process import ServerProcess, wait_until
from tests.support.shortage import Shortage, established, knock, report_of

FREE = [int(number) for number in os.environ.get("OPEN_FILES", "0,1,9,16").split(",")]
WORKERS = int(os.environ.get("OPEN_FILES_WORKERS", "1"))
#: Calls that are made while descriptors are short.
LATER_CALLS = 30
#: Log lines about it in any second.
MAX_LINES = 5

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system has no prlimit")


def processes(server: ServerProcess) -> list[int]:
    """Return the process of the server and those of its workers."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [server.pid, *map(int, children)]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before the first call", "during calls"])
@pytest.mark.parametrize("free", FREE)
def test_calls_survive_a_shortage_and_new_ones_are_answered_after_it(
    tmp_path: Path, free: int, moment: str
) -> None:
    settings = {"VISITOR_APP": "echo+record", "RECORD_DIR": "recordings", "WORKERS": str(WORKERS)}
    with ServerProcess(tmp_path, settings) as server:
        calls = established(server) if moment == "during calls" else None
        before = len(server.log().splitlines())
        shortages = [Shortage(pid, free) for pid in processes(server)]
        asking = [socket.create_connection((LOOPBACK, server.api_port), timeout=5) for _ in range(5)]
        later = [knock(server.visitor) for _ in range(WORKERS * LATER_CALLS)]
        assert wait_until(lambda: "no connection can be accepted" in server.log(), 10) or free > LATER_CALLS
        for shortage in shortages:
            shortage.end()
        for client in asking:
            client.close()
        for waiting in later:  # they are answered now, if they have not been before
            assert waiting.recv(3)
            waiting.close()
        with knock(server.visitor) as one_more:
            assert one_more.recv(3)
        if calls is not None:
            report = report_of(calls)
            assert (report["dropped_calls"], report["lost"], report["wrong"]) == (0, 0, 0), report
            assert report["sent"] > 0
        assert wait_until(lambda: server.api("/api/status")["live_calls"] == 0, 10), server.api("/api/calls")
        # On a busy machine the reactor was late within the last 10 s, and says so until they are over.
        assert wait_until(lambda: server.request("/healthz")[0] == 200, 30), server.request("/healthz")
        assert wait_until(lambda: server.request("/readyz")[0] == 200, 10), server.request("/readyz")
        lines = [line for line in server.log().splitlines()[before:] if "Too many open files" in line]
        by_second = Counter(line[:19] for line in lines)
        assert not lines or max(by_second.values()) <= MAX_LINES, lines[:20]
        assert "EMFILE" not in server.log()
