"""A node is emptied for the balancer in front, with one process and with several."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from tests.support.loopback_server import LOOPBACK, reactor, until
from tests.support.server_process import ServerProcess

LEAVING = (404, {"status": "error", "message": "draining"})


async def dialled(port: int) -> Caller:
    caller = Caller(reactor)
    await caller.dial(LOOPBACK, port)
    await caller.until_heard(640)
    return caller


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_drained_node_keeps_its_calls_and_a_stop_waits_for_them(tmp_path: Path, workers: str) -> None:
    settings = {"WORKERS": workers, "DRAIN_SECONDS": "60"}
    with ServerProcess(tmp_path, settings, app="echo") as server:
        first = await dialled(server.visitor)
        assert (await deferToThread(server.request, "/livez"))[0] == 200
        await deferToThread(server.api, "/api/drain", {})
        assert await deferToThread(server.request, "/livez") == LEAVING
        shown = await deferToThread(server.api, "/api/status?extensions=false")
        assert shown["drain"]["active"]
        second = await dialled(server.visitor)  # the balancer did not know yet
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: "legs have 60" in server.log())
        assert await deferToThread(server.request, "/livez") == LEAVING
        heard = len(first.heard)
        await until(lambda: len(first.heard) > heard + 3_200)
        for caller in (first, second):
            caller.hang_up()
            report = await caller.ended
            assert report.ok, report.broken
        assert await deferToThread(server.process.wait, 15) == 0
