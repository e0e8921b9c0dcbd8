"""Work that survives the client who asked for it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.control_interface import Soon
from audiosocket.errors import AudioSocketError

T = TypeVar("T")

_log = Logger()


def shielded(work: Awaitable[T], what: str) -> Deferred[T]:
    """The result of ``work`` for a caller that may be cancelled; the work itself runs to its end.

    Klein cancels a handler when its client leaves, and half a change of the table is worse than a whole
    one. What the work raises then has no client to be told to and is logged, named by ``what``.
    """
    result: Deferred[T] = Deferred()

    def deliver(outcome: Any) -> None:
        if not result.called:
            result.callback(outcome)
        elif not isinstance(outcome, Failure):
            _log.info("{what} was done after its client had left", what=what)
        elif outcome.check(AudioSocketError):
            _log.warn("{what} failed after its client had left: {error}", what=what, error=outcome.value)
        else:
            _log.failure("{what} failed after its client had left", outcome, what=what)

    ensureDeferred(cast("Deferred[T]", work)).addBoth(deliver)
    return result


async def maybe_await(value: Soon[T]) -> T:
    """What `Control` answered at once, or answers soon."""
    return await value if isinstance(value, Awaitable) else value
