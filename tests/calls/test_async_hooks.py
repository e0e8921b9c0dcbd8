"""Hooks that are coroutines: in order, and what fails ends its call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from audiosocket.calls.async_hooks import MAX_WAITING, AsyncHooks, _as_task


class Fixture:
    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.hooks = AsyncHooks(self.failures.append)
        self.log: list[str] = []

    async def hook(self, name: str, waits_for: Deferred[Any] | None = None) -> None:
        self.log.append(f"{name} begins")
        try:
            if waits_for is not None:
                await waits_for
        except CancelledError:
            self.log.append(f"{name} cancelled")
            raise
        self.log.append(f"{name} ends")

    def add(self, *arguments: Any) -> None:
        self.hooks.add(self.hook(*arguments))


def test_coroutines_run_one_after_another() -> None:
    one, first = Fixture(), Deferred[None]()
    one.add("a", first)
    one.add("b")
    one.add("c", succeed(None))
    assert one.log == ["a begins"]
    first.callback(None)
    assert one.log == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]


def test_many_coroutines_that_never_wait_do_not_recurse() -> None:
    one, first = Fixture(), Deferred[None]()
    one.add("a", first)
    for number in range(MAX_WAITING):
        one.add(str(number))
    first.callback(None)
    assert len(one.log) == 2 * (MAX_WAITING + 1)
    assert one.failures == []


def test_a_failure_is_reported_and_the_waiting_coroutines_are_dropped() -> None:
    one, first = Fixture(), Deferred[None]()
    one.add("a", first)
    one.add("b")
    first.errback(ZeroDivisionError())
    assert one.log == ["a begins"]
    assert [failure.type for failure in one.failures] == [ZeroDivisionError]


def test_a_cancelled_coroutine_is_no_failure_and_the_next_one_runs() -> None:
    one = Fixture()
    one.add("joined", Deferred())
    one.add("audio")
    one.hooks.cancel()
    one.add("left")
    assert one.log == ["joined begins", "joined cancelled", "left begins", "left ends"]
    assert one.failures == []


def test_an_app_with_too_many_waiting_coroutines_fails() -> None:
    one = Fixture()
    one.add("a", Deferred())
    for _ in range(MAX_WAITING + 1):
        one.add("b")
    (failure,) = one.failures
    assert "wait" in str(failure.value)
    assert one.log == ["a begins", "a cancelled"]


@pytest.mark.parametrize("fails", [False, True])
def test_in_an_asyncio_task_deferreds_and_futures_can_be_awaited(fails: bool) -> None:
    async def hook() -> str:
        assert asyncio.current_task() is not None
        await asyncio.sleep(0)
        found: str = await succeed("from a deferred")
        waiting: Deferred[None] = Deferred()
        fire: Callable[..., None] = waiting.errback if fails else waiting.callback
        asyncio.get_running_loop().call_soon(fire, ValueError("x"))
        try:
            await waiting
        except ValueError:
            assert fails
        else:
            assert not fails
        return found

    async def run(hook: Coroutine[Any, Any, Any]) -> Any:
        return await _as_task(hook, asyncio.get_running_loop())

    assert asyncio.run(run(hook())) == "from a deferred"
