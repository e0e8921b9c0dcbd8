"""Signals to the real server with calls up: only SIGTERM and SIGINT stop it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from audiosocket.runtime.signals import fatal_signals, signal_name
from tests.support.loopback_server import is_closed, until
from tests.support.ports import free_ports
from tests.support.server_calls import call, hang_up
from tests.support.server_process import ServerProcess

ECHO = {"VISITOR_APP": "echo", "RESIDENT_APP": "echo"}


async def still_up(caller: Caller) -> None:
    heard = len(caller.heard)
    await caller.until_heard(heard + 3_200)


@pytest.mark.deadline(60)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_no_signal_but_term_and_int_ends_a_call(tmp_path: Path, workers: str) -> None:
    with ServerProcess(tmp_path, {**ECHO, "WORKERS": workers, "DRAIN_SECONDS": "0"}) as server:
        caller = await call(server.visitor)
        status = await deferToThread(server.api, "/api/status")
        children = [worker["pid"] for worker in status.get("workers", [])]
        # SIGUSR2 replaces a single process by the next one: test_upgrade.py
        others = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR2}
        for number in sorted({*fatal_signals()} - others):
            for pid in (server.pid, *children):
                os.kill(pid, number)
            name = signal_name(number)
            await until(lambda name=name: name in server.log())  # type: ignore[misc]
        await still_up(caller)
        assert f"signal {signal.SIGRTMIN + 1} is ignored; SIGTERM stops the server" in server.log()
        await hang_up([caller])
        assert "died" not in server.log()
        assert "Traceback" not in server.log()
        assert await deferToThread(server.stop) == 0


@pytest.mark.deadline(60)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_hup_reopens_the_log_and_reads_the_configuration_again(tmp_path: Path, workers: str) -> None:
    (new_port,) = free_ports(1)
    with ServerProcess(tmp_path, {**ECHO, "WORKERS": workers}) as server:
        caller = await call(server.visitor)
        logs = tmp_path / "logs"
        os.rename(logs / "audiosocket.log", logs / "moved.log")
        data = tmp_path / "data" / "ramais_config.json"
        rows = json.loads(data.read_text())
        rows["ramais"].append({"id": 2, "ramal_ia": "2000", "porta_ia": new_port, "porta_retorno": None})
        data.write_text(json.dumps(rows))
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: (logs / "audiosocket.log").exists() and "was read again: 2 extensions" in server.log())
        assert not await is_closed(new_port)
        assert "SIGHUP" not in (logs / "moved.log").read_text()
        await still_up(caller)
        other = await call(new_port)
        await hang_up([caller, other])
        assert "Traceback" not in server.log()


@pytest.mark.deadline(60)
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_hup_reads_the_settings_of_the_env_file_again(tmp_path: Path, workers: str) -> None:
    (tmp_path / "key").write_text("a key of the gate\n")
    settings = {**ECHO, "WORKERS": workers, "GATE_WEBHOOK_SECRET_FILE": "key"}
    with ServerProcess(tmp_path, settings) as server:
        caller = await call(server.visitor)
        (tmp_path / ".env").write_text("REFRESH_INTERVAL_SECONDS=7\nMAX_EXTENSIONS=9\nLOG_LEVEL=debug\n")
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "REFRESH_INTERVAL_SECONDS is 7" in server.log() and "need a restart: " in server.log())
        assert "GATE_WEBHOOK_SECRET_FILE" not in server.log()  # it has not changed
        assert ("LOG_LEVEL is debug from now on" in server.log()) is (workers == "1")
        (tmp_path / ".env").write_text("REFRESH_INTERVAL_SECONDS='7\n")
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "the settings stay as they are: " in server.log())
        await still_up(caller)
        await hang_up([caller])
        assert "Traceback" not in server.log()


@pytest.mark.deadline(60)
async def test_usr1_only_reopens_the_log(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, ECHO) as server:
        caller = await call(server.visitor)
        log = tmp_path / "logs" / "audiosocket.log"
        os.rename(log, tmp_path / "logs" / "moved.log")
        os.kill(server.pid, signal.SIGUSR1)
        await until(lambda: log.exists() and "SIGUSR1: the log was reopened" in server.log())
        await hang_up([caller])
        await until(lambda: "call.ended" in server.log())
        assert "read again" not in server.log()


@pytest.mark.deadline(60)
async def test_a_damaged_local_file_changes_nothing_at_hup(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, ECHO) as server:
        caller = await call(server.visitor)
        (tmp_path / "data" / "ramais_config.json").write_text("{")
        os.kill(server.pid, signal.SIGHUP)
        await until(lambda: "extensions stay as they are" in server.log())
        await still_up(caller)
        assert not await is_closed(server.visitor)
        await hang_up([caller])
