"""File descriptors that run out: the reserve is given up, ports pause and go on by themselves; few log lines."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock as Time

from audiosocket.transport import open_files
from audiosocket.transport.accept_gate import LOG_SECONDS, RETRY_SECONDS, AcceptGate
from audiosocket.transport.open_files import RESERVED, DescriptorReserve
from tests.support.loopback_server import CapturedLog

NO_MORE = OSError(errno.EMFILE, "Too many open files")


class WaitingPort:
    """A port that counts how often it was told to go on."""

    def __init__(self) -> None:
        self.went_on = 0

    def go_on(self) -> None:
        self.went_on += 1


class Reserve(DescriptorReserve):
    """A reserve that can be filled while ``free`` is true."""

    def __init__(self) -> None:
        super().__init__()
        self.free = True
        self.held = False

    def fill(self) -> bool:
        self.held = self.free
        return self.free

    def give_up(self) -> None:
        self.held = False


@pytest.fixture
def heard() -> Iterator[CapturedLog]:
    log = CapturedLog()
    yield log
    log.close()


def test_the_reserve_is_open_descriptors() -> None:
    before = open_files.used()
    reserve = DescriptorReserve()
    assert reserve.fill()
    assert reserve.fill()
    assert reserve.is_full
    assert open_files.used() == before + RESERVED
    reserve.give_up()
    assert open_files.used() == before


def test_a_reserve_that_cannot_be_filled_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_files.used()
    reserve = DescriptorReserve()
    opened: list[int] = []
    really_open = os.open

    def few(path: str, flags: int) -> int:
        if len(opened) == RESERVED:  # the last one would leave none free
            raise NO_MORE
        opened.append(really_open(path, flags))
        return opened[-1]

    monkeypatch.setattr(os, "open", few)
    assert not reserve.fill()
    assert len(opened) == RESERVED
    assert open_files.used() == before


def test_a_paused_port_goes_on_when_the_reserve_can_be_filled(heard: CapturedLog) -> None:
    time, reserve, port = Time(), Reserve(), WaitingPort()
    gate = AcceptGate(time, reserve)
    gate.start()
    assert reserve.held
    gate.pause(port, NO_MORE)
    assert gate.paused
    assert not reserve.held
    reserve.free = False
    for _ in range(10):
        time.advance(RETRY_SECONDS)
    assert port.went_on == 0
    reserve.free = True
    time.advance(RETRY_SECONDS)
    assert port.went_on == 1
    assert not gate.paused
    assert reserve.held
    assert len(heard.containing("no connection can be accepted")) == 1
    assert len(heard.containing("connections are accepted")) == 1
    gate.stop()
    assert not reserve.held
    assert not time.getDelayedCalls()


def test_pauses_one_after_the_other_are_logged_every_10_s_at_most(heard: CapturedLog) -> None:
    time = Time()
    gate = AcceptGate(time, Reserve())
    pauses = int(3 * LOG_SECONDS / RETRY_SECONDS)
    for _ in range(pauses):
        gate.pause(WaitingPort(), NO_MORE)
        time.advance(RETRY_SECONDS)
    assert gate.pauses_total == pauses
    assert 3 <= len(heard.containing("no connection can be accepted")) <= 4
    assert 3 <= len(heard.containing("connections are accepted")) <= 4


def test_all_ports_of_a_process_pause_with_one_line(heard: CapturedLog) -> None:
    time, reserve, ports = Time(), Reserve(), [WaitingPort() for _ in range(5)]
    gate = AcceptGate(time, reserve)
    for port in ports:
        gate.pause(port, NO_MORE)
    assert len(heard.containing("no connection can be accepted")) == 1
    time.advance(RETRY_SECONDS)
    assert [port.went_on for port in ports] == [1] * 5


def test_a_start_without_enough_descriptors_fills_the_reserve_later() -> None:
    time, reserve = Time(), Reserve()
    reserve.free = False
    gate = AcceptGate(time, reserve)
    gate.start()
    assert not gate.paused
    reserve.free = True
    time.advance(RETRY_SECONDS)
    assert reserve.held
    gate.stop()
