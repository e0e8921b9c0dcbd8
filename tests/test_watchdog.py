"""How late the reactor is: measured ten times a second, remembered for 10 s, said once per 10 s."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from audiosocket.watchdog import BUCKETS_MS, UNHEALTHY, Watchdog


class Reactor(Clock):
    """Runs on time, but for the stalls it is given."""

    def run(self, seconds: float) -> None:
        self.pump([0.1] * round(seconds * 10))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged about blocking."""
    seen: list[str] = []

    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if "reactor was blocked" in text:
            seen.append(text)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


def watched() -> tuple[Reactor, Watchdog]:
    reactor = Reactor()
    watchdog = Watchdog(reactor, reactor.seconds)
    watchdog.startService()
    return reactor, watchdog


def test_a_reactor_on_time_is_never_late() -> None:
    reactor, watchdog = watched()
    reactor.run(30)
    assert watchdog.worst == pytest.approx(0, abs=1e-6)
    assert watchdog.recent_worst <= UNHEALTHY
    assert sum(watchdog.buckets) == pytest.approx(300, abs=2)
    assert watchdog.buckets[0] == sum(watchdog.buckets)


def test_a_stall_is_measured_and_forgotten_after_10_s() -> None:
    reactor, watchdog = watched()
    reactor.run(1)
    reactor.advance(0.1 + 1.5)
    assert watchdog.recent_worst == pytest.approx(1.5, abs=0.01)
    reactor.run(9.8)
    assert watchdog.recent_worst == pytest.approx(1.5, abs=0.01)
    reactor.run(0.5)
    assert watchdog.recent_worst == pytest.approx(0, abs=1e-6)
    assert watchdog.worst == pytest.approx(1.5, abs=0.01)


def test_each_lateness_is_counted_under_the_first_bound_that_holds_it() -> None:
    reactor, watchdog = watched()
    lates = [0.0005, 0.0015, 0.004, 0.007, 0.015, 0.03, 0.07, 0.15, 0.3, 0.7, 5.0]
    for late in lates:
        reactor.advance(0.1 + late)
    assert watchdog.buckets == [1] * 11
    assert len(BUCKETS_MS) == 10


def test_what_the_api_shows() -> None:
    reactor, watchdog = watched()
    reactor.advance(0.1 + 0.123)
    reactor.run(0.5)
    shown = watchdog.as_json()
    assert shown["lag_ms_worst"] == shown["lag_ms_worst_10s"] == 123.0
    assert shown["lag_histogram"]["le_200_ms"] == 1
    assert list(shown["lag_histogram"]) == [f"le_{bound}_ms" for bound in BUCKETS_MS] + ["more"]
    assert sum(shown["lag_histogram"].values()) == sum(watchdog.buckets)


def test_before_the_first_measurement_nothing_is_late() -> None:
    shown = Watchdog(Reactor(), Reactor().seconds).as_json()
    assert shown["lag_ms_worst"] == shown["lag_ms_worst_10s"] == 0


def test_stalls_are_said_once_in_10_s(lines: list[str]) -> None:
    reactor, _ = watched()
    for _ in range(5):
        reactor.advance(0.1 + 0.4)
    assert len(lines) == 1
    assert "400 ms" in lines[0]
    reactor.run(10)
    reactor.advance(0.1 + 0.2)
    assert len(lines) == 1, "200 ms are not worth a line"
    reactor.advance(0.1 + 0.3)
    assert len(lines) == 2


def test_a_stopped_watchdog_leaves_no_timer_and_can_start_again() -> None:
    reactor, watchdog = watched()
    reactor.run(1)
    watchdog.stopService()
    assert reactor.getDelayedCalls() == []
    reactor.advance(60)
    watchdog.startService()
    reactor.run(1)
    assert watchdog.recent_worst == pytest.approx(0, abs=1e-6), "the time it did not run is not a stall"
    watchdog.stopService()
    assert reactor.getDelayedCalls() == []


def test_one_that_never_started_stops() -> None:
    reactor = Reactor()
    Watchdog(reactor, reactor.seconds).stopService()
    assert reactor.getDelayedCalls() == []
