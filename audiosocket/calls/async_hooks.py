"""Hooks of apps that are coroutines: run one after another, under whichever reactor there is."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

#: Coroutines of one app that may wait on one leg: 10 s of an ``async def audio`` that does not keep up.
MAX_WAITING = 500


class AsyncHooks:
    """The coroutines of one app on one leg, in the order in which its hooks were called.

    ``failed`` is given the failure of a coroutine that raised; what waits behind it is dropped. Under Twisted's
    asyncio reactor each runs as an asyncio task, so that it may await asyncio's futures as well as Deferreds.
    """

    def __init__(self, failed: Callable[[Failure], None]) -> None:
        self._failed = failed
        self._waiting: deque[Coroutine[Any, Any, Any]] = deque()
        self._running: Deferred[Any] | None = None
        self._in_loop = False

    def add(self, result: Coroutine[Any, Any, Any] | Deferred[Any]) -> None:
        """Run what a hook returned after those before it; a Deferred is waited for."""
        hook = _awaited(result) if isinstance(result, Deferred) else result
        if len(self._waiting) >= MAX_WAITING:
            hook.close()
            self.cancel()
            self._failed(Failure(RuntimeError(f"more than {MAX_WAITING} calls of its hooks wait")))
            return
        self._waiting.append(hook)
        if self._running is None:
            self._next()

    def cancel(self) -> None:
        """Cancel the coroutine that runs and drop those that wait."""
        waiting, self._waiting = self._waiting, deque()
        for hook in waiting:
            hook.close()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def _next(self) -> None:
        """Run what waits, in a loop: most hooks never wait, and each of them would need more of the stack."""
        if self._in_loop:
            return
        self._in_loop = True
        try:
            while self._waiting and self._running is None:
                self._running = running = _run(self._waiting.popleft())
                running.addCallbacks(self._done, self._raised, callbackArgs=(running,), errbackArgs=(running,))
        finally:
            self._in_loop = False

    def _done(self, _: object, running: Deferred[Any]) -> None:
        if self._running is running:
            self._running = None
            self._next()

    def _raised(self, failure: Failure, running: Deferred[Any]) -> None:
        if self._running is running:
            self.cancel()
            self._failed(failure)
        elif not failure.check(CancelledError) and type(failure.value).__name__ != "CancelledError":
            self._failed(failure)


async def _awaited(result: Deferred[Any]) -> Any:
    """Return the result of a Deferred, as a coroutine that can be cancelled."""
    return await result


def _run(hook: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    asyncio = sys.modules.get("asyncio")
    try:
        loop = asyncio.get_running_loop() if asyncio is not None else None
    except RuntimeError:
        loop = None
    if loop is None:
        return Deferred.fromCoroutine(hook)
    return Deferred.fromFuture(loop.create_task(_as_task(hook, loop)))


async def _as_task(hook: Coroutine[Any, Any, Any], loop: Any) -> Any:
    return await _Translated(hook, loop)


class _Translated:
    """A coroutine that may await Deferreds, made fit for an asyncio task."""

    def __init__(self, hook: Coroutine[Any, Any, Any], loop: Any) -> None:
        self._hook = hook
        self._loop = loop

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._hook.send(None)  # noqa: E731
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            try:
                if isinstance(awaited, Deferred):
                    value = yield from awaited.asFuture(self._loop).__await__()
                else:
                    value = yield awaited
            except BaseException as problem:  # noqa: BLE001 - a cancellation, too, is for the coroutine
                step = _throwing(self._hook, problem)
            else:
                step = _sending(self._hook, value)


def _sending(hook: Coroutine[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: hook.send(value)


def _throwing(hook: Coroutine[Any, Any, Any], problem: BaseException) -> Callable[[], Any]:
    return lambda: hook.throw(problem)
