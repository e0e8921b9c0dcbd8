"""Opening the gate by a signed HTTP POST, sent again until it is confirmed, always with the same key.

2xx confirms. 408, 425, 429 and 5xx, no answer and no connection are tried again for `RETRY_SECONDS`; everything
else is a refusal. ``Idempotency-Key`` is the call's UUID: a program that has opened for it does not open again.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from audiosocket.errors import InvalidSetting
from audiosocket.gate.record import GateRecord, WayAnswer
from audiosocket.outbound.backoff import Backoff
from audiosocket.outbound.http_client import REQUEST_SECONDS, Answer, HTTPClientProtocol, RequestFailed
from audiosocket.outbound.secret import Secret, current
from audiosocket.outbound.webhook_signature import SIGNATURE_HEADER, signature

#: Seconds from the first request after which none is sent any more.
RETRY_SECONDS = 30.0
TRY_AGAIN = frozenset({408, 425, 429})
MAX_ANSWER = 200
KEY_HEADER = "Idempotency-Key"


class GateWebhook:
    """A way to open the gate: the program at ``url``. ``wall`` is Unix time in seconds.

    ``secret`` signs the requests; where it cannot be read, that is tried again as a request is.
    """

    name = "webhook"

    def __init__(
        self,
        client: HTTPClientProtocol,
        clock: IReactorTime,
        wall: Callable[[], float],
        url: str,
        secret: Secret,
        backoff: Callable[[], Backoff] = lambda: Backoff(0.5, 5.0),
    ) -> None:
        self._client = client
        self._clock = clock
        self._wall = wall
        self._url = url
        self._secret = secret
        self._backoff = backoff

    async def open(self, record: GateRecord, begin: object = None) -> WayAnswer:
        """Ask until it is confirmed or refused, or the time is over; never raises but for a cancellation."""
        backoff = self._backoff()
        until = self._clock.seconds() + RETRY_SECONDS
        why = ""
        while (left := until - self._clock.seconds()) > 0:
            try:
                answer = await self._post(record, min(REQUEST_SECONDS, left))
            except (RequestFailed, InvalidSetting) as problem:
                why = str(problem)
            else:
                said = f"HTTP {answer.status}{_text(answer.body)}"
                if answer.status < 500 and answer.status not in TRY_AGAIN:
                    return WayAnswer(200 <= answer.status < 300, said)
                why = said
            await deferLater(self._clock, backoff.pause())
        return WayAnswer(False, f"not confirmed within {RETRY_SECONDS:g} s: {why}")

    async def _post(self, record: GateRecord, seconds: float) -> Answer:
        secret = await current(self._secret)
        now = int(self._wall())
        document = {
            "action": "open",
            "call_id": record.call_id,
            "extension_id": record.extension,
            "ramal_ia": record.ramal,
            "condominio_id": record.condominium,
            "apartment": record.apartment,
            "block": record.block,
            "answered_by": record.answered_by,
            "concierge": record.concierge,
            "key": record.key,
            "authorised_at": record.at,
            "timestamp": now,
        }
        body = json.dumps(document).encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(secret, now, body),
            KEY_HEADER: record.call_id,
        }
        return await self._client.ask("POST", self._url, headers, body, seconds=seconds)


def _text(body: bytes) -> str:
    """The beginning of an answer, for people."""
    text = "".join(one for one in body[:MAX_ANSWER].decode("utf-8", "replace") if one.isprintable())
    return f" {text}" if text else ""
