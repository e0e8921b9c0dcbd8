"""`shielded`: work that survives the cancellation of its result. `Unfinished`: work that a stop waits for."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from audiosocket.runtime.deferreds import Unfinished, shielded


class Work:
    """Work that waits for ``input``, its shielded result, and what came of both."""

    def __init__(self) -> None:
        self.input: Deferred[str] = Deferred()
        self.results: list[str | Failure] = []
        self.after_cancel: list[str | Failure] = []
        self.result = shielded(self._run(), self.after_cancel.append)
        self.result.addBoth(self.results.append)

    async def _run(self) -> str:
        return f"{await self.input} done"


def failure_types(results: list[str | Failure]) -> list[object]:
    return [each.type if isinstance(each, Failure) else each for each in results]


def test_a_result_is_delivered() -> None:
    work = Work()
    work.input.callback("work")
    assert (work.results, work.after_cancel) == (["work done"], [])


def test_a_failure_is_delivered() -> None:
    work = Work()
    work.input.errback(ValueError())
    assert (failure_types(work.results), work.after_cancel) == ([ValueError], [])


def test_work_continues_after_the_cancellation_of_its_result() -> None:
    work = Work()
    work.result.cancel()
    assert failure_types(work.results) == [CancelledError]
    work.input.callback("work")
    assert work.after_cancel == ["work done"]


def test_a_failure_after_the_cancellation_is_passed_on() -> None:
    work = Work()
    work.result.cancel()
    work.input.errback(ValueError())
    assert failure_types(work.after_cancel) == [ValueError]


def test_a_deferred_is_shielded_too() -> None:
    work: Deferred[int] = Deferred()
    after_cancel: list[int | Failure] = []
    shielded(work, after_cancel.append).addErrback(lambda failure: failure.trap(CancelledError)).cancel()
    work.callback(1)
    assert after_cancel == [1]


async def wait_for(work: Deferred[str]) -> str:
    return await work


def test_the_end_of_all_unfinished_work_is_waited_for() -> None:
    unfinished = Unfinished()
    first: Deferred[str] = Deferred()
    second: Deferred[str] = Deferred()
    results: list[str] = []
    for each in (first, second):
        unfinished.run(wait_for(each)).addCallback(results.append)
    ended = Deferred.fromCoroutine(unfinished.ended())
    first.callback("first")
    assert (results, len(unfinished), ended.called) == (["first"], 1, False)
    second.callback("second")
    assert (results, len(unfinished), ended.called) == (["first", "second"], 0, True)


def test_work_that_fails_has_ended_and_its_failure_is_for_who_began_it() -> None:
    unfinished = Unfinished()
    work: Deferred[str] = Deferred()
    results: list[str | Failure] = []
    unfinished.run(wait_for(work)).addBoth(results.append)
    ended: list[object] = []
    Deferred.fromCoroutine(unfinished.ended()).addBoth(ended.append)
    work.errback(ValueError())
    assert (failure_types(results), ended, len(unfinished)) == ([ValueError], [None], 0)


def test_work_that_ends_at_once_is_not_waited_for() -> None:
    unfinished = Unfinished()
    done: Deferred[str] = Deferred()
    done.callback("at once")
    results: list[str] = []
    unfinished.run(wait_for(done)).addCallback(results.append)
    assert (results, len(unfinished)) == (["at once"], 0)
    assert Deferred.fromCoroutine(unfinished.ended()).called
