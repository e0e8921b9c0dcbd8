"""The attempts in progress of one backend of return calls, whichever it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from audiosocket.returncalls.originator import AttemptEnd, AttemptResult

#: Seconds that a server which stops waits for what it asked others to end.
CLOSE_SECONDS = 2.0


class Attempt(Protocol):
    """One call to a resident; ``result`` fires once, and never with a failure."""

    result: Deferred[AttemptResult]

    @property
    def call_id(self) -> UUID:
        """The call that it is placed for."""

    def interrupt(self, end: AttemptEnd, reason: str) -> None:
        """End it from outside, without touching its channel."""


A = TypeVar("A", bound=Attempt)


class PendingAttempts(Generic[A]):
    """Attempts by their ids, from `add` until their results fire."""

    def __init__(self) -> None:
        self._attempts: dict[str, A] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[A]:
        """A copy: attempts end while one looks at them."""
        return iter(list(self._attempts.values()))

    def get(self, attempt_id: str) -> A | None:
        """The attempt of this id, if it has not ended."""
        return self._attempts.get(attempt_id)

    def add(self, attempt_id: str, attempt: A) -> None:
        """Keep an attempt that is about to start."""
        self._attempts[attempt_id] = attempt

        def over(result: AttemptResult) -> AttemptResult:
            del self._attempts[attempt_id]
            return result

        attempt.result.addCallback(over)

    def answered(self, call_id: UUID) -> bool:
        """The resident's leg of this call has arrived: its attempt, if there is one, is answered."""
        for attempt in self:
            if attempt.call_id == call_id:
                attempt.interrupt(AttemptEnd.ANSWERED, "")
                return True
        return False

    def cancel(self) -> None:
        """Stop everything that rings."""
        for attempt in self:
            attempt.result.cancel()


async def wait_for_all(endings: Iterable[Deferred[None]], clock: IReactorTime) -> None:
    """Waits for what was asked to end, `CLOSE_SECONDS` at most; what takes longer is cancelled."""
    waiting = DeferredList(list(endings))
    late = clock.callLater(CLOSE_SECONDS, waiting.cancel)
    await waiting
    if late.active():
        late.cancel()
