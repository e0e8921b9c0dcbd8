"""Calls survive the process: the real server is killed and stopped during calls, and they resume."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from uuid import uuid4

import pytest
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from audiosocket.calls.journal import FILE_NAME
from audiosocket.client.caller import Caller
from tests.support.loopback_server import LOOPBACK, is_closed, reactor, until
from tests.support.server_calls import all_up, call, hang_up, names, shown
from tests.support.server_process import ServerProcess

TONE = b"\x21\x43" * 160


@pytest.mark.deadline(60)
async def test_after_a_kill_all_of_twenty_calls_resume_and_none_restarts(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, {"VISITOR_APP": "echo", "RESIDENT_APP": "echo"})
    with server:
        callers = await all_up(server.visitor, [uuid4() for _ in range(20)])
        resident = await call(server.resident, callers[0].call_id)
        over = await call(server.visitor)
        await hang_up([over])
        callers[0].press("7")
        await callers[0].until_said()
        await until(lambda: '"leg.digit"' in (tmp_path / "data" / FILE_NAME).read_text())
        before = [await shown(server, caller) for caller in callers]

        await deferToThread(server.stop, signal.SIGKILL)
        await gatherResults([caller.ended for caller in [*callers, resident]])
        # The table changes meanwhile: a call keeps the extension with which it began.
        row = {"id": 1, "ramal_ia": "1999", "porta_ia": server.visitor, "porta_retorno": server.resident}
        (tmp_path / "data" / "ramais_config.json").write_text(json.dumps({"ramais": [row]}))
        await deferToThread(server.start)

        again = Caller(reactor, over.call_id)
        await again.dial(LOOPBACK, server.visitor)
        report = await again.ended
        assert (report.ended_by, report.broken, len(again.heard)) == ("server", (), 0), "over stays over"
        early = Caller(reactor, callers[1].call_id)  # no resident's leg of this call was cut off
        await early.dial(LOOPBACK, server.resident)
        assert ((await early.ended).ended_by, len(early.heard)) == ("server", 0)

        back = await all_up(server.visitor, [caller.call_id for caller in callers])
        resident = await call(server.resident, callers[0].call_id)
        for caller, old in zip(back, before, strict=True):
            new = await shown(server, caller)
            assert new["state"] == "live"
            assert new["extension"] == old["extension"]
            assert new["started_at"] == old["started_at"]
            assert names(new).count("call.started") == names(new).count("call.resumed") == 1
            assert names(new)[: len(names(old))] == names(old)
        first = await shown(server, back[0])
        assert [leg["resumes"] for leg in first["legs"]] == [1, 1]  # type: ignore[attr-defined]
        status = await deferToThread(server.api, "/api/status")
        assert (status["live_calls"], status["suspended_calls"], status["calls_total"]) == (20, 0, 0)
        back[3].say(TONE * 5)
        await back[3].until(lambda: TONE in back[3].heard)
        await hang_up([*back, resident])
        await until(lambda: server.log().count("call.ended") >= 21)
    assert "Traceback" not in server.log()


@pytest.mark.deadline(40)
async def test_a_call_that_does_not_resume_is_lost(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"RESUME_SECONDS": "1"}) as server:
        caller = await call(server.visitor)
        await deferToThread(server.stop, signal.SIGKILL)
        await caller.ended
        await deferToThread(server.start)
        waiting = await shown(server, caller)
        assert (waiting["state"], waiting["outcome"]) in {("suspended", None), ("ended", "lost")}
        await until(lambda: "did not resume within" in server.log())
        lost = await shown(server, caller)
        assert (lost["state"], lost["outcome"]) == ("ended", "lost")
        late = Caller(reactor, caller.call_id)
        await late.dial(LOOPBACK, server.visitor)
        assert ((await late.ended).ended_by, len(late.heard)) == ("server", 0)


@pytest.mark.deadline(40)
async def test_a_bridge_hangs_up_a_resumed_leg_when_the_other_leg_is_lost(tmp_path: Path) -> None:
    with ServerProcess(
        tmp_path, {"RESUME_SECONDS": "3", "VISITOR_APP": "bridge", "RESIDENT_APP": "bridge"}
    ) as server:
        visitor = await call(server.visitor)
        resident = await call(server.resident, visitor.call_id)
        await deferToThread(server.stop, signal.SIGKILL)
        await gatherResults([visitor.ended, resident.ended])
        await deferToThread(server.start)
        visitor = await call(server.visitor, visitor.call_id)
        report = await visitor.ended
        assert (report.ended_by, report.broken) == ("server", ())
        over = await shown(server, visitor)
        assert over["outcome"] == "server_hangup"
        assert {leg["role"]: leg["outcome"] for leg in over["legs"]} == {  # type: ignore[attr-defined]
            "visitor": "server_hangup",
            "resident": "lost",
        }


@pytest.mark.deadline(40)
async def test_a_stop_waits_for_calls_and_accepts_no_new_ones(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"DRAIN_SECONDS": "20", "VISITOR_APP": "echo", "RESIDENT_APP": "echo"}) as server:
        caller = await call(server.visitor)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: "stopped listening" in server.log())
        while not await is_closed(server.visitor):  # the line is written just before the socket is closed
            pass
        assert await deferToThread(server.request, "/readyz") == (503, {"status": "error", "message": "draining"})
        resident = await call(server.resident, caller.call_id)
        stranger = Caller(reactor, uuid4())
        await stranger.dial(LOOPBACK, server.resident)
        assert (await stranger.ended).ended_by == "server"
        heard = len(caller.heard)
        await caller.until_heard(heard + 16_000)
        await hang_up([caller, resident])
        assert await deferToThread(server.process.wait, 10) == 0
        assert "outcome=caller_hangup" in server.log()
        assert "call.interrupted" not in server.log()


@pytest.mark.deadline(40)
async def test_calls_interrupted_by_a_stop_resume_after_the_start(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"DRAIN_SECONDS": "1"}) as server:
        caller = await call(server.visitor)
        assert await deferToThread(server.stop) == 0
        report = await caller.ended
        assert (report.ended_by, report.broken) == ("server", ())
        assert "call.interrupted" in server.log()
        assert "call.ended" not in server.log()
        await deferToThread(server.start)
        back = await call(server.visitor, caller.call_id)
        assert names(await shown(server, back))[-3:] == ["call.interrupted", "call.resumed", "leg.resumed"]
        await hang_up([back])


@pytest.mark.deadline(40)
async def test_a_second_signal_stops_immediately_with_hangup_frames(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"DRAIN_SECONDS": "3600"}) as server:
        caller = await call(server.visitor)
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        await until(lambda: "draining: 1 legs" in server.log())
        heard = len(caller.heard)
        await caller.until_heard(heard + 3_200)
        server.process.send_signal(signal.SIGTERM)
        report = await caller.ended
        assert (report.ended_by, report.broken) == ("server", ())
        assert await deferToThread(server.process.wait, 10) == 0
        assert "Traceback" not in server.log()
