"""Functions over Deferreds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from twisted.internet.defer import Deferred, ensureDeferred
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
