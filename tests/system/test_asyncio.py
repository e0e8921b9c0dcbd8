"""The server on asyncio's loop, with an app that awaits asyncio's futures and Deferreds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audiosocket.client.caller import Caller
from tests.support.loopback_server import LOOPBACK, reactor
from tests.support.server_process import ServerProcess, install_app

TWISTD = shutil.which("twistd", path=str(Path(sys.executable).parent)) or "twistd"

APP = """
import asyncio

from twisted.internet.task import deferLater
from twisted.internet import reactor

from audiosocket.interfaces import App


class Thinker(App):
    async def joined(self, leg):
        async with asyncio.timeout(5) if hasattr(asyncio, "timeout") else _nothing():
            await asyncio.sleep(0.05)
        await deferLater(reactor, 0.05)
        leg.play(b"\\x12\\x34" * 1600)

    async def digit(self, leg, digit):
        raise ZeroDivisionError


class _nothing:
    async def __aenter__(self): pass
    async def __aexit__(self, *exception): pass
"""


@pytest.mark.deadline(60)
async def test_an_app_that_needs_asyncio(tmp_path: Path) -> None:
    install_app(tmp_path, "thinker = thinker:Thinker", APP)
    command = (TWISTD, "-n", "--reactor", "asyncio", "audiosocket")
    settings = {"VISITOR_APP": "thinker", "PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"}
    with ServerProcess(tmp_path, settings, command=command) as server:
        caller = Caller(reactor)
        await caller.dial(LOOPBACK, server.visitor)
        await caller.until_heard(lambda heard: b"\x12\x34" * 1600 in heard)
        caller.press("1")
        report = await caller.ended
        assert report.ended_by == "server"
        (call,) = server.api("/api/calls")["calls"]
        assert call["outcome"] == "app_failed"
        assert server.api("/api/status")["reactor"]["blocked_by"] == []
    assert "AsyncioSelectorReactor" in server.log()


def test_the_watch_of_the_reactor_knows_where_it_waits() -> None:
    """In a process of its own: only one reactor can be installed."""
    program = (
        "from twisted.internet import asyncioreactor\n"
        "asyncioreactor.install()\n"
        "from twisted.internet import reactor\n"
        "from audiosocket.runtime.stack_sampler import waiting_in\n"
        "code = waiting_in(reactor)\n"
        "assert code is not None and code.co_name == 'select', code\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)
