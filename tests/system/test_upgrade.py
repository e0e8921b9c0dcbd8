"""SIGUSR2 to the real server with calls up: the next process goes on with everything."""

from __future__ import annotations

import os
import re
import signal
import wave
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.loopback_server import until
from tests.support.porteiro_visits import door, gate_program
from tests.support.server_calls import all_up, call, hang_up, names, shown
from tests.support.server_process import ServerProcess
from tests.support.upgrades import UpgradedServer, numbered_calls

ECHO = {"VISITOR_APP": "echo", "RESIDENT_APP": "echo"}


@pytest.mark.deadline(180)
async def test_calls_and_ports_go_on_in_the_next_process(tmp_path: Path) -> None:
    with UpgradedServer(tmp_path, ECHO) as server:
        callers = await all_up(server.visitor, [uuid4() for _ in range(5)])
        resident = await call(server.resident, callers[0].call_id)
        before = [await shown(server, caller) for caller in callers]
        for _ in range(2):
            await server.upgrade()
        for caller, was in zip(callers, before, strict=True):
            now = await shown(server, caller)
            assert (now["state"], now["started_at"], names(now)) == ("live", was["started_at"], names(was))
            heard = len(caller.heard)
            await caller.until_heard(heard + 3_200)
        tone = b"\x21\x43" * 160
        callers[3].say(tone * 5)
        await callers[3].until(lambda: tone in callers[3].heard)
        new = await call(server.visitor)
        await hang_up([*callers, resident, new])
        await until(lambda: server.log().count("call.ended") == 6)
        log = server.log()
        assert "instead of" not in log, "no port moved"
        assert "Traceback" not in log
        assert log.count(" call.ended ") == 6


@pytest.mark.deadline(600)
async def test_numbered_frames_and_new_calls_do_not_notice_upgrades(tmp_path: Path) -> None:
    """With UPGRADES=20 the long form: 100 live calls and 50 new ones a second. It prints the table."""
    upgrades = int(os.environ.get("UPGRADES", "2"))
    live, new = (100, 50) if "UPGRADES" in os.environ else (20, 20)
    with UpgradedServer(tmp_path, {**ECHO, "LOG_MAX_MB": "100"}) as server:
        async with numbered_calls(live, server.visitor, new) as load:
            for _ in range(upgrades):
                await server.upgrade()
            report = await load.finish()
        times = [int(ms) for ms in re.findall(r"kB in (\d+) ms", server.log())]
        print(f"\n{upgrades} upgrades, {live} live calls, {new} new calls/s: {report}; handed over in {times} ms")
        assert report["new"] > 0
        counts = ("dropped_calls", "refused", "cut", "unanswered", "wrong")
        assert {name: report[name] for name in counts} == dict.fromkeys(counts, 0)
        # A machine that stands still for so long loses frames of an echo without an upgrade, too.
        assert report["lost"] == 0 or report["longest_gap_ms"] > 1_000
        assert "Traceback" not in server.log()


@pytest.mark.deadline(180)
async def test_a_recording_goes_on_in_its_file(tmp_path: Path) -> None:
    with UpgradedServer(tmp_path, {"VISITOR_APP": "record+echo"}) as server:
        caller = await call(server.visitor)
        before, after = b"\x01\x10" * 800, b"\x02\x20" * 800
        caller.say(before)
        await caller.until(lambda: before[:640] in caller.heard)
        await until(lambda: "recording.started" in server.log())
        await server.upgrade()
        caller.say(after)
        await caller.until(lambda: after[:640] in caller.heard)
        await hang_up([caller])
        await until(lambda: "recording.ended" in server.log())
        (path,) = (tmp_path / "data" / "recordings").glob("*.wav")
        with wave.open(str(path), "rb") as recorded:
            left = recorded.readframes(recorded.getnframes())
            assert left.count(before[:2]) >= 320, "what was said before"
            assert left.count(after[:2]) >= 320, "what was said after"
            assert left.index(before[:2]) < left.index(after[:2])
        assert "Traceback" not in server.log()


@pytest.mark.deadline(240)
async def test_a_visit_goes_on_while_a_resident_is_rung(tmp_path: Path) -> None:
    settings = {"RETURN_RING_SECONDS": "120"}
    async with (
        gate_program() as (gate, asked),
        door(tmp_path, {**settings, **asked}, make=UpgradedServer) as here,
    ):
        visitor = await here.visitor()
        visitor.press("#101#")
        await here.until_state(visitor, "ringing")
        assert isinstance(here.server, UpgradedServer)
        await here.server.upgrade()
        resident = await here.resident(visitor)
        await here.until_state(visitor, "menu")
        await here.server.upgrade()
        await here.authorise(visitor, resident)
        ended = await here.until_ended(visitor)
        assert (ended["outcome"], gate.keys) == ("authorised", [str(visitor.call_id)])
        events = [entry["event"] for entry in ended["timeline"]]
        assert not {"call.interrupted", "call.resumed", "leg.resumed"} & set(events)


@pytest.mark.deadline(240)
async def test_a_next_process_that_cannot_take_over_changes_nothing(tmp_path: Path) -> None:
    refused = {
        "MAX_CALLS=many": "cannot take over: MAX_CALLS",
        "WORKERS=2": "cannot take over: WORKERS",
        "DATA_DIR=elsewhere": "cannot take over: its DATA_DIR is another one",
    }
    with UpgradedServer(tmp_path, ECHO) as server:
        caller = await call(server.visitor)
        for line, why in refused.items():
            (tmp_path / ".env").write_text(line + "\n")
            os.kill(server.pid, signal.SIGUSR2)
            await until(lambda why=why: why in server.log())  # type: ignore[misc]
            heard = len(caller.heard)
            await caller.until_heard(heard + 1_600)
        assert server.log().count("nothing has changed") == len(refused)
        (tmp_path / ".env").unlink()
        await server.upgrade()
        heard = len(caller.heard)
        await caller.until_heard(heard + 1_600)
        await hang_up([caller])


@pytest.mark.deadline(120)
async def test_several_workers_say_that_they_cannot_hand_over(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {**ECHO, "WORKERS": "2"}) as server:
        caller = await call(server.visitor)
        os.kill(server.pid, signal.SIGUSR2)
        await until(lambda: "not supported with WORKERS above 1" in server.log())
        heard = len(caller.heard)
        await caller.until_heard(heard + 3_200)
        await hang_up([caller])
