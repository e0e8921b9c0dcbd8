"""How late the reactor is: measured fifty times a second, kept for 10 s, each cause logged once."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from audiosocket.runtime.gc_stats import GCStats
from audiosocket.runtime.reactor_lag import (
    BUCKETS_MS,
    INTERVAL_SECONDS,
    MAX_HEALTHY_SECONDS,
    MIN_BLOCK_SECONDS,
    ReactorLagMonitor,
)
from audiosocket.runtime.stack_sampler import Stack, StackFrame, StackSample, StackSampler, waiting_in
from tests.support.loopback_server import reactor
from tests.support.server_process import ServerProcess


class StallingClock(Clock):
    """A clock that runs on time except for the stalls of the test."""

    def run(self, seconds: float) -> None:
        self.pump([INTERVAL_SECONDS] * round(seconds / INTERVAL_SECONDS))

    def stall(self, seconds: float) -> None:
        self.advance(INTERVAL_SECONDS + seconds)


class FakeSampler(StackSampler):
    """Returns the sample that the test has set, once."""

    def __init__(self) -> None:
        super().__init__()
        self.sample = StackSample(None, 0)
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def beat(self, next_in: float) -> StackSample:
        assert next_in == INTERVAL_SECONDS
        sample, self.sample = self.sample, StackSample(None, 0)
        return sample


def stack(*functions: str) -> Stack:
    return tuple(StackFrame("shop.till", function, "till.py", 7) for function in functions)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Return the log lines about blocking."""
    seen: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if "callers heard a gap" in text:
            seen.append(text)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


started: list[ReactorLagMonitor] = []


def start_monitor(sampler: StackSampler | None = None) -> tuple[StallingClock, ReactorLagMonitor]:
    reactor = StallingClock()
    monitor = ReactorLagMonitor(reactor, reactor.seconds, sampler)
    monitor.startService()
    started.append(monitor)
    reactor.advance(0)
    return reactor, monitor


@pytest.fixture(autouse=True)
def stopped_monitors() -> Iterator[None]:
    """Stop every monitor: it is called by the garbage collector of this process until then."""
    yield
    while started:
        started.pop().stopService()
    assert not [callback for callback in gc.callbacks if isinstance(getattr(callback, "__self__", None), GCStats)]


def test_a_reactor_on_time_is_never_late() -> None:
    reactor, monitor = start_monitor()
    reactor.run(30)
    assert monitor.worst == pytest.approx(0, abs=1e-6)
    assert monitor.recent_worst <= MAX_HEALTHY_SECONDS
    assert sum(monitor.buckets) == pytest.approx(30 / INTERVAL_SECONDS, abs=2)
    assert monitor.buckets[0] == sum(monitor.buckets)


def test_a_stall_counts_for_10_s() -> None:
    reactor, monitor = start_monitor()
    reactor.run(1)
    reactor.stall(1.5)
    assert monitor.recent_worst == pytest.approx(1.5, abs=0.01)
    reactor.run(9.8)
    assert monitor.recent_worst == pytest.approx(1.5, abs=0.01)
    reactor.run(0.5)
    assert monitor.recent_worst == pytest.approx(0, abs=1e-6)
    assert monitor.worst == pytest.approx(1.5, abs=0.01)


def test_each_lateness_is_counted_under_the_smallest_bound_that_contains_it() -> None:
    reactor, monitor = start_monitor()
    lates = [0.0005, 0.0015, 0.004, 0.007, 0.015, 0.03, 0.07, 0.15, 0.3, 0.7, 5.0]
    for late in lates:
        reactor.stall(late)
    assert monitor.buckets == [1] * 11
    assert len(BUCKETS_MS) == 10


def test_to_json_has_the_worst_lateness_and_the_histogram() -> None:
    reactor, monitor = start_monitor()
    reactor.stall(0.123)
    reactor.run(0.5)
    shown = monitor.to_json()
    assert shown["lag_ms_worst"] == shown["lag_ms_worst_10s"] == 123.0
    assert shown["lag_histogram"]["le_200_ms"] == 1
    assert list(shown["lag_histogram"]) == [f"le_{bound}_ms" for bound in BUCKETS_MS] + ["more"]
    assert sum(shown["lag_histogram"].values()) == sum(monitor.buckets)
    assert (shown["blocked_times"], shown["blocked_by"], shown["stood_still_times"]) == (0, [], 0)


def test_before_the_first_measurement_nothing_is_late() -> None:
    shown = ReactorLagMonitor(StallingClock(), StallingClock().seconds).to_json()
    assert shown["lag_ms_worst"] == shown["lag_ms_worst_10s"] == 0


def test_the_time_before_the_reactor_runs_is_not_measured() -> None:
    reactor = StallingClock()
    monitor = ReactorLagMonitor(reactor, reactor.seconds)
    monitor.startService()
    started.append(monitor)
    reactor.advance(3)
    reactor.run(1)
    assert monitor.worst == pytest.approx(0, abs=1e-6)


def test_stalls_without_a_known_cause_are_logged_once_in_10_s(lines: list[str]) -> None:
    reactor, _ = start_monitor()
    for _ in range(5):
        reactor.stall(0.4)
    assert len(lines) == 1
    assert "400 ms" in lines[0]
    reactor.run(10)
    reactor.stall(0.2)
    assert len(lines) == 1, "200 ms are not logged"
    reactor.stall(0.3)
    assert len(lines) == 2


def test_a_cause_is_logged_once_and_counted_from_then_on(lines: list[str]) -> None:
    sampler = FakeSampler()
    reactor, monitor = start_monitor(sampler)
    for late in (0.06, 0.4, 0.05):
        sampler.sample = StackSample(stack("sell", "open_till", "serve"), 0)
        reactor.stall(late)
    assert len(lines) == 1
    assert "shop.till:sell:7 blocked the reactor for about 70 ms" in lines[0]
    assert "shop.till:sell:7 < shop.till:open_till:7 < shop.till:serve:7" in lines[0]
    assert "thread" in lines[0], "the line says what to do"
    sampler.sample = StackSample(stack("count", "close_till"), 0)
    reactor.stall(0.06)
    assert len(lines) == 2
    shown = monitor.to_json()
    assert shown["blocked_times"] == 4
    assert shown["blocked_by"] == [
        {"where": "shop.till:sell:7", "times": 3, "worst_ms": 410},
        {"where": "shop.till:count:7", "times": 1, "worst_ms": 70},
    ]


def test_a_little_lateness_has_no_cause(lines: list[str]) -> None:
    sampler = FakeSampler()
    reactor, monitor = start_monitor(sampler)
    sampler.sample = StackSample(stack("sell"), 0)
    reactor.stall(MIN_BLOCK_SECONDS - 0.005)
    assert lines == []
    assert monitor.blocking.times == 0


def test_time_in_which_the_process_was_not_run_is_not_counted_for_a_cause(lines: list[str]) -> None:
    sampler = FakeSampler()
    reactor, monitor = start_monitor(sampler)
    for late in (0.1, 2.0, 2.0):
        sampler.sample = StackSample(stack("sell"), late)
        reactor.stall(late)
    assert [line.split(":")[0] for line in lines] == ["the process was not run for 2000 ms"]
    assert monitor.to_json()["stood_still_times"] == 3
    assert monitor.blocking.times == 0
    # Two thirds of this time it did run, and was blocked.
    sampler.sample = StackSample(stack("sell"), 0.1)
    reactor.stall(0.3)
    assert monitor.blocking.times == 1


def test_a_stopped_monitor_leaves_no_timer_and_can_start_again() -> None:
    sampler = FakeSampler()
    reactor, monitor = start_monitor(sampler)
    reactor.run(1)
    assert sampler.running
    monitor.stopService()
    assert not sampler.running
    assert reactor.getDelayedCalls() == []
    reactor.advance(60)
    monitor.startService()
    reactor.run(1)
    assert monitor.recent_worst == pytest.approx(0, abs=1e-6), "the time while it was stopped is not a stall"
    monitor.stopService()
    assert reactor.getDelayedCalls() == []


def test_a_monitor_that_was_not_started_can_be_stopped() -> None:
    reactor = StallingClock()
    ReactorLagMonitor(reactor, reactor.seconds, StackSampler()).stopService()
    assert reactor.getDelayedCalls() == []


async def test_a_function_that_blocks_a_real_reactor_is_named(lines: list[str]) -> None:
    def block_the_reactor() -> None:
        threading.Event().wait(0.3)

    monitor = ReactorLagMonitor(reactor, reactor.seconds, StackSampler(waiting_in(reactor)))
    monitor.startService()
    try:
        for _ in range(2):
            await deferLater(reactor, 0.1)
            block_the_reactor()
            await deferLater(reactor, 0.1)
    finally:
        monitor.stopService()
    (logged,) = [line for line in lines if f"{__name__}:block_the_reactor:" in line]
    assert "blocked the reactor for about" in logged
    assert monitor.to_json()["blocked_times"] >= 2


def test_a_server_that_was_suspended_counts_no_cause(tmp_path: Path) -> None:
    pause = threading.Event()
    with ServerProcess(tmp_path) as server:
        assert server.process is not None
        before = server.api("/api/status")["reactor"]
        server.process.send_signal(signal.SIGSTOP)
        pause.wait(0.6)
        server.process.send_signal(signal.SIGCONT)
        pause.wait(0.2)
        after = server.api("/api/status")["reactor"]
        assert after["stood_still_times"] > before["stood_still_times"]
        assert after["blocked_times"] == before["blocked_times"]
        assert "the process was not run for" in server.log()
        assert after["gc"]["frozen_objects"] > 10_000, "the objects of the start are frozen"
