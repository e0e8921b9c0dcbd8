"""Hostile connections: no traceback, no leak, and no effect on other calls.

``HOSTILE_CONNECTIONS`` is their number, for example 100,000 instead of that of a test run.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from audiosocket.wire import audio_frame, uuid_frame
from tests.support.server_process import ServerProcess, wait_until

CONNECTIONS = int(os.environ.get("HOSTILE_CONNECTIONS", "3000"))
ROOT = Path(__file__).resolve().parents[2]
FRAME = audio_frame(8000, b"\x01" * 320)
#: Connections that stay open and silent during the others.
MAX_SLOW = 300


def hello() -> bytes:
    return uuid_frame(uuid4())


FIRST_WORDS: list[Callable[[], bytes]] = [
    lambda: b"",
    lambda: hello()[: random.randint(1, 18)],
    lambda: FRAME,
    lambda: b"\x10\xff\xff" + random.randbytes(40),
    lambda: hello() + b"\x10\xff\xff" + random.randbytes(40),
    lambda: hello() + b"\x77\x00\x05hello" * random.randint(1, 150),
    lambda: hello() + hello(),
    lambda: random.randbytes(random.randint(0, 60)),
    lambda: b"GET / HTTP/1.1\r\n\r\n",
    lambda: hello() + FRAME[:200],
    lambda: hello() + b"\x10\x00\x00" * 50,
    lambda: hello() + b"\x03\x00\x02ab\x03\x00\x01Z",
    lambda: hello() + b"\xff\x00\x01\x02",
    lambda: hello() + b"\x00\x00\x00",
    lambda: b"\x01\x00\x0f" + b"x" * 15,
    lambda: b"\x01\x00\x11" + b"x" * 17,
    lambda: hello() + FRAME * 30,
]


def knock(port: int, slow: deque[socket.socket]) -> None:
    """Make one hostile connection: invalid data, and one of the ways to end."""
    stranger = socket.socket()
    stranger.settimeout(5)
    try:
        stranger.connect(("127.0.0.1", port))
        stranger.send(random.choice(FIRST_WORDS)())
        how = random.random()
        if how < 0.4:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how < 0.5:
            slow.append(stranger)
            while len(slow) > MAX_SLOW:
                slow.popleft().close()
            return
        elif how < 0.6:
            stranger.shutdown(socket.SHUT_WR)
    except TimeoutError:
        stranger.close()
        pytest.fail("the server stopped accepting")
    except (ConnectionError, BrokenPipeError):
        stranger.close()  # it was turned away before it had finished: that is the point
    else:
        stranger.close()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@pytest.mark.slow
def test_hostile_connections_do_not_affect_other_calls(tmp_path: Path) -> None:
    slow: deque[socket.socket] = deque()
    with ServerProcess(tmp_path, {"VISITOR_APP": "echo"}) as running:
        for _ in range(300):  # so that caches are filled before the measurement
            knock(running.visitor, slow)
        command = [sys.executable, "-m", "tests.support.numbered_calls", "20", str(running.visitor)]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as caller:
            assert caller.stdin is not None
            assert caller.stdout is not None
            assert caller.stdout.readline() == "up\n"
            memory = resident_mb(running.pid)
            for _ in range(CONNECTIONS):
                knock(random.choice([running.visitor, running.resident]), slow)
            caller.stdin.close()
            report = json.loads(caller.stdout.readline())
        for stranger in slow:
            stranger.close()
        assert (report["dropped_calls"], report["lost"], report["wrong"]) == (0, 0, 0), report
        assert report["sent"] > 0
        assert wait_until(lambda: descriptors(running.pid) < 40, 10), descriptors(running.pid)
        assert resident_mb(running.pid) - memory < 10
        assert wait_until(lambda: running.api("/api/status")["live_calls"] == 0, 10), running.api("/api/calls")
        status = running.api("/api/status")
        assert status["rejected_total"]["handshake"] > 0
        assert "Traceback" not in running.log()
