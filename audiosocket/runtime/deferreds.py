"""Work that runs to its end whatever becomes of its caller, and is waited for at a stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.python.failure import Failure

T = TypeVar("T")


def shielded(work: Awaitable[T], after_cancel: Callable[[T | Failure], None]) -> Deferred[T]:
    """Return the result of ``work`` as a Deferred that may be cancelled; ``work`` itself runs to its end.

    ``after_cancel`` is called with the result or the failure of work whose Deferred was cancelled before.
    """
    result: Deferred[T] = Deferred()

    def deliver(outcome: T | Failure) -> None:
        if result.called:
            after_cancel(outcome)
        else:
            result.callback(outcome)

    ensureDeferred(cast("Deferred[T]", work)).addBoth(deliver)
    return result


class Unfinished:
    """Work that has begun and not ended."""

    def __init__(self) -> None:
        self._work: set[Deferred[Any]] = set()

    def __len__(self) -> int:
        """Return how many pieces of work have not ended."""
        return len(self._work)

    def run(self, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """Begin ``work`` and return its result; `ended` waits for it."""
        running = Deferred.fromCoroutine(work)
        self._work.add(running)

        def done(outcome: Any) -> Any:
            self._work.discard(running)
            return outcome

        return running.addBoth(done)

    async def ended(self) -> None:
        """Wait until all work that is unfinished now has ended; how it ended is for those who began it."""
        await DeferredList(list(self._work))
