"""Return calls placed by another program, which receives signed HTTP POSTs and reports back.

The request is JSON with ``"action": "place"``, or ``"cancel"`` to stop the ringing. It is signed, see
``webhook_signature.py``; the program must refuse a wrong signature and an old ``t``. A request may arrive more
than once. ``attempt_id`` identifies the attempt: a known one must not be placed again, a cancelled one not at all,
as a cancel may arrive before the request that it belongs to.

Any 2xx means that the attempt is accepted. Its end is then reported (`WebhookOriginator.report`), or the
resident's leg arrives (`WebhookOriginator.answered`); without either it is *no answer* when the ring time is over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.outbound.backoff import Backoff
from audiosocket.outbound.http_client import (
    REQUEST_SECONDS,
    Answer,
    HTTPClientProtocol,
    RequestFailed,
    checked_url,
)
from audiosocket.outbound.secret import Secret, current
from audiosocket.outbound.webhook_signature import SIGNATURE_HEADER, is_signed, signature
from audiosocket.returncalls.backends.pending import PendingAttempts, wait_for_all
from audiosocket.returncalls.backends.webhook_attempt import WebhookAttempt
from audiosocket.returncalls.dial_string import NUMBER, check_landing, checked_number
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.templates import filled


class WebhookOriginator:
    """Implements `originator.Originator` with the program at ``url``.

    ``secret`` signs every request and the reports on them; ``wall`` is Unix time in seconds. Raises
    `InvalidSetting`.
    """

    _log = Logger()

    def __init__(
        self,
        client: HTTPClientProtocol,
        clock: IReactorTime,
        wall: Callable[[], float],
        url: str,
        secret: Secret,
        number: re.Pattern[str] = NUMBER,
        new_id: Callable[[], str] = lambda: str(uuid4()),
        backoff: Callable[[], Backoff] = lambda: Backoff(0.5, 2.0),
    ) -> None:
        if not secret:
            raise InvalidSetting("the webhook needs a secret to sign its requests with")
        checked_url(url, "the webhook address")
        self._client = client
        self._clock = clock
        self._wall = wall
        self._url = url
        self._secret = secret
        #: What reports are compared with: the secret as it was last read, empty before.
        self._known = secret if isinstance(secret, str) else ""
        self._reading: Deferred[None] | None = None
        self._number = number
        self._new_id = new_id
        self._backoff = backoff
        self._state = ("connecting", "no request has been sent to the webhook yet")
        self._attempts: PendingAttempts[WebhookAttempt] = PendingAttempts()
        self._cancel_requests: set[Deferred[None]] = set()

    @property
    def state(self) -> tuple[str, str]:
        """("up"|"connecting"|"failing", reason): the result of the last request; none is sent to find out."""
        return self._state

    @property
    def ringing(self) -> int:
        """Attempts in progress."""
        return len(self._attempts)

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        """See `originator.Originator.place`."""
        attempt_id = request.attempt_id or self._new_id()
        try:
            document = self._document(request, attempt_id)
        except LocalProtocolError as problem:
            return succeed(AttemptResult(AttemptEnd.FAILED, str(problem)))
        attempt = WebhookAttempt(
            self.post, self.cancel, self._clock, request, attempt_id, document, self._backoff()
        )
        self._attempts.add(attempt)
        attempt.start()
        return attempt.result

    def report(self, attempt_id: str, end: str, reason: str = "") -> bool:
        """End an attempt as the program reports; return false when no such attempt is in progress.

        Raises `InvalidReport` for an end that is not one of `pending.REPORTABLE`.
        """
        return self._attempts.report(attempt_id, end, reason)

    def vouches(self, header: str, attempt_id: str, body: bytes) -> bool:
        """Return whether ``header``, the value of `SIGNATURE_HEADER`, signs a report on this attempt.

        The body has to name the attempt: otherwise a report that somebody has read would count for any other one.
        """
        if not self._known or not is_signed(self._known, header, body, self._wall()):
            self._read_again()  # it may be signed with a key that replaced the known one; the next one is accepted
            return False
        return _named_attempt(body) == attempt_id

    def stop(self, request: ReturnRequest) -> None:
        """Request that this attempt is stopped, ringing or answered, also one of the previous process."""
        self.cancel(request, request.attempt_id)

    def answered(self, call_id: UUID) -> bool:
        """End the attempt of this call, if there is one, as answered: its leg has arrived."""
        return self._attempts.answered(call_id)

    async def close(self) -> None:
        """Cancel what rings, wait for these requests (`CLOSE_SECONDS` at most), and disconnect."""
        self._attempts.cancel()
        await wait_for_all(self._cancel_requests, self._clock)
        await self._client.close()

    async def post(self, document: dict[str, Any], seconds: float = REQUEST_SECONDS) -> Answer:
        """Send one signed request, which also sets `state`; raises `RequestFailed`."""
        try:
            self._known = await current(self._secret)
        except InvalidSetting as problem:
            self._set_state("failing", str(problem))
            raise RequestFailed(str(problem)) from None
        now = int(self._wall())
        body = json.dumps({**document, "timestamp": now}).encode()
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature(self._known, now, body)}
        try:
            answer = await self._client.ask("POST", self._url, headers, body, seconds=seconds)
        except RequestFailed as problem:
            self._set_state("failing", str(problem))
            raise
        if 200 <= answer.status < 300 or 400 <= answer.status < 500:
            self._set_state("up", "")
        else:
            self._set_state("failing", f"the webhook answers HTTP {answer.status}")
        return answer

    def start(self) -> None:
        """Read the secret if a file has it: a report on an attempt of the previous process may come first."""
        self._read_again()

    def _read_again(self) -> None:
        if isinstance(self._secret, str) or self._reading is not None:
            return
        reading = self._reading = Deferred.fromCoroutine(self._read())
        reading.addErrback(lambda failure: self._log.failure("reading the webhook's secret failed", failure))
        reading.addCallback(self._has_read)

    async def _read(self) -> None:
        try:
            self._known = await current(self._secret)
        except InvalidSetting as problem:
            self._log.warn("{problem}; reports are compared with the key before", problem=str(problem))

    def _has_read(self, _: None) -> None:
        self._reading = None

    def cancel(self, request: ReturnRequest, attempt_id: str) -> None:
        """Request, once and in the background, that the ringing stops."""
        document = {"action": "cancel", "attempt_id": attempt_id, "call_id": str(request.call_id)}

        async def send() -> None:
            try:
                answer = await self.post(document)
            except (RequestFailed, defer.CancelledError) as problem:
                self._log.warn("attempt {id} may still ring: {why}", id=attempt_id, why=str(problem))
            else:
                if answer.status >= 300:
                    self._log.warn(
                        "attempt {id} may still ring: the webhook answers HTTP {status} to its cancel",
                        id=attempt_id,
                        status=answer.status,
                    )

        request_sent = Deferred.fromCoroutine(send())
        self._cancel_requests.add(request_sent)
        request_sent.addErrback(lambda failure: self._log.failure("cancelling an attempt failed", failure))
        request_sent.addCallback(lambda _: self._cancel_requests.discard(request_sent))

    def _document(self, request: ReturnRequest, attempt_id: str) -> dict[str, Any]:
        """Return the request that places a call; raises `LocalProtocolError` for what must not reach Asterisk."""
        checked_number(request.number, self._number)
        caller_id = filled(request.caller_id, request.places)
        check_landing(request.exten, request.ring_seconds, caller_id, request.variables)
        return {
            "action": "place",
            "attempt_id": attempt_id,
            "call_id": str(request.call_id),
            "number": request.number,
            "exten": request.exten,
            "ring_seconds": request.ring_seconds,
            "caller_id": caller_id,
            "variables": {**request.variables, "AUDIOSOCKET_CALL_ID": str(request.call_id)},
        }

    def _set_state(self, state: str, reason: str) -> None:
        if state != self._state[0]:
            self._log.info("the webhook for return calls is {state} {reason}", state=state, reason=reason)
        self._state = (state, reason)


def _named_attempt(body: bytes) -> object:
    """Return ``attempt_id`` of a report, None for one without it or one that is not JSON."""
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return report.get("attempt_id") if isinstance(report, dict) else None
