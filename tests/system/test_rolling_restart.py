"""The next process is started while the previous one drains: ports, calls and log lines stay together."""

from __future__ import annotations

import signal
from pathlib import Path
from uuid import uuid4

import pytest
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from tests.support.loopback_server import LOOPBACK, is_closed, reactor, until
from tests.support.server_calls import all_up, call, hang_up, names, shown
from tests.support.server_process import ServerProcess


def successor(server: ServerProcess) -> ServerProcess:
    """Return the next process of the same directory, settings and ports; it is not started."""
    new = ServerProcess(server.directory, server.settings, wait=False)
    new.visitor, new.resident, new.api_port = server.visitor, server.resident, server.api_port
    return new


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.deadline(90)
async def test_all_calls_resume_in_a_process_that_was_started_during_the_drain(
    tmp_path: Path, workers: str
) -> None:
    settings = {"DRAIN_SECONDS": "60", "VISITOR_APP": "echo", "RESIDENT_APP": "echo", "WORKERS": workers}
    with ServerProcess(tmp_path, settings) as old:
        callers = await all_up(old.visitor, [uuid4() for _ in range(10)])
        resident = await call(old.resident, callers[0].call_id)
        before = [await shown(old, caller) for caller in callers]
        assert old.process is not None
        old.process.send_signal(signal.SIGTERM)
        await until(lambda: "stopped listening" in old.log())
        new = successor(old)
        with new:
            await until(lambda: "waiting for its end" in new.log())
            assert await is_closed(new.visitor)
            heard = len(callers[0].heard)
            await callers[0].until_heard(heard + 1_600)
            old.process.send_signal(signal.SIGTERM)  # the drain is over
            await gatherResults([caller.ended for caller in [*callers, resident]])
            await until(lambda: "the previous process is gone" in new.log())
            assert await deferToThread(new.until_ready)
            back = await all_up(new.visitor, [caller.call_id for caller in callers])
            resident = await call(new.resident, callers[0].call_id)
            for caller, was in zip(back, before, strict=True):
                now = await shown(new, caller)
                assert now["started_at"] == was["started_at"]
                assert now["extension"] == was["extension"]
                assert names(now).count("call.started") == names(now).count("call.resumed") == 1
            status = await deferToThread(new.api, "/api/status")
            assert (status["live_calls"], status["suspended_calls"]) == (10, 0)
            (extension,) = status["extensions"]
            assert (extension["actual_porta_ia"], extension["actual_porta_retorno"]) == (new.visitor, new.resident)
            await hang_up([*back, resident])
            assert await deferToThread(old.process.wait, 10) == 0
    log = new.log()
    assert "Traceback" not in log
    assert "instead of" not in log, "no port moved"
    assert log.count("outcome=caller_hangup") >= 10
    assert not [line for line in log.splitlines() if line and not line.startswith("20")], "no torn lines"


@pytest.mark.deadline(60)
async def test_the_next_process_that_is_started_first_takes_over_at_the_signal(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"DRAIN_SECONDS": "0", "VISITOR_APP": "echo"}) as old:
        caller = await call(old.visitor)
        with successor(old) as new:
            await until(lambda: "waiting for its end" in new.log())
            assert await deferToThread(old.stop) == 0
            await caller.ended
            assert await deferToThread(new.until_ready)
            back = await call(new.visitor, caller.call_id)
            assert "call.resumed" in names(await shown(new, back))
            await hang_up([back])


@pytest.mark.deadline(60)
async def test_a_process_that_waits_can_be_stopped(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as old:
        with successor(old) as new:
            await until(lambda: "waiting for its end" in new.log())
            assert await deferToThread(new.stop) == 0
        await hang_up([await call(old.visitor)])


@pytest.mark.deadline(90)
async def test_after_the_longest_wait_calls_begin_and_those_of_the_old_process_come_later(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"VISITOR_APP": "echo"}) as old:
        caller = await call(old.visitor)
        with successor(old) as new:
            await until(lambda: "still has the calls" in new.log())
            await until(lambda: f"instead of {old.visitor}" in new.log())
            assert await deferToThread(old.stop) == 0
            await caller.ended
            await until(lambda: "its calls are taken over" in new.log())
            assert await deferToThread(new.until_ready)
            back = await call(new.visitor, caller.call_id)
            assert "call.resumed" in names(await shown(new, back))
            stranger = Caller(reactor, uuid4())
            await stranger.dial(LOOPBACK, new.visitor)
            await stranger.until_heard(640)
            await hang_up([back, stranger])
