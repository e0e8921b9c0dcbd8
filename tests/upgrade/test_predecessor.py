"""The old process: it keeps everything until the next one has begun, whatever that does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import pytest
from twisted.internet.defer import DeferredLock

from audiosocket.runtime.file_thread import FileThread
from audiosocket.upgrade.predecessor import NextProcess, Upgrade
from tests.support.logged_events import LoggedEvents
from tests.support.loopback_server import reactor, until

#: A successor in a few lines: it says that it is ready, and reads what it is given.
SUCCESSOR = """
import socket
s = socket.socket(fileno=3)
s.send(b"ready")
while s.recv(70000) != b"e": pass
"""
TAKES_OVER = SUCCESSOR + 's.send(b"taken"); assert s.recv(100) == b"begin"; s.send(b"done")'


class Old:
    """A process that would end."""

    def __init__(self, program: str, *, start_seconds: float = 60.0, ending: str = "") -> None:
        self.left = 0
        self.notified: list[str] = []
        self.ending = ending
        self.upgrade = Upgrade(
            NextProcess([sys.executable, "-c", program], {}),
            cast("Any", reactor),
            save=self._save,
            lock=DeferredLock(),
            files=FileThread(reactor),
            ending=lambda: self.ending,
            leave=self._leave,
            start_seconds=start_seconds,
        )
        self.upgrade.startService()
        self.upgrade.notify = lambda what, pid: self.notified.append(what)

    def _save(self, descriptors: list[int]) -> Mapping[str, Any]:
        descriptors.append(0)
        return {"calls": ["x" * 100_000]}

    def _leave(self) -> None:
        self.left += 1


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import socket; socket.socket(fileno=3).send(b'no: MAX_CALLS is wrong'); input()", "MAX_CALLS is wrong"),
        (SUCCESSOR + 's.send(b"no: another DATA_DIR"); input()', "cannot take over: another DATA_DIR"),
        (SUCCESSOR, "could not be given the calls: the other process is gone"),
    ],
)
@pytest.mark.deadline(120)
async def test_a_next_process_that_fails_changes_nothing(program: str, why: str) -> None:
    old = Old(program)
    with LoggedEvents() as logged:
        old.upgrade.begin()
        await until(lambda: "nothing has changed" in logged.text)
    assert why in logged.text
    assert (old.left, old.notified) == (0, ["starting", "failed"])


@pytest.mark.deadline(60)
async def test_a_next_process_that_hangs_is_killed() -> None:
    old = Old("import time; time.sleep(600)", start_seconds=0.3)
    with LoggedEvents() as logged:
        old.upgrade.begin()
        old.upgrade.begin()
        await until(lambda: "nothing has changed" in logged.text)
    assert "was not ready within 0.3 s" in logged.text
    assert "an upgrade is under way already" in logged.text
    assert old.left == 0


@pytest.mark.deadline(60)
async def test_once_the_next_process_has_begun_this_one_leaves() -> None:
    old = Old(TAKES_OVER)
    with LoggedEvents() as logged:
        old.upgrade.begin()
        await until(lambda: bool(old.left))
    assert "has taken over" in logged.text
    assert (old.left, old.notified) == (1, ["starting", "leaving"])


@pytest.mark.deadline(60)
async def test_a_stop_kills_the_next_process() -> None:
    old = Old("import time; time.sleep(600)")
    with LoggedEvents() as logged:
        old.upgrade.begin()
        old.upgrade.stopService()
    assert "was stopped together with this one; nothing has changed" in logged.text


def test_a_process_that_stops_begins_no_upgrade() -> None:
    old = Old("", ending="draining")
    with LoggedEvents() as logged:
        old.upgrade.begin()
    assert "no upgrade: the server is stopping" in logged.text
    assert old.notified == []


@pytest.mark.deadline(60)
async def test_a_request_before_the_process_has_started_is_not_forgotten() -> None:
    old = Old(TAKES_OVER)
    old.upgrade.stopService()
    old.upgrade.begin()
    assert old.notified == []
    old.upgrade.startService()
    await until(lambda: bool(old.left))
    assert old.notified == ["starting", "leaving"]
