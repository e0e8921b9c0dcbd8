"""The unit file that is shipped, and a real process that reports to a manager as systemd is."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.support.loopback_server import until
from tests.support.server_calls import call, hang_up
from tests.support.server_process import ROOT, ServerProcess

UNIT = ROOT / "examples" / "systemd" / "audiosocket.service"
#: Of 10; 1.6 when it was written. The rest is what a server on a network needs.
MAX_EXPOSURE = 20

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return the unit file with a program that exists."""
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


@needs_systemd
def test_systemd_accepts_the_unit(unit: Path) -> None:
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_systemd
def test_the_unit_leaves_the_process_little_that_it_does_not_need(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(unit))
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd is older than 250")
    assert done.returncode == 0, done.stdout[-2_000:]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.deadline(60)
async def test_a_real_process_reports_its_life(tmp_path: Path, workers: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        messages: list[str] = []

        def received(text: str) -> bool:
            try:
                while True:
                    messages.append(manager.recv(4_096).decode())
            except BlockingIOError:
                return any(text in message for message in messages)

        settings = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "2000000",
            "DRAIN_SECONDS": "20",
            "WORKERS": workers,
        }
        with ServerProcess(tmp_path, settings) as server:
            await until(lambda: received("READY=1"))
            caller = await call(server.visitor)
            await until(lambda: received("STATUS=1 extensions, 1 legs"))
            await until(lambda: received("WATCHDOG=1"))
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: received("STATUS=draining, "))
            assert received("STOPPING=1")
            await hang_up([caller])
            assert await deferToThread(server.process.wait, 15) == 0
            received("")
        assert messages.count("READY=1") == messages.count("STOPPING=1") == 1
