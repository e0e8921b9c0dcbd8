"""The real server as a process: started in each way, called, reconfigured, stopped and misconfigured."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from audiosocket.server import api_port as apiport
from tests.support.log_lines import LINE
from tests.support.loopback_server import LOOPBACK, CapturedLog, is_closed, occupied, reactor, until
from tests.support.ports import free_ports
from tests.support.server_process import ServerProcess, checkout_environment

TWISTD = shutil.which("twistd", path=str(Path(sys.executable).parent)) or "twistd"
BY_TWISTD = (TWISTD, "-n", "audiosocket")
BY_PYTHON = (sys.executable, "-m", "audiosocket")


async def call(port: int) -> Caller:
    caller = Caller(reactor)
    await caller.dial(LOOPBACK, port)
    return caller


def check_log(log: str, *parts: str) -> None:
    """Check that every line has the documented form, and that ``parts`` (patterns) occur in this order."""
    assert all(LINE.fullmatch(line) for line in log.splitlines(keepends=True))
    assert "Traceback" not in log
    where = 0
    for part in parts:
        found = re.compile(part).search(log, where)
        assert found, f"{part!r} is not in the log after character {where}:\n{log}"
        where = found.end()


@pytest.mark.deadline(60)
async def test_two_instances_side_by_side_from_one_directory(tmp_path: Path) -> None:
    """One started by twistd with options, one by Python with a file of settings; both have calls when they end."""
    a, b, c, api, other_api = free_ports(5)
    entry = {
        "id": 7,
        "ramal_ia": "1000",
        "ramal_retorno": "1001",
        "ip_servidor": "203.0.113.9",
        "condominio_id": 1,
    }
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "ramais_config.json").write_text(
        json.dumps({"ramais": [{**entry, "porta_ia": a, "porta_retorno": b, "binding_ip": "0.0.0.0"}]})
    )
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "ramais_config.json").write_text(
        json.dumps({"ramais": [{**entry, "id": 8, "porta_ia": c, "porta_retorno": 0}]})
    )
    (tmp_path / "two.env").write_text(
        f"API_PORT={other_api}\nDATA_DIR=two\nLOG_DIR=two/logs\nVISITOR_APP=silence\nDB_HOTS=typo\n"
    )
    options = (f"--api-port={api}", "--data-dir=one", "--log-dir=one/logs", "--visitor-app=echo")
    first = ServerProcess(tmp_path, {"API_PORT": str(api)}, rows=None, command=BY_TWISTD, options=options, app="")
    second = ServerProcess(
        tmp_path,
        {"API_PORT": str(other_api)},
        rows=None,
        command=BY_PYTHON,
        options=("--env-file=two.env",),
        app="",
    )
    async with both(first, second):
        shown = (await deferToThread(first.api, "/api/status"))["extensions"]
        assert [(one["id"], one["actual_porta_ia"], one["actual_porta_retorno"]) for one in shown] == [(7, a, b)]
        shown = (await deferToThread(second.api, "/api/status"))["extensions"]
        assert [(one["id"], one["actual_porta_ia"], one["actual_porta_retorno"]) for one in shown] == [
            (8, c, None)
        ]
        echoing, silent = await call(a), await call(c)
        for caller in (echoing, silent):
            caller.say(b"\x00\x10" * 1600)
        await echoing.until_heard(lambda pcm: b"\x00\x10" * 800 in pcm)
        await silent.until_heard(6400)
        assert set(silent.heard) == {0}
        # The restart of a listener and the end of the other instance have no effect.
        await deferToThread(first.api, "/api/restart", {"extension_id": 7})
        assert await deferToThread(second.stop) == 0
        report = await silent.ended
        assert (report.ended_by, report.broken) == ("server", ())
        await echoing.until_heard(len(echoing.heard) + 1600)
        more = [await call(a) for _ in range(3)]
        await gatherResults([one.until_heard(640) for one in more])
        assert await deferToThread(first.stop) == 0
        for one in (echoing, *more):
            report = await one.ended
            assert (report.ended_by, report.broken) == ("server", ())
        assert await is_closed(a)
        assert await is_closed(c)
    log = (tmp_path / "one" / "logs" / "audiosocket.log").read_text()
    check_log(
        log,
        r" - audiosocket\.server\S* - INFO - audiosocket \S+ starts",
        r"extension 7 \(1000\): 203\.0\.113\.9 is not an address of this machine",
        rf"extension 7 \(1000\): listening on 0\.0\.0\.0:{a} for visitors",
        "running 1 extensions from the file",
        rf"visitor leg of {echoing.call_id} from 127\.0\.0\.1:\d+ on port {a} belongs to extension 7 \(1000\)",
        rf"stopped listening on 0\.0\.0\.0:{a} for visitors; 1 connections go on",
        rf"listening on 0\.0\.0\.0:{a} for visitors",
        "SIGTERM",
        r"stopping: sending a hangup frame to 4 legs",
        rf"call\.interrupted call {echoing.call_id}",
        r"audiosocket\.server\S* - INFO - stopped",
    )
    other = (tmp_path / "two" / "logs" / "audiosocket.log").read_text()
    check_log(other, "the setting DB_HOTS is unknown; did you mean DB_HOST", "a hangup frame to 1 legs")
    assert str(echoing.call_id) not in other
    # In the foreground the same lines are printed, and nothing else.
    assert sorted(first.stdout().splitlines()) == sorted((log + other).splitlines())
    assert not (tmp_path / "twistd.pid").exists()


@contextlib.asynccontextmanager
async def both(*servers: ServerProcess) -> AsyncIterator[None]:
    """Run several servers at once and stop each in the end."""
    with contextlib.ExitStack() as running:
        await gatherResults([deferToThread(running.enter_context, server) for server in servers])
        yield


@pytest.mark.deadline(40)
async def test_a_daemon_writes_its_pid_and_its_log_and_stops_on_sigterm(tmp_path: Path) -> None:
    api, visitor = free_ports(2)
    (tmp_path / "data").mkdir()
    row = {"id": 1, "ramal_ia": "1000", "porta_ia": visitor}
    (tmp_path / "data" / "ramais_config.json").write_text(json.dumps({"ramais": [row]}))
    pidfile = tmp_path / "audio.pid"
    done = await deferToThread(
        lambda: subprocess.run(
            [TWISTD, f"--pidfile={pidfile}", "audiosocket", f"--api-port={api}"],
            cwd=tmp_path,
            env=checkout_environment({"DRAIN_SECONDS": "0"}),
            capture_output=True,
            timeout=20,
            check=False,
        )
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    await file_with(pidfile)
    pid = int(pidfile.read_text())
    try:
        await answering(visitor)
        caller = await call(visitor)
        await caller.until_heard(640)
        assert (tmp_path / "data" / "ramais_config.json").exists()
    finally:
        os.kill(pid, signal.SIGTERM)
    report = await caller.ended
    assert (report.ended_by, report.broken) == ("server", ())
    while alive(pid):
        await deferLater(reactor, 0.02)
    assert not pidfile.exists()
    check_log((tmp_path / "logs" / "audiosocket.log").read_text(), "starts", "a hangup frame to 1 legs", "stopped")
    assert not (tmp_path / "twistd.log").exists()


async def file_with(path: Path) -> None:
    while not path.exists() or not path.read_text():
        await deferLater(reactor, 0.02)


async def answering(port: int) -> None:
    while await is_closed(port):
        await deferLater(reactor, 0.02)


def alive(pid: int) -> bool:
    """Return whether the process exists; its parent may be slow to reap it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_bad_settings_are_one_line_and_status_1_with_no_port_open(tmp_path: Path) -> None:
    (api,) = free_ports(1)
    (tmp_path / "bad.env").write_text(f"API_PORT={api}\nREFRESH_INTERVAL_SECONDS=often\n")
    cases: list[tuple[list[str], Mapping[str, str], str]] = [
        ([*BY_TWISTD, "--env-file=bad.env"], {}, "audiosocket: REFRESH_INTERVAL_SECONDS: 'often' "),
        ([*BY_PYTHON, "--api-host=0.0.0.0"], {"API_PORT": str(api)}, "audiosocket: API_HOST: '0.0.0.0' "),
        ([TWISTD, "audiosocket", "--visitor-app=ech"], {}, "audiosocket: VISITOR_APP: "),
    ]
    running = [
        subprocess.Popen(
            command,
            cwd=tmp_path,
            env=checkout_environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, settings, _ in cases
    ]
    for process, (_, _, line) in zip(running, cases, strict=True):
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (1, "")
        assert err.startswith(line)
        assert err.count("\n") == 1
    with socket.socket() as knocking:
        assert knocking.connect_ex((LOOPBACK, api)) != 0
    assert [found.name for found in tmp_path.iterdir()] == ["bad.env"]


PASSWORD, TOKEN = "pa55-marker-of-the-database", "t0ken-marker-of-the-api"


@pytest.fixture
def unreachable(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with an unreachable database, secrets in all settings, a JSON log and no local file."""
    (closed, visitor) = free_ports(2)
    settings = {
        "DB_HOST": LOOPBACK,
        "DB_PORT": str(closed),
        "DB_USER": "somebody",
        "DB_PASSWORD": PASSWORD,
        "API_TOKEN": TOKEN,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "debug",
        "REFRESH_INTERVAL_SECONDS": "1",
    }
    rows = [{"id": 3, "ramal_ia": "77", "porta_ia": visitor}]
    with ServerProcess(tmp_path, settings, rows=rows) as server:
        server.visitor = visitor
        yield server


@pytest.mark.deadline(30)
async def test_without_its_database_it_uses_the_file_and_logs_no_secret(unreachable: ServerProcess) -> None:
    server = unreachable
    caller = await call(server.visitor)
    await caller.until_heard(640)
    status = await deferToThread(server.api, "/api/status")
    assert status["configuration"]["source"] == "file"
    assert [one["id"] for one in status["extensions"]] == [3]
    assert status["database"]["state"] in {"down", "connecting"}
    code, answer = await deferToThread(server.request, "/api/refresh", {})
    assert (code, answer["status"]) == (503, "error")
    code, rows = await deferToThread(server.request, "/api/extensions")
    assert code == 503
    server.settings = {**server.settings, "API_TOKEN": "wrong"}
    code, denied = await deferToThread(server.request, "/api/status")
    assert code == 401
    server.settings = {**server.settings, "API_TOKEN": TOKEN}
    caller.hang_up()
    assert (await caller.ended).ok
    assert await deferToThread(server.stop) == 0
    records = [json.loads(line) for line in server.log().splitlines()]
    assert {"ts", "level", "module", "text"} <= set.intersection(*(set(record) for record in records))
    assert any("database is down" in record["text"] for record in records)
    refusals = [record for record in records if "extensions stay as they are" in record["text"]]
    assert len({record["text"] for record in refusals}) == len(refusals), "each trouble once"
    everything = server.log() + server.stdout() + json.dumps([status, answer, rows, denied])
    for secret in (PASSWORD, TOKEN):
        assert secret not in everything


@pytest.mark.deadline(30)
async def test_it_starts_without_any_configuration(tmp_path: Path) -> None:
    """The default ports may be in use on this machine, so only the configured port is checked."""
    with ServerProcess(tmp_path / "new", {"DB_HOST": ""}, wait=False) as server:
        log = tmp_path / "new" / "logs" / "audiosocket.log"
        while not log.exists() or "the API listens on" not in log.read_text():
            await deferLater(reactor, 0.02)
        status = await deferToThread(server.api, "/api/status")
        assert status["configuration"]["source"] == "default"
        (shown,) = status["extensions"]
        assert (shown["id"], shown["ramal_ia"], shown["ramal_retorno"]) == (0, "1000", "1001")
        assert (shown["porta_ia"], shown["porta_retorno"]) == (8080, 8081)
        assert await deferToThread(server.stop) == 0
    assert not (tmp_path / "new" / "data" / "ramais_config.json").exists()


async def test_a_taken_api_port_is_tried_again_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiport, "RETRY_SECONDS", 0.02)
    (port,) = free_ports(1)
    heard = CapturedLog()
    api = apiport.ApiPort(Factory.forProtocol(Protocol), LOOPBACK, port, reactor)
    with occupied(port):
        api.startService()
        await deferLater(reactor, 0.1)
        assert len(heard.containing("the API cannot listen")) == 1
        assert f"port {port} is in use" in heard[0][1]
        await maybeDeferred(api.stopService)
        api.startService()
    await until(lambda: bool(heard.containing("the API listens on")))
    assert not await is_closed(port)
    await maybeDeferred(api.stopService)
    assert await is_closed(port)
    heard.close()
