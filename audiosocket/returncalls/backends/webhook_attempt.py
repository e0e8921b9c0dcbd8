"""One return call through a webhook: sent up to `TRIES` times, ended by a report, the leg or the ring time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from audiosocket.outbound.backoff import Backoff
from audiosocket.outbound.http_client import REQUEST_SECONDS, Answer, RequestFailed
from audiosocket.returncalls.backends.base import BackendAttempt
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest

#: Requests sent for one attempt at most; the delays between them are about half a second and a second.
TRIES = 3
#: Seconds after the ring time in which the end of an attempt may still be reported.
REPORT_SECONDS = 1.0


class Post(Protocol):
    """One signed request, given up after ``seconds``; raises `RequestFailed`."""

    async def __call__(self, document: dict[str, Any], seconds: float) -> Answer: ...


class WebhookAttempt(BackendAttempt):
    """One call to a resident through a webhook; ``document`` is what places it."""

    grace_seconds = REPORT_SECONDS

    def __init__(
        self,
        post: Post,
        cancel: Callable[[ReturnRequest, str], None],
        clock: IReactorTime,
        request: ReturnRequest,
        attempt_id: str,
        document: dict[str, Any],
        backoff: Backoff,
    ) -> None:
        super().__init__(clock, request, attempt_id)
        self._post = post
        self._cancel = cancel
        self._document = document
        self._backoff = backoff
        #: Whether the program may know of the attempt, and whether it has accepted it.
        self._sent = self._accepted = False

    async def _place(self) -> None:
        ends = self._clock.seconds() + self.request.ring_seconds
        why, answered = "", False
        for tries in range(TRIES):
            pause = self._backoff.pause() if tries else 0.0
            left = ends - self._clock.seconds() - pause
            if left <= 0:
                break
            if pause:
                await deferLater(self._clock, pause)
            sent, self._sent = self._sent, True
            try:
                answer = await self._post(self._document, min(REQUEST_SECONDS, left))
            except RequestFailed as problem:
                self._sent = sent or not problem.unsent
                if self.finished:
                    return
                why = str(problem)
                continue
            if answer.status < 500:
                self._answered(answer)
                return
            why, answered = f"HTTP {answer.status}", True  # perhaps only for this number
        self.give_up(f"the webhook is not available: {why}", unavailable=not answered)

    def _answered(self, answer: Answer) -> None:
        if 200 <= answer.status < 300:
            self._accepted = True
        elif answer.status >= 400:
            self.finish(AttemptEnd.REFUSED, f"the webhook refused the call (HTTP {answer.status})")
        else:
            self.finish(AttemptEnd.FAILED, f"the webhook answers HTTP {answer.status}; redirects are not followed")

    def _late_result(self) -> AttemptResult:
        if self._accepted:
            ring = self.request.ring_seconds
            return AttemptResult(AttemptEnd.NO_ANSWER, f"no answer was reported within {ring:g} s")
        reason = "the webhook did not answer within the ring time"
        return AttemptResult(AttemptEnd.FAILED, reason, unavailable=True)

    def _release(self) -> None:
        if self._sent:
            self._cancel(self.request, self.attempt_id)
