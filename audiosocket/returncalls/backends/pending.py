"""The attempts in progress of one backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from audiosocket.errors import InvalidReport
from audiosocket.returncalls.backends.base import BackendAttempt
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult

#: Seconds that a stopping server waits for the requests that stop what rings.
CLOSE_SECONDS = 2.0
#: Ends that may be reported from outside.
REPORTABLE = frozenset(AttemptEnd) - {AttemptEnd.CANCELLED}
MAX_REASON = 200

AttemptT = TypeVar("AttemptT", bound=BackendAttempt)


class PendingAttempts(Generic[AttemptT]):
    """Attempts by their ids, from `add` until their results fire."""

    def __init__(self) -> None:
        self._attempts: dict[str, AttemptT] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[AttemptT]:
        """Iterate over a copy: attempts may end meanwhile."""
        return iter(list(self._attempts.values()))

    def get(self, attempt_id: str) -> AttemptT | None:
        """Return the attempt with this id; None when it has ended."""
        return self._attempts.get(attempt_id)

    def add(self, attempt: AttemptT) -> None:
        """Keep an attempt that is about to start."""
        self._attempts[attempt.attempt_id] = attempt

        def remove(result: AttemptResult) -> AttemptResult:
            del self._attempts[attempt.attempt_id]
            return result

        attempt.result.addCallback(remove)

    def report(self, attempt_id: str, end: str, reason: str) -> bool:
        """End an attempt as is reported; return false when no such attempt is in progress.

        Raises `InvalidReport` for an end that is not one of `REPORTABLE`.
        """
        if end not in {each.value for each in REPORTABLE}:
            raise InvalidReport(f"end must be one of {', '.join(sorted(each.value for each in REPORTABLE))}")
        attempt = self.get(attempt_id)
        if attempt is None:
            return False
        attempt.interrupt(AttemptEnd(end), _one_line(reason))
        return True

    def answered(self, call_id: UUID) -> bool:
        """End the attempt of this call as answered, because its leg has arrived; false when there is none."""
        for attempt in self:
            if attempt.request.call_id == call_id:
                attempt.interrupt(AttemptEnd.ANSWERED)
                return True
        return False

    def cancel(self) -> None:
        """Stop everything that rings."""
        for attempt in self:
            attempt.result.cancel()


async def wait_for_all(requests: Iterable[Deferred[None]], clock: IReactorTime) -> None:
    """Wait for ``requests``, `CLOSE_SECONDS` at most; cancel what takes longer."""
    waiting = DeferredList(list(requests))
    timer = clock.callLater(CLOSE_SECONDS, waiting.cancel)
    await waiting
    if timer.active():
        timer.cancel()


def _one_line(text: str) -> str:
    return "".join(character for character in text[:MAX_REASON] if character.isprintable())
