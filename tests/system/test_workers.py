"""Several processes as one server: a real one with ``--workers 2``, tested from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from audiosocket.wire import HANGUP_FRAME, uuid_frame
from tests.support.loopback_server import LOOPBACK, is_closed, reactor, until
from tests.support.numbered_calls import call_ids
from tests.support.server_calls import all_up, hang_up, names, shown
from tests.support.server_process import ROOT, ServerProcess

WORKERS = 2
APPS = {"WORKERS": str(WORKERS), "VISITOR_APP": "echo", "RESIDENT_APP": "echo"}


def ids_of(worker: int, count: int) -> list[UUID]:
    """Return UUIDs of calls that this worker owns."""
    ids = call_ids(f"{worker}/{WORKERS}")
    return [next(ids) for _ in range(count)]


async def status(server: ServerProcess) -> dict[str, Any]:
    return dict(await deferToThread(server.api, "/api/status"))


async def workers(server: ServerProcess) -> list[dict[str, Any]]:
    return list((await status(server))["workers"])


async def until_up(server: ServerProcess, index: int, restarts: int) -> dict[str, Any]:
    """Return the worker once it is up after so many restarts."""
    while True:
        worker = (await workers(server))[index]
        if worker["state"] == "up" and worker["restarts"] >= restarts:
            return worker


async def until_spare(server: ServerProcess) -> None:
    """Wait until a spare process can replace a worker."""
    while (await status(server))["spare_worker"] is None:
        pass


class NumberedCalls:
    """``tests.support.numbered_calls`` in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.support.numbered_calls", *map(str, arguments)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def up(self) -> None:
        """Wait until all calls are connected."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n"

    def report(self) -> dict[str, int]:
        """Stop sending; return what came back."""
        out, _ = self._process.communicate(timeout=30)
        return dict(json.loads(out))

    def __enter__(self) -> NumberedCalls:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.mark.deadline(60)
async def test_two_processes_listen_and_one_api_shows_the_calls_of_both(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, APPS) as server:
        assert listening_sockets(server.visitor) == WORKERS
        pids = [worker["pid"] for worker in await workers(server)]
        assert len({*pids, server.pid}) == 3
        ids = [*ids_of(0, 4), *ids_of(1, 4)]
        visitors = await all_up(server.visitor, ids)
        residents = await all_up(server.resident, ids)
        now = await status(server)
        assert (now["live_calls"], now["extensions"][0]["live_calls"]) == (8, 8)
        assert [worker["live_legs"] for worker in now["workers"]] == [8, 8]
        listed = await deferToThread(server.api, "/api/calls")
        assert {one["call_id"] for one in listed["calls"]} == {str(call_id) for call_id in ids}
        assert all({leg["role"] for leg in one["legs"]} == {"visitor", "resident"} for one in listed["calls"])
        for call_id in (ids[0], ids[-1]):
            await deferToThread(server.api, "/api/hangup", {"call_id": str(call_id), "role": "visitor"})
        assert (await visitors[0].ended).ended_by == "server"
        assert (await visitors[-1].ended).ended_by == "server"
        unknown = {"call_id": str(ids_of(1, 1)[0])}
        assert (await deferToThread(server.request, "/api/hangup", unknown))[0] == 404
        await hang_up([*visitors[1:-1], *residents])
        listed = await deferToThread(server.api, "/api/calls")
        assert [one["state"] for one in listed["calls"]] == ["ended"] * 8


@pytest.mark.deadline(60)
async def test_calls_of_one_worker_count_for_the_limits_of_the_other(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {**APPS, "MAX_CALLS": "3"}) as server:
        first = await all_up(server.visitor, ids_of(0, 3))
        ids = call_ids(f"1/{WORKERS}")
        await until(lambda: is_refused(server.visitor, next(ids)))
        await until(lambda: "there are 3 calls; MAX_CALLS allows no more" in server.log())
        assert (await status(server))["limits_reached_total"]["calls"] > 0
        await hang_up(first[:1])
        await until(lambda: not is_refused(server.visitor, next(ids)))
        # What a worker that dies had is counted again once its successor has taken it over.
        os.kill((await workers(server))[0]["pid"], signal.SIGKILL)
        await until_up(server, 0, restarts=1)
        await until(lambda: not is_refused(server.visitor, next(ids)))


def is_refused(port: int, call_id: UUID) -> bool:
    """Make a call, and end it at once; return whether it is answered with a hangup frame."""
    with socket.create_connection((LOOPBACK, port), timeout=5) as caller:
        caller.sendall(uuid_frame(call_id))
        answer = caller.recv(3, socket.MSG_WAITALL)
        caller.sendall(HANGUP_FRAME)
    return answer == HANGUP_FRAME


@pytest.mark.deadline(60)
async def test_both_legs_of_a_call_are_connected_whichever_process_accepts_them(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {**APPS, "VISITOR_APP": "bridge", "RESIDENT_APP": "bridge"}) as server:
        ids = [*ids_of(0, 6), *ids_of(1, 6)]
        visitors = await all_up(server.visitor, ids)
        residents = await all_up(server.resident, ids)
        for number, (visitor, resident) in enumerate(zip(visitors, residents, strict=True), 1):
            visitor.say(bytes([number, 1]) * 800)
            resident.say(bytes([number, 2]) * 800)
        for number, (visitor, resident) in enumerate(zip(visitors, residents, strict=True), 1):
            await visitor.until_heard(lambda pcm, wanted=bytes([number, 2]) * 400: wanted in pcm)  # type: ignore[misc]
            await resident.until_heard(lambda pcm, wanted=bytes([number, 1]) * 400: wanted in pcm)  # type: ignore[misc]
        await hang_up([*visitors, *residents])


@pytest.mark.deadline(90)
async def test_a_killed_worker_is_replaced_its_calls_resume_and_others_lose_no_frame(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, APPS) as server, NumberedCalls(50, server.visitor, "--of", "0/2") as others:
        await deferToThread(others.up)
        await until_spare(server)
        ids = ids_of(1, 10)
        callers = await all_up(server.visitor, ids)
        before = (await workers(server))[1]
        os.kill(before["pid"], signal.SIGKILL)
        for caller in callers:
            await caller.ended
        back = await all_up(server.visitor, ids)
        after = await until_up(server, 1, 1)
        assert after["pid"] != before["pid"]
        assert names(await shown(server, back[0]))[-2:] == ["call.resumed", "leg.resumed"]
        now = await status(server)
        assert (now["live_calls"], now["suspended_calls"]) == (60, 0)
        assert (await deferToThread(server.request, "/readyz"))[0] == 200
        report = await deferToThread(others.report)
        assert report.pop("sent") > 50 * 50
        found = {key: report[key] for key in ("calls", "dropped_calls", "lost", "wrong")}
        assert found == {"calls": 50, "dropped_calls": 0, "lost": 0, "wrong": 0}
        await hang_up(back)
        assert "died: signal 9; 10 legs are cut off" in server.log()


@pytest.mark.deadline(60)
async def test_calls_that_arrive_while_a_worker_is_replaced_are_answered(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, APPS) as server:
        await until_spare(server)
        os.kill((await workers(server))[1]["pid"], signal.SIGKILL)
        # Accepted by worker 0 and passed on, or in the queue of the dead worker: no caller dials twice.
        callers = await all_up(server.visitor, ids_of(1, 20))
        await until_up(server, 1, 1)
        assert (await status(server))["live_calls"] == 20
        await hang_up(callers)


@pytest.mark.deadline(60)
async def test_the_log_lines_of_all_processes_are_in_one_file(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {**APPS, "LOG_FORMAT": "json"}) as server:
        ids = [*ids_of(0, 2), *ids_of(1, 2)]
        await hang_up(await all_up(server.visitor, ids))
        await until(lambda: server.log().count('"event": "call.ended"') == len(ids))
    lines = [json.loads(line) for line in server.log().splitlines()]
    ended = [line for line in lines if line.get("event") == "call.ended"]
    assert {line["call_id"] for line in ended} == {str(call_id) for call_id in ids}
    assert len([line for line in lines if line["text"].startswith("stopping: ")]) == WORKERS
    assert os.listdir(tmp_path / "logs") == ["audiosocket.log"]


@pytest.mark.deadline(60)
async def test_a_changed_port_moves_in_all_processes_and_its_calls_go_on(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, APPS) as server:
        callers = await all_up(server.visitor, [*ids_of(0, 2), *ids_of(1, 2)])
        old, new = server.visitor, server.api_port + 1
        await deferToThread(server.api, "/api/extensions/1", {"porta_ia": new}, "PUT")
        assert await is_closed(old)
        assert listening_sockets(old) == 0
        draining = (await status(server))["draining"]
        assert [(one["port"], one["connections"]) for one in draining] == [(old, 4)]
        newcomers = await all_up(new, [*ids_of(0, 2), *ids_of(1, 2)])
        for caller in callers:
            heard = len(caller.heard)
            await caller.until_heard(heard + 3_200)
        await hang_up([*callers, *newcomers])
        assert (await status(server))["draining"] == []


@pytest.mark.deadline(60)
async def test_a_port_that_another_program_would_share_counts_as_taken(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, APPS, wait=False)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("0.0.0.0", server.visitor))
        other.listen()
        with server:
            while True:
                with suppress(OSError):
                    if len([one for one in await workers(server) if one["state"] == "up"]) == WORKERS:
                        break
            (extension,) = (await status(server))["extensions"]
            assert (extension["state"], extension["porta_ia"]) == ("degraded", server.visitor)
            actual = extension["actual_porta_ia"]
            assert actual not in {None, server.visitor}
            assert (await deferToThread(server.request, "/readyz"))[0] == 503
            callers = await all_up(actual, [*ids_of(0, 1), *ids_of(1, 1)])
            await hang_up(callers)


@pytest.mark.deadline(60)
async def test_a_stop_lets_the_calls_of_all_processes_end_by_themselves(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {**APPS, "DRAIN_SECONDS": "20"}) as server:
        callers = await all_up(server.visitor, [*ids_of(0, 1), *ids_of(1, 1)])
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        while not await is_closed(server.visitor):
            pass
        assert await deferToThread(server.request, "/readyz") == (503, {"status": "error", "message": "draining"})
        residents = await all_up(server.resident, [caller.call_id for caller in callers])
        new_caller = Caller(reactor, ids_of(0, 1)[0])
        await new_caller.dial(LOOPBACK, server.resident)
        assert (await new_caller.ended).ended_by == "server"
        await hang_up([*callers, *residents])
        assert await deferToThread(server.process.wait, 10) == 0
        assert "outcome=caller_hangup" in server.log()
        assert "died" not in server.log()


@pytest.mark.deadline(60)
async def test_a_second_signal_hangs_up_the_calls_of_all_processes(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {**APPS, "DRAIN_SECONDS": "3600"}) as server:
        pids = [worker["pid"] for worker in await workers(server)]
        callers = await all_up(server.visitor, [*ids_of(0, 1), *ids_of(1, 1)])
        assert server.process is not None
        # As a terminal or systemd does: all processes get the signal, and only the supervisor acts on it.
        for pid in (server.pid, *pids):
            os.kill(pid, signal.SIGINT)
        await until(lambda: "draining: 2 legs" in server.log())
        server.process.send_signal(signal.SIGTERM)
        for caller in callers:
            report = await caller.ended
            assert (report.ended_by, report.broken) == ("server", ())
        assert await deferToThread(server.process.wait, 10) == 0
        assert not [pid for pid in pids if alive(pid)]
        assert "Traceback" not in server.log()


@pytest.mark.deadline(90)
async def test_workers_die_with_a_killed_supervisor_and_their_calls_resume(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, APPS) as server:
        pids = [worker["pid"] for worker in await workers(server)]
        ids = [*ids_of(0, 3), *ids_of(1, 3)]
        callers = await all_up(server.visitor, ids)
        await deferToThread(server.stop, signal.SIGKILL)
        for caller in callers:
            await caller.ended
        await until(lambda: not [pid for pid in pids if alive(pid)])
        await deferToThread(server.start)
        back = await all_up(server.visitor, ids)
        assert names(await shown(server, back[0]))[-2:] == ["call.resumed", "leg.resumed"]
        assert (await status(server))["suspended_calls"] == 0
        await hang_up(back)


@pytest.mark.deadline(90)
async def test_calls_resume_after_a_start_with_another_number_of_workers(tmp_path: Path) -> None:
    ids = [*ids_of(0, 2), *ids_of(1, 2)]
    server = ServerProcess(tmp_path, {**APPS, "WORKERS": "1"})
    with server:
        callers = await all_up(server.visitor, ids)
        for count in ("2", "3", "1"):
            await deferToThread(server.stop)
            for caller in callers:
                await caller.ended
            server.settings["WORKERS"] = count
            await deferToThread(server.start)
            callers = await all_up(server.visitor, ids)
            timeline = names(await shown(server, callers[0]))
            assert timeline[-3:] == ["call.interrupted", "call.resumed", "leg.resumed"]
            assert (await status(server))["suspended_calls"] == 0
        await hang_up(callers)
        assert [path.name for path in (tmp_path / "data").glob("calls*.journal")] == ["calls.journal"]


def listening_sockets(port: int) -> int:
    """Return how many sockets listen on this port, on any address (Linux)."""
    wanted = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return len([row for row in rows if row[1].endswith(wanted) and row[3] == "0A"])


def alive(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
