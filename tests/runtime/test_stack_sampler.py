"""The stack of what blocks: seen from a real thread, on the test's own one in place of the reactor's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from twisted.internet import reactor

from audiosocket.runtime.blocking_report import MOST, BlockingReport
from audiosocket.runtime.stack_sampler import DEPTH, Stack, StackFrame, StackSample, StackSampler, waiting_in


class Steered(StackSampler):
    """Counts its looks and reads times the test sets, where it sets them."""

    def __init__(self, waiting: Callable[[], None] | None = None) -> None:
        super().__init__(None if waiting is None else waiting.__code__)
        self.looks = threading.Semaphore(0)

    def _look(self, due: float) -> None:
        super()._look(due)
        self.looks.release()


def blocks(watch: Steered, looks: int = 1) -> None:
    """Does not come back before it has been looked at: real time, but none that matters."""
    for _ in range(looks):
        assert watch.looks.acquire(timeout=5)


@pytest.fixture
def watch() -> Iterator[Steered]:
    watch = Steered()
    watch.start()
    yield watch
    watch.stop()


def names(seen: StackSample, count: int) -> list[str]:
    assert seen.stack is not None
    return [place.function for place in seen.stack[:count]]


def test_the_stack_is_read_while_a_beat_is_overdue(watch: Steered) -> None:
    watch.beat(0)
    blocks(watch)
    seen = watch.beat(60)
    assert seen.stack is not None
    mine = [place for place in seen.stack if place.module == __name__]
    assert [place.function for place in mine][-2:] == ["blocks", "test_the_stack_is_read_while_a_beat_is_overdue"]
    assert mine[-1].file == "test_stacks.py"
    assert str(mine[-1]) == f"{__name__}:{mine[-1].function}:{mine[-1].line}"
    assert watch.beat(60).stack is None, "it is told once"


def test_what_is_in_every_look_is_the_culprit(watch: Steered) -> None:
    def first() -> None:
        blocks(watch, 2)

    def second() -> None:
        watch.looks.acquire(timeout=5)

    watch.beat(0)
    first()
    second()
    second()
    seen = watch.beat(60)
    assert names(seen, 1) == ["test_what_is_in_every_look_is_the_culprit"]


def test_nobody_looks_before_the_beat_is_overdue_or_before_the_first(watch: Steered) -> None:
    assert not watch.looks.acquire(timeout=0.1)
    watch.beat(60)
    assert not watch.looks.acquire(timeout=0.1)
    assert watch.beat(60).stack is None


def test_a_thread_that_waits_for_something_to_do_is_not_blocked() -> None:
    looked = threading.Lock()  # its acquire() is C: no frame of its own
    looked.acquire()

    class Waits(Steered):
        def _look(self, due: float) -> None:
            super()._look(due)
            if looked.locked():
                looked.release()

    def wait_for_work() -> None:
        assert looked.acquire(timeout=5)

    watch = Waits(wait_for_work)
    watch.start()
    watch.beat(0)
    wait_for_work()
    assert watch.beat(60).stack is None
    watch.stop()


def test_the_waiting_of_twisteds_reactor_is_known() -> None:
    code = waiting_in(reactor)
    assert code is not None
    assert code.co_name.startswith("do")
    assert waiting_in(object()) is None


def test_a_look_that_comes_too_late_counts_for_nothing(watch: Steered) -> None:
    """The thread was about to look when the beat came; what it saw is of the time after."""
    watch.beat(0)
    blocks(watch)
    watch.beat(60)
    watch._look(watch._due - 1)
    assert watch.beat(60).stack is None


def test_stacks_are_bounded(watch: Steered) -> None:
    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
        else:
            blocks(watch)

    watch.beat(0)
    deeper(min(DEPTH + 100, sys.getrecursionlimit() - 300))
    seen = watch.beat(60)
    assert seen.stack is not None
    assert len(seen.stack) == DEPTH


@pytest.mark.parametrize(
    ("wall", "cpu", "still"),
    [
        (0.4, 0.001, 0.4),  # SIGSTOP, a suspended machine, no processor
        (0.4, 0.39, 0.0),  # C code that computes with the interpreter locked: blocked, not stopped
        (0.03, 0.0, 0.0),  # a look that was a little late
    ],
)
def test_not_being_run_is_told_from_computing(wall: float, cpu: float, still: float) -> None:
    times = {"wall": 100.0, "cpu": 5.0}
    watch = StackSampler(clock=lambda: times["wall"], cpu=lambda: times["cpu"])
    watch._looked = 100.0
    watch.beat(0.02)
    times["wall"] += wall
    times["cpu"] += cpu
    assert watch.beat(0.02) == StackSample(None, pytest.approx(still))


def test_the_thread_ends_and_begins_again() -> None:
    watch = Steered()
    before = threading.active_count()
    watch.stop()
    for _ in range(3):
        watch.start()
        watch.start()
        assert threading.active_count() == before + 1
        watch.beat(0)
        blocks(watch)
        watch.stop()
        assert threading.active_count() == before


def place(function: str, line: int = 1) -> StackFrame:
    return StackFrame("m", function, "m.py", line)


def test_a_cause_is_its_innermost_functions_whatever_the_lines() -> None:
    causes = BlockingReport()
    assert causes.add((place("a"), place("b"), place("c"), place("d")), 0.05) == "m:a:1 < m:b:1 < m:c:1 < m:d:1"
    assert causes.add((place("a", 2), place("b"), place("c"), place("other")), 0.07) is None
    assert causes.add((place("a"), place("c"), place("b")), 0.05) is not None
    assert causes.times == 3
    assert causes.to_json()[0] == {"where": "m:a:1", "times": 2, "worst_ms": 70}


def test_causes_are_bounded_and_those_beyond_are_said_once() -> None:
    causes = BlockingReport()
    stacks: list[Stack] = [(place(f"f{number}"),) for number in range(MOST + 50)]
    said = [causes.add(stack, 0.05) for stack in stacks]
    assert sum(text is not None for text in said) == MOST + 1
    assert causes.times == MOST + 50
    assert causes.to_json()[0] == {"where": "others", "times": 50, "worst_ms": 50}
    assert len(causes.to_json()) == 10
