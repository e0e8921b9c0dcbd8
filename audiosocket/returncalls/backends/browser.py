"""Return calls that ring on the operator page: a person answers them there, as a resident's telephone.

Nothing is sent to Asterisk. Each attempt is published as the event ``phone.ringing``, and its end as
``phone.stopped``; ``admin/phones`` rings the pages that wait. One that answers calls the return port, whose leg
ends the attempt as answered; other ends are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from audiosocket.returncalls.backends.base import BackendAttempt
from audiosocket.returncalls.backends.pending import PendingAttempts
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest

#: The names of the events.
RINGING, STOPPED = "phone.ringing", "phone.stopped"

Publish = Callable[[Mapping[str, Any]], object]


class BrowserOriginator:
    """Implements `originator.Originator` with the pages that wait; ``publish`` takes its events."""

    def __init__(
        self, publish: Publish, clock: IReactorTime, new_id: Callable[[], str] = lambda: str(uuid4())
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._new_id = new_id
        self._attempts: PendingAttempts[BrowserAttempt] = PendingAttempts()

    @property
    def state(self) -> tuple[str, str]:
        """Always ("up", ""): a page may be opened while it rings."""
        return "up", ""

    @property
    def ringing(self) -> int:
        """Attempts in progress."""
        return len(self._attempts)

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """See `originator.Originator.place`."""
        attempt = BrowserAttempt(self._publish, self._clock, request, request.attempt_id or self._new_id())
        self._attempts.add(attempt)
        attempt.start()
        return attempt.result

    def report(self, attempt_id: str, end: str, reason: str = "") -> bool:
        """End an attempt as a page reports; return false when no such attempt is in progress."""
        return self._attempts.report(attempt_id, end, reason)

    def stop(self, request: ReturnRequest) -> None:
        """Stop an attempt of the previous process; a leg that has answered is hung up by the server."""
        self._publish(_stopped(request, request.attempt_id, AttemptEnd.CANCELLED))

    def answered(self, call_id: UUID) -> bool:
        """End the attempt of this call, if there is one, as answered: its leg has arrived."""
        return self._attempts.answered(call_id)

    async def close(self) -> None:
        """Stop what rings."""
        self._attempts.cancel()


class BrowserAttempt(BackendAttempt):
    """One number that rings in pages for the ring time."""

    grace_seconds = 0.0

    def __init__(self, publish: Publish, clock: IReactorTime, request: ReturnRequest, attempt_id: str) -> None:
        super().__init__(clock, request, attempt_id)
        self._publish = publish

    async def _place(self) -> None:
        ring = {"attempt_id": self.attempt_id, "ring_seconds": self.request.ring_seconds}
        self._publish({"event": RINGING, "call_id": str(self.request.call_id), **ring})

    def finish(self, end: AttemptEnd, reason: str = "", *, unavailable: bool = False) -> None:
        """End the attempt, and what rings for it."""
        if not self.finished:
            self._publish(_stopped(self.request, self.attempt_id, end))
        super().finish(end, reason, unavailable=unavailable)

    def _release(self) -> None:
        """Do nothing: `finish` stops what rings."""

    def _late_result(self) -> AttemptResult:
        reason = f"nobody answered on the operator page within {self.request.ring_seconds:g} s"
        return AttemptResult(AttemptEnd.NO_ANSWER, reason)


def _stopped(request: ReturnRequest, attempt_id: str, end: AttemptEnd) -> Mapping[str, Any]:
    return {
        "event": STOPPED,
        "call_id": str(request.call_id),
        "attempt_id": attempt_id,
        "end": end.value,
    }
