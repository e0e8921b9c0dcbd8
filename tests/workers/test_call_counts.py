"""Limits on calls that hold over all workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from audiosocket.calls.call_limits import CallLimits, Limits
from audiosocket.workers.call_counts import SHARE_SECONDS, CountsToSupervisor, WorkerCounts

PEER = "192.0.2.1"


class FakeChannel:
    """Keeps what is sent, and passes it to the workers after a turn."""

    def __init__(self, receive: Any) -> None:
        self.full = False
        self.sent = 0
        self._receive = receive

    def notify(self, kind: str, *, numbers: Mapping[str, int], begun: int) -> None:
        assert kind == "counts"
        self.sent += 1
        self._receive(numbers, begun)


class Workers:
    """The limits of two workers, connected as the supervisor does it, without its processes."""

    def __init__(self, limits: Limits) -> None:
        self.clock = Clock()
        self.counts = WorkerCounts(2)
        self.limits = [CallLimits(limits) for _ in range(2)]
        self.channels = [
            FakeChannel(lambda numbers, begun, index=index: self._receive(index, numbers, begun))
            for index in range(2)
        ]
        for channel, own in zip(self.channels, self.limits, strict=True):
            CountsToSupervisor(channel, own.counts, self.clock)  # type: ignore[arg-type]

    def _receive(self, index: int, numbers: Mapping[str, int], begun: int) -> None:
        self.counts.update(index, numbers)
        other = 1 - index
        self.limits[other].learn(self.counts.of_others(other, numbers), begun, self.clock.seconds())

    def begins(self, index: int, extension: int = 0) -> bool:
        """Let a call arrive at a worker; return whether it begins."""
        if self.limits[index].refusal(PEER, extension, self.clock.seconds()):
            return False
        self.limits[index].began(PEER, extension)
        return True


def test_live_calls_of_all_workers_count_for_each() -> None:
    for limits in (Limits(calls=3), Limits(calls_per_peer=3), Limits(calls_per_extension=3)):
        workers = Workers(limits)
        assert [workers.begins(0), workers.begins(0), workers.begins(1)] == [True] * 3
        workers.clock.advance(SHARE_SECONDS)
        assert [workers.begins(0), workers.begins(1)] == [False, False]
        workers.limits[0].ended(PEER, 0)
        workers.clock.advance(SHARE_SECONDS)
        assert workers.begins(1)
        workers.clock.advance(SHARE_SECONDS)
        assert [workers.begins(0), workers.begins(1)] == [False, False]


def test_calls_per_second_of_all_workers_together_stay_at_the_limit() -> None:
    workers = Workers(Limits(calls_per_second=100))
    begun = 0
    for _ in range(1_000):  # each of both is offered 200 calls a second, for 10 s
        begun += sum(workers.begins(index) for index in (0, 0, 1, 1))
        workers.clock.advance(0.01)
    # What both had saved at the start is begun twice at most; the rest is paid back.
    assert 1_000 <= begun <= 100 + 1_000 + 8


def test_a_burst_at_both_workers_before_they_know_of_each_other_is_paid_back() -> None:
    workers = Workers(Limits(calls_per_second=10))
    assert sum(workers.begins(index) for index in (0, 1) for _ in range(20)) == 20
    workers.clock.advance(SHARE_SECONDS)
    begun = 0
    for _ in range(20):
        begun += workers.begins(0) + workers.begins(1)
        workers.clock.advance(0.05)
    assert begun == 0
    for _ in range(40):
        begun += workers.begins(0) + workers.begins(1)
        workers.clock.advance(0.05)
    assert 18 <= begun <= 22


def test_changes_of_a_worker_are_sent_together_and_later_when_nobody_reads() -> None:
    workers = Workers(Limits())
    channel = workers.channels[0]
    for _ in range(50):
        workers.begins(0)
    workers.clock.advance(SHARE_SECONDS)
    assert channel.sent == 1
    channel.full = True
    workers.begins(0)
    workers.clock.advance(SHARE_SECONDS)
    assert channel.sent == 1
    channel.full = False
    workers.clock.advance(SHARE_SECONDS)
    assert channel.sent == 2
    assert workers.limits[1].counts.number("calls") == 51


def test_the_calls_of_a_worker_that_is_gone_no_longer_count() -> None:
    counts = WorkerCounts(3)
    counts.update(0, {"calls": 2, "peer a": 2})
    counts.update(1, {"calls": 1, "peer b": 1})
    assert counts.of_others(2) == {"calls": 3, "peer a": 2, "peer b": 1}
    assert counts.of_others(0) == {"calls": 1, "peer a": 0, "peer b": 1}
    keys = counts.forget(0)
    assert sorted(keys) == ["calls", "peer a"]
    assert counts.of_others(2, keys) == {"calls": 1, "peer a": 0}
    assert counts.of_others(2) == {"calls": 1, "peer b": 1}
