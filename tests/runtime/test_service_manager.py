"""The messages for systemd, on a real datagram socket, with a clock moved by hand."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from audiosocket.runtime.service_manager import ServiceManagerMessages, messages_for, watchdog_seconds


class Manager:
    """The other end of ``NOTIFY_SOCKET``, and the state of a server."""

    def __init__(self, address: str, bound: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(bound)
        self.clock = Clock()
        self.ready, self.ending, self.status = False, "", "0 calls"
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}
        found = messages_for(
            environment,
            self.clock,
            ready=lambda: self.ready,
            ending=lambda: self.ending,
            status=lambda: self.status,
        )
        assert found is not None
        self.messages: ServiceManagerMessages = found

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.1] * round(seconds * 10))

    def received(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(1_000).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    abstract = f"audiosocket-test-{os.getpid()}"
    one = Manager(path, path) if request.param == "file" else Manager(f"@{abstract}", f"\0{abstract}")
    one.messages.startService()
    yield one
    if one.messages.running:
        one.messages.stopService()
    one.socket.close()


def test_ready_is_sent_once_when_the_ports_are_open(manager: Manager) -> None:
    manager.wait(2)
    assert "READY=1" not in manager.received()
    manager.ready = True
    manager.wait(5)
    assert manager.received().count("READY=1") == 1


def test_the_status_is_sent_when_it_changes_as_one_line(manager: Manager) -> None:
    manager.wait(3)
    manager.status = "3 calls;\nthe database is away"
    manager.wait(3)
    statuses = [text for text in manager.received() if text.startswith("STATUS=")]
    assert statuses == ["STATUS=0 calls", "STATUS=3 calls; the database is away"]


def test_the_watchdog_is_fed_only_while_the_reactor_is_on_time(manager: Manager) -> None:
    manager.wait(8)
    assert 7 <= manager.received().count("WATCHDOG=1") <= 9, "every second, for a limit of 4 s"
    for _ in range(8):
        manager.clock.advance(1.2)  # each time 0.7 s late
    assert "WATCHDOG=1" not in manager.received()
    manager.wait(0.6)
    assert manager.received() == ["WATCHDOG=1"]


def test_a_drain_is_a_stop_and_is_watched_until_the_end(manager: Manager) -> None:
    manager.ready, manager.ending = True, "draining"
    manager.wait(3)
    received = manager.received()
    assert received.count("STOPPING=1") == 1
    assert "STATUS=draining, 0 calls" in received
    assert received.count("WATCHDOG=1") >= 3
    assert "READY=1" not in received
    manager.messages.stopService()
    assert manager.received() == []
    assert not manager.clock.getDelayedCalls()


def test_a_manager_that_is_gone_disturbs_nothing(manager: Manager) -> None:
    manager.socket.close()
    manager.wait(5)
    manager.messages.stopService()


def test_without_a_socket_there_are_no_messages() -> None:
    nothing = messages_for({}, Clock(), ready=lambda: True, ending=lambda: "", status=lambda: "")
    assert nothing is None


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_time_of_the_watchdog(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environment, 7) == seconds
