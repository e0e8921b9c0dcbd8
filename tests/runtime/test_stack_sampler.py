"""Stacks of blocking code: a real thread samples the thread of the test instead of the reactor's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from twisted.internet import reactor

from audiosocket.runtime.blocking_report import MAX_CAUSES, BlockingReport
from audiosocket.runtime.stack_sampler import MAX_FRAMES, Stack, StackFrame, StackSample, StackSampler, waiting_in


class CountingSampler(StackSampler):
    """Counts how often it reads a stack."""

    def __init__(self, waiting: Callable[[], None] | None = None) -> None:
        super().__init__(None if waiting is None else waiting.__code__)
        self.reads = threading.Semaphore(0)

    def _read_stack(self, due: float) -> None:
        super()._read_stack(due)
        self.reads.release()


def block(sampler: CountingSampler, times: int = 1) -> None:
    """Block until the stack was read that often; takes real time, but no test depends on how long."""
    for _ in range(times):
        assert sampler.reads.acquire(timeout=5)


@pytest.fixture
def sampler() -> Iterator[CountingSampler]:
    sampler = CountingSampler()
    sampler.start()
    yield sampler
    sampler.stop()


def names(sample: StackSample, count: int) -> list[str]:
    assert sample.stack is not None
    return [frame.function for frame in sample.stack[:count]]


def test_the_stack_is_read_while_a_beat_is_overdue(sampler: CountingSampler) -> None:
    sampler.beat(0)
    block(sampler)
    seen = sampler.beat(60)
    assert seen.stack is not None
    ours = [frame for frame in seen.stack if frame.module == __name__]
    assert [frame.function for frame in ours][-2:] == ["block", "test_the_stack_is_read_while_a_beat_is_overdue"]
    assert ours[-1].file == "test_stack_sampler.py"
    assert str(ours[-1]) == f"{__name__}:{ours[-1].function}:{ours[-1].line}"
    assert sampler.beat(60).stack is None, "a sample is returned once"


def test_the_innermost_function_in_all_samples_is_the_cause(sampler: CountingSampler) -> None:
    def first() -> None:
        block(sampler, 2)

    def second() -> None:
        sampler.reads.acquire(timeout=5)

    sampler.beat(0)
    first()
    second()
    second()
    seen = sampler.beat(60)
    assert names(seen, 1) == ["test_the_innermost_function_in_all_samples_is_the_cause"]


def test_no_stack_is_read_before_the_first_beat_or_before_one_is_overdue(sampler: CountingSampler) -> None:
    assert not sampler.reads.acquire(timeout=0.1)
    sampler.beat(60)
    assert not sampler.reads.acquire(timeout=0.1)
    assert sampler.beat(60).stack is None


def test_a_thread_that_waits_for_events_is_not_blocked() -> None:
    read_once = threading.Lock()  # its acquire() is C: no frame of its own
    read_once.acquire()

    class Waiting(CountingSampler):
        def _read_stack(self, due: float) -> None:
            super()._read_stack(due)
            if read_once.locked():
                read_once.release()

    def wait_for_events() -> None:
        assert read_once.acquire(timeout=5)

    sampler = Waiting(wait_for_events)
    sampler.start()
    sampler.beat(0)
    wait_for_events()
    assert sampler.beat(60).stack is None
    sampler.stop()


def test_the_function_in_which_twisteds_reactor_waits_is_known() -> None:
    code = waiting_in(reactor)
    assert code is not None
    assert code.co_name.startswith("do")
    assert waiting_in(object()) is None


def test_a_sample_of_the_previous_beat_is_dropped(sampler: CountingSampler) -> None:
    """The thread was about to read the stack when the beat came."""
    sampler.beat(0)
    block(sampler)
    sampler.beat(60)
    sampler._read_stack(sampler._due - 1)
    assert sampler.beat(60).stack is None


def test_stacks_are_bounded(sampler: CountingSampler) -> None:
    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
        else:
            block(sampler)

    sampler.beat(0)
    deeper(min(MAX_FRAMES + 100, sys.getrecursionlimit() - 300))
    seen = sampler.beat(60)
    assert seen.stack is not None
    assert len(seen.stack) == MAX_FRAMES


@pytest.mark.parametrize(
    ("wall", "cpu", "still"),
    [
        (0.4, 0.001, 0.4),  # SIGSTOP, a suspended machine, no processor
        (0.4, 0.39, 0.0),  # C code that holds the lock of the interpreter: blocked, not stopped
        (0.03, 0.0, 0.0),  # a check that was a little late
    ],
)
def test_a_process_that_is_not_run_is_distinguished_from_one_that_computes(
    wall: float, cpu: float, still: float
) -> None:
    times = {"wall": 100.0, "cpu": 5.0}
    sampler = StackSampler(clock=lambda: times["wall"], cpu=lambda: times["cpu"])
    sampler._checked_at = 100.0
    sampler.beat(0.02)
    times["wall"] += wall
    times["cpu"] += cpu
    sample = sampler.beat(0.02)
    assert sample.stack is None
    assert sample.stood_still == pytest.approx(still)


def test_the_thread_can_be_stopped_and_started_again() -> None:
    sampler = CountingSampler()
    before = threading.active_count()
    sampler.stop()
    for _ in range(3):
        sampler.start()
        sampler.start()
        assert threading.active_count() == before + 1
        sampler.beat(0)
        block(sampler)
        sampler.stop()
        assert threading.active_count() == before


def frame(function: str, line: int = 1) -> StackFrame:
    return StackFrame("m", function, "m.py", line)


def test_causes_are_distinguished_by_their_innermost_functions_and_not_by_lines() -> None:
    report = BlockingReport()
    assert report.add((frame("a"), frame("b"), frame("c"), frame("d")), 0.05) == "m:a:1 < m:b:1 < m:c:1 < m:d:1"
    assert report.add((frame("a", 2), frame("b"), frame("c"), frame("other")), 0.07) is None
    assert report.add((frame("a"), frame("c"), frame("b")), 0.05) is not None
    assert report.times == 3
    assert report.to_json()[0] == {"where": "m:a:1", "times": 2, "worst_ms": 70}


def test_the_number_of_causes_is_bounded_and_those_beyond_are_logged_once() -> None:
    report = BlockingReport()
    stacks: list[Stack] = [(frame(f"f{number}"),) for number in range(MAX_CAUSES + 50)]
    logged = [report.add(stack, 0.05) for stack in stacks]
    assert sum(text is not None for text in logged) == MAX_CAUSES + 1
    assert report.times == MAX_CAUSES + 50
    assert report.to_json()[0] == {"where": "others", "times": 50, "worst_ms": 50}
    assert len(report.to_json()) == 10


def test_what_the_work_is_done_for_is_asked_of_the_frames() -> None:
    class Sampler(CountingSampler):
        def __init__(self) -> None:
            super().__init__()
            self._purpose_of = lambda frame: "a visit" if frame.f_code.co_name == "work_for_a_visit" else ""

    sampler = Sampler()

    def work_for_a_visit() -> None:
        block(sampler)

    sampler.start()
    try:
        sampler.beat(0)
        work_for_a_visit()
        assert sampler.beat(0).purpose == "a visit"
        block(sampler)
        assert sampler.beat(60).purpose == ""
    finally:
        sampler.stop()
