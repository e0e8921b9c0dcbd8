"""`Succession`: nothing starts while another process has the journals, for a limited time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from audiosocket.calls.journal_lock import lock, locked_by_others, owner_of
from audiosocket.server.succession import LOOK_SECONDS, Succession
from tests.support.loopback_server import CapturedLog


@pytest.fixture
def heard() -> Iterator[CapturedLog]:
    log = CapturedLog()
    yield log
    log.close()


class Start:
    """A start that is waited for."""

    def __init__(self, directory: Path, limit: float = 15) -> None:
        self.clock = Clock()
        self.order: list[str] = []
        self.succession = Succession(directory, self.clock, limit, lambda: self.order.append("prepared"))
        self.succession.begin(lambda: self.order.append("started"))

    def wait(self, seconds: float) -> None:
        self.clock.pump([LOOK_SECONDS] * round(seconds / LOOK_SECONDS))


def test_alone_it_starts_at_once(tmp_path: Path, heard: CapturedLog) -> None:
    (tmp_path / "calls.journal").write_bytes(b"")
    start = Start(tmp_path)
    assert start.order == ["prepared", "started"]
    assert not start.clock.getDelayedCalls()
    assert not start.succession.cancel()
    assert not heard


@pytest.mark.parametrize("name", ["calls.journal", "calls.1of2.journal"])
def test_it_waits_for_the_process_that_has_a_journal(tmp_path: Path, name: str, heard: CapturedLog) -> None:
    handle = lock(tmp_path / name)
    start = Start(tmp_path)
    start.wait(10)
    assert start.order == []
    assert len(heard) == 1
    assert f"process {os.getpid()} has the calls in {tmp_path}" in heard[0][1]
    assert "at most 15 s" in heard[0][1]
    os.close(handle)
    start.wait(LOOK_SECONDS)
    assert start.order == ["prepared", "started"]
    assert "gone after 10" in heard[1][1]
    assert not start.clock.getDelayedCalls()


def test_it_waits_for_a_limited_time_and_says_so(tmp_path: Path, heard: CapturedLog) -> None:
    handle = lock(tmp_path / "calls.journal")
    start = Start(tmp_path, limit=2)
    start.wait(2.1)
    assert start.order == ["prepared", "started"]
    assert "still has the calls" in heard[1][1]
    assert "its own DATA_DIR" in heard[1][1]
    os.close(handle)


def test_a_stop_while_it_waits_starts_nothing(tmp_path: Path) -> None:
    handle = lock(tmp_path / "calls.journal")
    start = Start(tmp_path)
    assert start.succession.cancel()
    os.close(handle)
    start.wait(1)
    assert start.order == []
    assert not start.clock.getDelayedCalls()


def test_two_processes_that_look_do_not_take_each_other_for_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    path.write_bytes(b"")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not list(locked_by_others([path, tmp_path / "missing"]))
        assert owner_of(tmp_path / "missing") is None
