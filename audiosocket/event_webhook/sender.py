"""Sends the events of the whole server to EVENTS_WEBHOOK_URL.

One request at a time, so that events arrive in their order. 2xx confirms a batch; 400, 413 and 422 say that it
will never be accepted, and it is dropped. After every other answer, and none, the batch is sent again, after a
pause that grows: a wrong secret or a program that is being replaced must not lose events.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import InvalidSetting
from audiosocket.event_webhook.batches import MAX_EVENTS, Batch, Batches
from audiosocket.json_shapes import EventsWebhookJSON
from audiosocket.outbound.backoff import Backoff
from audiosocket.outbound.http_client import REQUEST_SECONDS, HTTPClientProtocol, RequestFailed
from audiosocket.outbound.secret import Secret, current
from audiosocket.outbound.webhook_signature import SIGNATURE_HEADER, signature
from audiosocket.runtime.event_feed import EventFeed, FeedEntry

#: Events that happen within this time of the first one are sent with it, in seconds.
GATHER_SECONDS = 0.5
#: Pauses after a failure, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: What a stop allows for the last events, in seconds; calls are closing meanwhile.
LAST_SECONDS = 0.5
#: Answers after which a batch is not sent again.
NEVER_ACCEPTED = frozenset({400, 413, 422})
KEY_HEADER = "Idempotency-Key"


class EventWebhook(Service):
    """Follows ``feed`` while it runs. ``wall`` is Unix time in seconds.

    ``secret`` signs the requests; while it cannot be read the events wait.
    """

    _log = Logger()

    def __init__(
        self,
        client: HTTPClientProtocol,
        clock: IReactorTime,
        wall: Callable[[], float],
        feed: EventFeed,
        url: str,
        secret: Secret,
        backoff: Backoff | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._wall = wall
        self._feed = feed
        self._url = url
        self._secret = secret
        self._backoff = backoff or Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._batches = Batches()
        self._state, self._reason, self._attempts = "connecting", "", 0
        self._unfollow: Callable[[], None] = lambda: None
        #: The request that is in progress, and the pause before the next one.
        self._asking: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self._unfollow = self._feed.follow(self._take)

    async def stopService(self) -> None:
        """Send what waits once more, unless the last request failed; takes `LAST_SECONDS` at most."""
        super().stopService()
        self._unfollow()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._state != "failing":
            until = self._clock.seconds() + LAST_SECONDS
            while (left := until - self._clock.seconds()) > 0 and len(self._batches):
                asking = self._asking or self._send(left)
                over = deferLater(self._clock, left, asking.cancel)
                await asking
                over.addErrback(lambda failure: failure.trap(CancelledError))
                over.cancel()
                if self._state == "failing":
                    break
        if self._asking is not None:
            self._asking.cancel()
        if len(self._batches):
            self._log.warn(
                "EVENTS_WEBHOOK_URL: {n} events are not sent, as the server stops", n=len(self._batches)
            )
        await self._client.close()

    def to_json(self) -> EventsWebhookJSON:
        """As shown under ``events_webhook`` in ``/api/status``."""
        return {
            "state": self._state,
            "reason": self._reason,
            "failed_attempts": self._attempts,
            "waiting": len(self._batches),
            "sent_total": self._batches.sent,
            "dropped_total": self._batches.dropped,
        }

    def _take(self, entry: FeedEntry) -> None:
        dropped = self._batches.dropped
        self._batches.add(entry)
        if self._batches.dropped > dropped == 0:
            self._log.error("EVENTS_WEBHOOK_URL: too many events wait; the oldest are dropped and counted")
        if self._asking is None and self._timer is None:
            self._timer = self._clock.callLater(GATHER_SECONDS, self._next)

    def _next(self) -> None:
        self._timer = None
        if self.running and len(self._batches):
            self._send(REQUEST_SECONDS)

    def _send(self, seconds: float) -> Deferred[None]:
        """Send one batch; fires, and never fails, when it was answered or not."""
        batch = self._batches.take()
        if batch is None:
            raise AssertionError("nothing waits")
        asking = self._asking = Deferred.fromCoroutine(self._post(batch, seconds))

        def over(result: Failure | None) -> None:
            self._asking = None
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._log.failure("EVENTS_WEBHOOK_URL: a request failed unexpectedly", result)
                self._failed("unexpected error, see the log")
            self._schedule()

        asking.addBoth(over)
        return asking

    async def _post(self, batch: Batch, seconds: float) -> None:
        try:
            secret = await current(self._secret)
        except InvalidSetting as problem:
            self._failed(str(problem))
            return
        now = int(self._wall())
        body = batch.body(now)
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(secret, now, body),
            KEY_HEADER: batch.key,
        }
        try:
            answer = await self._client.ask("POST", self._url, headers, body, seconds=seconds)
        except RequestFailed as problem:
            self._failed(str(problem))
            return
        if 200 <= answer.status < 300:
            self._batches.delivered()
            self._worked()
        elif answer.status in NEVER_ACCEPTED:
            self._log.error(
                "EVENTS_WEBHOOK_URL: HTTP {status}: the events {key} are not accepted and dropped",
                status=answer.status,
                key=batch.key,
            )
            self._batches.give_up()
            self._failed(f"HTTP {answer.status}: a batch was not accepted")
        else:
            self._failed(f"HTTP {answer.status}")

    def _worked(self) -> None:
        self._backoff.reset()
        if self._state != "up":
            self._log.info("EVENTS_WEBHOOK_URL: events arrive")
        self._state, self._reason, self._attempts = "up", "", 0

    def _failed(self, reason: str) -> None:
        self._attempts += 1
        if self._reason != reason:
            self._log.warn("EVENTS_WEBHOOK_URL: {reason}; trying again", reason=reason)
        self._state, self._reason = "failing", reason

    def _schedule(self) -> None:
        if not self.running or not len(self._batches) or self._timer is not None:
            return
        if self._state == "failing":
            pause = self._backoff.pause()
        else:
            pause = 0.0 if len(self._batches) >= MAX_EVENTS else GATHER_SECONDS
        self._timer = self._clock.callLater(pause, self._next)


#: The state without EVENTS_WEBHOOK_URL.
OFF: EventsWebhookJSON = {
    "state": "off",
    "reason": "EVENTS_WEBHOOK_URL is not set",
    "failed_attempts": 0,
    "waiting": 0,
    "sent_total": 0,
    "dropped_total": 0,
}
