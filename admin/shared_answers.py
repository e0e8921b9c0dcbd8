"""Answers that clients share who ask for the same at about the same time.

A client that is content with an answer of a certain age says so by ``Cache-Control: max-age=SECONDS`` (RFC 9111,
5.2.1.1). Fifty open pages then cost the server about as much as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from admin.site import AdminRequest

#: No answer is kept for longer, in seconds, nor more than so many at once.
MAX_AGE_SECONDS = 2.0
MAX_ANSWERS = 32
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])", re.ASCII | re.IGNORECASE)


def accepted_age(header: str | None) -> float:
    """Return how old an answer may be, in seconds, for a request with this ``Cache-Control``; 0 without it."""
    found = _MAX_AGE.search(header or "")
    return 0.0 if found is None else min(float(found[1]), MAX_AGE_SECONDS)


@dataclass(eq=False)
class _Answer:
    """One answer, or who waits for it; ``asked`` is the time of the first question, in seconds."""

    asked: float
    result: bytes | Failure | None = None
    waiting: list[Deferred[bytes]] = field(default_factory=list)

    def wait(self) -> Deferred[bytes]:
        """Return a Deferred of its own: a client that disconnects cancels its own wait only."""
        mine: Deferred[bytes] = Deferred()
        if self.result is None:
            self.waiting.append(mine)
        else:
            mine.callback(self.result)
        return mine

    def settle(self, result: bytes | Failure) -> None:
        """Give the result to all who wait."""
        self.result = result
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            if not each.called:
                each.callback(result)


class SharedAnswers:
    """The latest answers by path and query."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._kept: dict[bytes, _Answer] = {}

    async def get(self, request: AdminRequest, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """Return the body: that of an earlier request if the client allows it, else what ``make`` makes."""
        age, now = accepted_age(request.getHeader("Cache-Control")), self._clock.seconds()
        if not age:
            return await make()
        kept = self._kept.get(request.uri)
        if kept is None or now - kept.asked > age or isinstance(kept.result, Failure):
            self._forget(now)
            kept = self._kept[request.uri] = _Answer(now)
            Deferred.fromCoroutine(make()).addBoth(kept.settle)
        return await kept.wait()

    def _forget(self, now: float) -> None:
        """Drop what is too old, and the oldest of too many."""
        self._kept = {uri: kept for uri, kept in self._kept.items() if now - kept.asked <= MAX_AGE_SECONDS}
        while len(self._kept) >= MAX_ANSWERS:
            del self._kept[next(iter(self._kept))]
