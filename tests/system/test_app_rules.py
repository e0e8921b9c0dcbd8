"""``apps.toml`` of a running server, alone and with several workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from tests.support.loopback_server import LOOPBACK, reactor, until
from tests.support.server_process import ServerProcess

TONE = b"\x12\x34" * 160


@contextmanager
def running(directory: Path, workers: int) -> Iterator[ServerProcess]:
    with ServerProcess(directory, {"WORKERS": str(workers)}, app="echo") as server:
        yield server


def write(server: ServerProcess, text: str) -> None:
    path = server.directory / "data" / "apps.toml"
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


async def echoes(server: ServerProcess) -> bool:
    """Whether a new call hears itself."""
    caller = Caller(reactor)
    await caller.dial(LOOPBACK, server.visitor)
    caller.say(TONE * 25)
    await caller.until_heard(320 * 40)
    caller.hang_up()
    await caller.ended
    return TONE in caller.heard


async def until_echoing(server: ServerProcess, echoing: bool) -> None:
    """Wait until four calls in a row, which several workers share, run the app that is wanted."""
    while [await echoes(server) for _ in range(4)] != [echoing] * 4:
        pass


async def until_rejected(server: ServerProcess) -> dict[str, Any]:
    """The state of the file, once it is known to be wrong."""
    while (found := (await deferToThread(server.api, "/api/status"))["apps"])["state"] != "rejected":
        await deferLater(reactor, 0.1)
    return dict(found)


@pytest.mark.deadline(120)
@pytest.mark.parametrize("workers", [1, 2])
async def test_rules_are_hot_and_a_wrong_file_changes_nothing(tmp_path: Path, workers: int) -> None:
    with running(tmp_path, workers) as server:
        await until_echoing(server, True)
        write(server, '[extension."1000"]\nvisitor = "silence"\n')
        await until_echoing(server, False)
        shown = await deferToThread(server.api, "/api/extensions/1/apps")
        assert (shown["visitor"]["app"], shown["visitor"]["from"]) == ("silence", "extension 1000")
        write(server, '[extension."1000"]\nvisitor = "silent"\n')
        assert (await until_rejected(server))["line"] == 2
        await until(lambda: "cannot be used, line 2" in server.log())
        assert [await echoes(server) for _ in range(4)] == [False] * 4
        assert server.log().count("cannot be used, line 2") == 1
