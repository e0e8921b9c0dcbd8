"""A disk that takes nothing more costs no call, is shown while it lasts, and no longer."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from twisted.internet.threads import deferToThread

from tests.support.loopback_server import until
from tests.support.ports import free_ports
from tests.support.server_calls import all_up, hang_up
from tests.support.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.deadline(60)]


@contextmanager
def full_disk(server: ServerProcess) -> Iterator[None]:
    """Let no file of the server grow: what a write then raises is handled as that of a full disk is."""
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


def troubles(server: ServerProcess) -> set[str]:
    return {entry["what"] for entry in server.api("/api/status")["storage"]}


async def test_a_full_disk_costs_no_call_and_is_shown_until_it_is_over(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, app="play+echo") as server:
        before = await all_up(server.visitor, [uuid4()])
        assert troubles(server) == set()
        with full_disk(server):
            meanwhile = await all_up(server.visitor, [uuid4()])
            port = free_ports(1)[0]
            await deferToThread(server.request, "/api/extensions", {"ramal_ia": "7", "porta_ia": port})
            await until(lambda: {"log", "journal"} <= troubles(server))
            status, probe = await deferToThread(server.request, "/readyz")
            assert status == 200
            assert "log: " in probe["storage"]
            assert "journal: " in probe["storage"]
            problems = (await deferToThread(server.api, "/api/problems"))["problems"]
            assert {"log", "journal"} <= {each["values"].get("file") for each in problems}
        for caller in [*before, *meanwhile]:
            await caller.until_heard(len(caller.heard) + 3200)
        await hang_up([*before, *meanwhile])
        after = await all_up(server.visitor, [uuid4()])
        await until(lambda: not troubles(server) & {"log", "journal"})
        assert (await deferToThread(server.request, "/readyz"))[0] == 200
        await hang_up(after)


async def test_a_log_directory_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        shutil.rmtree(tmp_path / "logs")
        assert troubles(server) == set()
        callers = await all_up(server.visitor, [uuid4()])
        await hang_up(callers)
        await until(lambda: str(callers[0].call_id) in server.log())


async def test_a_log_directory_that_cannot_be_made_is_shown(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        shutil.rmtree(tmp_path / "logs")
        (tmp_path / "logs").write_text("in the way")
        assert troubles(server) == {"log"}
        await hang_up(await all_up(server.visitor, [uuid4()]))
        (tmp_path / "logs").unlink()
        assert troubles(server) == set()
