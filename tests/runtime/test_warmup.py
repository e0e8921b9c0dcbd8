"""What is imported once the ports are open: not earlier, once, and a failure is logged and tried again."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent

from audiosocket.runtime.warmup import CHECK_SECONDS, RETRY_SECONDS, Warmup
from tests.support.logged_events import LoggedEvents
from tests.support.logged_failures import LoggedFailures


class WarmupFixture:
    """A warm-up whose ports and thread the test controls."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.listening = False
        self.threads: list[Deferred[Any]] = []
        self.frozen = 0
        self.service = Warmup(self.clock, lambda: self.listening, self._thread, self._load, self._then)
        self.service.startService()

    def _thread(self, work: Callable[[], None]) -> Deferred[Any]:
        assert work == self._load
        self.threads.append(Deferred())
        return self.threads[-1]

    def _load(self) -> None:
        raise AssertionError("on the reactor's thread")

    def _then(self) -> None:
        self.frozen += 1


def test_it_waits_for_the_ports_and_loads_once() -> None:
    fixture = WarmupFixture()
    fixture.clock.pump([CHECK_SECONDS] * 50)
    assert fixture.threads == []
    fixture.listening = True
    fixture.clock.pump([CHECK_SECONDS] * 50)
    assert len(fixture.threads) == 1
    assert fixture.frozen == 0
    fixture.threads[0].callback(None)
    assert fixture.frozen == 1
    assert fixture.clock.getDelayedCalls() == []


@pytest.mark.parametrize("listening", [True, False])
def test_a_stop_leaves_no_timer(listening: bool) -> None:
    fixture = WarmupFixture()
    fixture.listening = listening
    fixture.clock.advance(CHECK_SECONDS)
    fixture.service.stopService()
    assert fixture.clock.getDelayedCalls() == []
    for thread in fixture.threads:
        thread.callback(None)
    assert fixture.frozen == 0, "the process is going to end"


@pytest.mark.parametrize(
    "why",
    [ImportError("no soxr"), OSError(errno.EMFILE, "Too many open files")],
    ids=lambda why: type(why).__name__,
)
def test_a_module_that_cannot_be_read_is_logged_without_a_traceback(why: Exception) -> None:
    fixture = WarmupFixture()
    fixture.listening = True
    fixture.clock.advance(CHECK_SECONDS)
    with LoggedEvents() as events:
        fixture.threads[0].errback(why)
    (event,) = events
    assert event["log_level"] == LogLevel.error
    assert event.get("log_failure") is None
    assert str(why) in formatEvent(event)
    assert "install audiosocket" in formatEvent(event)
    assert fixture.frozen == 0
    fixture.service.stopService()
    assert fixture.clock.getDelayedCalls() == []


def test_another_fault_of_a_module_is_logged_with_its_traceback(logged_failures: LoggedFailures) -> None:
    fixture = WarmupFixture()
    fixture.listening = True
    fixture.clock.advance(CHECK_SECONDS)
    fixture.threads[0].errback(ZeroDivisionError())
    (event,) = logged_failures.flush(ZeroDivisionError)
    assert "cannot be imported" in formatEvent(event)
    fixture.service.stopService()


def test_what_could_not_be_imported_is_tried_again_and_logged_once() -> None:
    fixture = WarmupFixture()
    fixture.listening = True
    fixture.clock.advance(CHECK_SECONDS)
    with LoggedEvents() as events:
        for number in range(3):
            fixture.threads[number].errback(OSError(errno.EMFILE, "Too many open files"))
            fixture.clock.advance(RETRY_SECONDS)
    assert len(events) == 1
    assert (len(fixture.threads), fixture.frozen) == (4, 0)
    fixture.threads[3].callback(None)
    assert fixture.frozen == 1
    assert fixture.clock.getDelayedCalls() == []
