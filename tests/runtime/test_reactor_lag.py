"""How late the reactor is: measured fifty times a second, remembered for 10 s, each cause said once."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor as real_reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from audiosocket.runtime.gc_stats import GCStats
from audiosocket.runtime.reactor_lag import BUCKETS_MS, EVERY_SECONDS, UNHEALTHY, WORTH_A_CAUSE, ReactorLagMonitor
from audiosocket.runtime.stack_sampler import Stack, StackFrame, StackSample, StackSampler, waiting_in
from tests.support.server_process import ServerProcess


class Reactor(Clock):
    """Runs on time, but for the stalls it is given."""

    def run(self, seconds: float) -> None:
        self.pump([EVERY_SECONDS] * round(seconds / EVERY_SECONDS))

    def stall(self, seconds: float) -> None:
        self.advance(EVERY_SECONDS + seconds)


class Told(StackSampler):
    """Saw what the test says, once."""

    def __init__(self) -> None:
        super().__init__()
        self.sighting = StackSample(None, 0)
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def beat(self, next_in: float) -> StackSample:
        assert next_in == EVERY_SECONDS
        seen, self.sighting = self.sighting, StackSample(None, 0)
        return seen


def stack(*functions: str) -> Stack:
    return tuple(StackFrame("shop.till", function, "till.py", 7) for function in functions)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged about blocking."""
    seen: list[str] = []

    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if "callers heard a gap" in text:
            seen.append(text)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


started: list[ReactorLagMonitor] = []


def watched(watch: StackSampler | None = None) -> tuple[Reactor, ReactorLagMonitor]:
    reactor = Reactor()
    watchdog = ReactorLagMonitor(reactor, reactor.seconds, watch)
    watchdog.startService()
    started.append(watchdog)
    reactor.advance(0)
    return reactor, watchdog


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Each watchdog hangs on the garbage collector of this process until it is stopped."""
    yield
    while started:
        started.pop().stopService()
    assert not [callback for callback in gc.callbacks if isinstance(getattr(callback, "__self__", None), GCStats)]


def test_a_reactor_on_time_is_never_late() -> None:
    reactor, watchdog = watched()
    reactor.run(30)
    assert watchdog.worst == pytest.approx(0, abs=1e-6)
    assert watchdog.recent_worst <= UNHEALTHY
    assert sum(watchdog.buckets) == pytest.approx(30 / EVERY_SECONDS, abs=2)
    assert watchdog.buckets[0] == sum(watchdog.buckets)


def test_a_stall_is_measured_and_forgotten_after_10_s() -> None:
    reactor, watchdog = watched()
    reactor.run(1)
    reactor.stall(1.5)
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
        reactor.stall(late)
    assert watchdog.buckets == [1] * 11
    assert len(BUCKETS_MS) == 10


def test_what_the_api_shows() -> None:
    reactor, watchdog = watched()
    reactor.stall(0.123)
    reactor.run(0.5)
    shown = watchdog.to_json()
    assert shown["lag_ms_worst"] == shown["lag_ms_worst_10s"] == 123.0
    assert shown["lag_histogram"]["le_200_ms"] == 1
    assert list(shown["lag_histogram"]) == [f"le_{bound}_ms" for bound in BUCKETS_MS] + ["more"]
    assert sum(shown["lag_histogram"].values()) == sum(watchdog.buckets)
    assert (shown["blocked_times"], shown["blocked_by"], shown["stood_still_times"]) == (0, [], 0)


def test_before_the_first_measurement_nothing_is_late() -> None:
    shown = ReactorLagMonitor(Reactor(), Reactor().seconds).to_json()
    assert shown["lag_ms_worst"] == shown["lag_ms_worst_10s"] == 0


def test_what_happens_before_the_reactor_runs_is_not_late() -> None:
    reactor = Reactor()
    watchdog = ReactorLagMonitor(reactor, reactor.seconds)
    watchdog.startService()
    started.append(watchdog)
    reactor.advance(3)
    reactor.run(1)
    assert watchdog.worst == pytest.approx(0, abs=1e-6)


def test_stalls_without_a_cause_are_said_once_in_10_s(lines: list[str]) -> None:
    reactor, _ = watched()
    for _ in range(5):
        reactor.stall(0.4)
    assert len(lines) == 1
    assert "400 ms" in lines[0]
    reactor.run(10)
    reactor.stall(0.2)
    assert len(lines) == 1, "200 ms are not worth a line"
    reactor.stall(0.3)
    assert len(lines) == 2


def test_a_cause_is_said_once_and_counted_from_then_on(lines: list[str]) -> None:
    watch = Told()
    reactor, watchdog = watched(watch)
    for late in (0.06, 0.4, 0.05):
        watch.sighting = StackSample(stack("sell", "open_till", "serve"), 0)
        reactor.stall(late)
    assert len(lines) == 1
    assert "shop.till:sell:7 blocked the reactor for about 70 ms" in lines[0]
    assert "shop.till:sell:7 < shop.till:open_till:7 < shop.till:serve:7" in lines[0]
    assert "thread" in lines[0], "it says what to do"
    watch.sighting = StackSample(stack("count", "close_till"), 0)
    reactor.stall(0.06)
    assert len(lines) == 2
    shown = watchdog.to_json()
    assert shown["blocked_times"] == 4
    assert shown["blocked_by"] == [
        {"where": "shop.till:sell:7", "times": 3, "worst_ms": 410},
        {"where": "shop.till:count:7", "times": 1, "worst_ms": 70},
    ]


def test_a_little_lateness_is_nobodys_fault(lines: list[str]) -> None:
    watch = Told()
    reactor, watchdog = watched(watch)
    watch.sighting = StackSample(stack("sell"), 0)
    reactor.stall(WORTH_A_CAUSE - 0.005)
    assert lines == []
    assert watchdog.causes.times == 0


def test_a_process_that_was_not_run_blames_no_code(lines: list[str]) -> None:
    watch = Told()
    reactor, watchdog = watched(watch)
    for late in (0.1, 2.0, 2.0):
        watch.sighting = StackSample(stack("sell"), late)
        reactor.stall(late)
    assert [line.split(":")[0] for line in lines] == ["the whole process stood still for 2000 ms"]
    assert watchdog.to_json()["stood_still_times"] == 3
    assert watchdog.causes.times == 0
    # Two thirds of this it did run, and was blocked.
    watch.sighting = StackSample(stack("sell"), 0.1)
    reactor.stall(0.3)
    assert watchdog.causes.times == 1


def test_a_stopped_watchdog_leaves_no_timer_and_can_start_again() -> None:
    watch = Told()
    reactor, watchdog = watched(watch)
    reactor.run(1)
    assert watch.running
    watchdog.stopService()
    assert not watch.running
    assert reactor.getDelayedCalls() == []
    reactor.advance(60)
    watchdog.startService()
    reactor.run(1)
    assert watchdog.recent_worst == pytest.approx(0, abs=1e-6), "the time it did not run is not a stall"
    watchdog.stopService()
    assert reactor.getDelayedCalls() == []


def test_one_that_never_started_stops() -> None:
    reactor = Reactor()
    ReactorLagMonitor(reactor, reactor.seconds, StackSampler()).stopService()
    assert reactor.getDelayedCalls() == []


async def test_what_blocks_a_real_reactor_is_named(lines: list[str]) -> None:
    def hold_the_line() -> None:
        threading.Event().wait(0.3)

    watchdog = ReactorLagMonitor(real_reactor, real_reactor.seconds, StackSampler(waiting_in(real_reactor)))
    watchdog.startService()
    try:
        for _ in range(2):
            await deferLater(real_reactor, 0.1)
            hold_the_line()
            await deferLater(real_reactor, 0.1)
    finally:
        watchdog.stopService()
    (said,) = [line for line in lines if f"{__name__}:hold_the_line:" in line]
    assert "blocked the reactor for about" in said
    assert watchdog.to_json()["blocked_times"] >= 2


def test_a_server_that_was_stopped_and_goes_on_blames_no_code(tmp_path: Path) -> None:
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
        assert "the whole process stood still" in server.log()
        assert after["gc"]["frozen_objects"] > 10_000, "settled"
