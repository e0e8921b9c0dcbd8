"""When a worker counts as blocked."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock

from audiosocket.workers.child_process import ChildProcess
from audiosocket.workers.worker_handle import BLOCKED_SECONDS, START_SECONDS, WorkerHandle, WorkerObserver


class FakeProcess:
    """A process that does nothing but be killed."""

    pid = 1
    killed = False

    def begin(self, index: int, observer: object) -> None:
        pass

    def kill(self) -> None:
        self.killed = True


class FakePool:
    """Has one process, and takes what the worker reports."""

    def __init__(self) -> None:
        self.process = FakeProcess()

    def next_process(self) -> FakeProcess:
        return self.process

    def state_changed(self, worker: WorkerHandle) -> None:
        pass


def started() -> tuple[WorkerHandle, FakeProcess, Clock]:
    pool, clock = FakePool(), Clock()
    worker = WorkerHandle(0, cast("WorkerObserver", pool), clock)
    worker.start()
    return worker, pool.process, clock


def tell(worker: WorkerHandle, process: FakeProcess, **message: Any) -> None:
    worker.message_received(cast("ChildProcess", process), message)


def test_a_worker_that_takes_long_to_start_is_not_killed_before_a_minute() -> None:
    worker, process, clock = started()
    clock.advance(START_SECONDS)
    worker.check()
    assert not process.killed
    clock.advance(1)
    worker.check()
    assert process.killed


def test_a_worker_that_is_up_and_sends_nothing_is_killed() -> None:
    worker, process, clock = started()
    tell(worker, process, kind="ready", pid=1)
    clock.advance(BLOCKED_SECONDS)
    worker.check()
    assert not process.killed
    clock.advance(1)
    worker.check()
    assert process.killed
