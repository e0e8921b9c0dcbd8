"""The sources of ticks: the kernel's timer and the reactor's timers use the same grid."""

from __future__ import annotations

import time
from typing import Any

import pytest
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.task import Clock as Time
from twisted.python.failure import Failure

from audiosocket.transport import ticker
from audiosocket.transport.ticker import TICK_MS, Ticker, TimerfdTicker, TimerTicker, make_ticker
from tests.support.loopback_server import reactor, until

needs_timerfd = pytest.mark.skipif(
    not isinstance(make_ticker(reactor, time.monotonic), TimerfdTicker), reason="this system has no timerfd"
)


def slot_now() -> int:
    return int(time.monotonic() * 1000 // TICK_MS)


def make(kind: str) -> Ticker:
    return TimerfdTicker(reactor) if kind == "kernel" else TimerTicker(reactor, time.monotonic)


both = pytest.mark.parametrize("kind", [pytest.param("kernel", marks=needs_timerfd), "timer"])


@both
async def test_ticks_come_in_their_slot_or_later_and_none_twice(kind: str) -> None:
    seen: list[int] = []
    early: list[int] = []
    subject = make(kind)

    def on_tick(slot: int) -> None:
        seen.append(slot)
        if slot > (time.monotonic() * 1000 + 0.01) / TICK_MS:
            early.append(slot)

    before = slot_now()
    subject.start(on_tick)
    await until(lambda: len(seen) >= 20)
    subject.stop()
    count = len(seen)
    assert before < seen[0]
    assert seen == sorted(set(seen))
    assert early == []
    end = slot_now() + 3
    await until(lambda: slot_now() > end)
    assert len(seen) == count


@both
async def test_a_stall_does_not_move_the_grid(kind: str) -> None:
    seen: list[tuple[int, int]] = []
    subject = make(kind)

    def on_tick(slot: int) -> None:
        seen.append((slot, slot_now()))
        if len(seen) == 3:
            end = slot_now() + 12
            while slot_now() < end:
                pass  # the reactor is blocked

    subject.start(on_tick)
    await until(lambda: len(seen) >= 8)
    subject.stop()
    slots = [slot for slot, _ in seen]
    # One tick may stand for several slots, and is never early.
    assert slots == sorted(set(slots))
    assert all(slot <= now for slot, now in seen)
    assert slots[4] - slots[2] >= 11


@both
async def test_a_ticker_can_be_stopped_within_a_tick_and_started_again(kind: str) -> None:
    seen: list[int] = []
    subject = make(kind)

    def once(slot: int) -> None:
        seen.append(slot)
        subject.stop()

    for count in (1, 2):
        subject.start(once)
        await until(lambda count=count: len(seen) >= count)  # type: ignore[misc]
        subject.stop()
    assert len(seen) == 2


@needs_timerfd
async def test_the_kernel_timer_stops_when_the_reactor_stops() -> None:
    subject = TimerfdTicker(reactor)
    subject.start(lambda slot: None)
    assert subject.fileno() >= 0
    assert subject in reactor.getReaders()
    subject.connectionLost(Failure(CONNECTION_LOST))
    assert subject.fileno() == -1
    assert subject not in reactor.getReaders()


def test_without_timerfd_or_a_real_reactor_the_reactors_timers_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = Time()
    assert isinstance(make_ticker(at, at.seconds), TimerTicker)
    assert isinstance(make_ticker(reactor, time.time), TimerTicker)
    monkeypatch.setattr(ticker, "_has_timerfd", lambda: False)
    assert isinstance(make_ticker(reactor, time.monotonic), TimerTicker)


def test_a_failing_timerfd_create_raises_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class FailingLibc:
        def timerfd_create(self, *arguments: Any) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda *a, **k: FailingLibc())
    with pytest.raises(OSError, match="timerfd_create"):
        TimerfdTicker(reactor).start(lambda slot: None)


@needs_timerfd
async def test_a_kept_timer_stays_open_while_it_is_stopped() -> None:
    seen: list[int] = []
    subject = TimerfdTicker(reactor)
    subject.keep_descriptors(True)
    kept = subject.fileno()
    assert kept >= 0
    for count in (3, 6):
        subject.start(seen.append)
        assert subject.fileno() == kept
        await until(lambda count=count: len(seen) >= count)  # type: ignore[misc]
        subject.stop()
        assert subject not in reactor.getReaders()
    subject.keep_descriptors(False)
    assert subject.fileno() == -1
