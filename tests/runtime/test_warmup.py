"""What is loaded once the ports are open: not before, once, and a failure is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from audiosocket.runtime.warmup import LOOK_SECONDS, Warmup
from tests.support.logged_failures import LoggedFailures


class Start:
    """A start that the test drives."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.listening = False
        self.threads: list[Deferred[Any]] = []
        self.settled = 0
        self.service = Warmup(self.clock, lambda: self.listening, self._thread, self._load, self._then)
        self.service.startService()

    def _thread(self, work: Callable[[], None]) -> Deferred[Any]:
        assert work == self._load
        self.threads.append(Deferred())
        return self.threads[-1]

    def _load(self) -> None:
        raise AssertionError("on the reactor's thread")

    def _then(self) -> None:
        self.settled += 1


def test_it_waits_for_the_ports_and_loads_once() -> None:
    start = Start()
    start.clock.pump([LOOK_SECONDS] * 50)
    assert start.threads == []
    start.listening = True
    start.clock.pump([LOOK_SECONDS] * 50)
    assert len(start.threads) == 1
    assert start.settled == 0
    start.threads[0].callback(None)
    assert start.settled == 1
    assert start.clock.getDelayedCalls() == []


@pytest.mark.parametrize("listening", [True, False])
def test_a_stop_leaves_nothing(listening: bool) -> None:
    start = Start()
    start.listening = listening
    start.clock.advance(LOOK_SECONDS)
    start.service.stopService()
    assert start.clock.getDelayedCalls() == []
    for thread in start.threads:
        thread.callback(None)
    assert start.settled == 0, "the process is about to end"


def test_a_broken_installation_is_said(logged_failures: LoggedFailures) -> None:
    start = Start()
    start.listening = True
    start.clock.advance(LOOK_SECONDS)
    start.threads[0].errback(ImportError("no soxr"))
    (event,) = logged_failures.flush(ImportError)
    assert "install" in event["log_format"]
    assert start.settled == 0
