"""The gate's webhook: signed, the same key each time, until it is confirmed or refused."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from audiosocket.errors import InvalidSetting
from audiosocket.gate.record import GateRecord, WayAnswer
from audiosocket.gate.webhook import GateWebhook
from audiosocket.outbound.backoff import Backoff
from audiosocket.outbound.http_client import Answer, RequestFailed
from audiosocket.outbound.secret import Secret
from audiosocket.outbound.webhook_signature import is_signed
from tests.support.fake_web_servers import FakeHTTPClient, SentRequest

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
SECRET = "not-a-secret"
NOW = 1_769_854_523


def record() -> GateRecord:
    return GateRecord(str(CALL), "v", "2026-01-31T10:15:23.456Z", 1, "1000", 7, "101", "B", "1003030", False, "1")


class Asked:
    """One opening, answered with these one after the other, the last one for ever."""

    def __init__(self, *answers: Answer | Exception | None, secret: Secret = SECRET) -> None:
        self.clock = Clock()
        self.client = FakeHTTPClient(self.clock, self._answer)
        self._answers = answers
        way = GateWebhook(
            self.client,
            self.clock,
            lambda: NOW + self.clock.seconds(),
            "http://gate.example/open",
            secret,
            lambda: Backoff(0.5, 5.0, lambda low, high: 1.0),
        )
        self.results: list[WayAnswer] = []
        Deferred.fromCoroutine(way.open(record())).addCallback(self.results.append)

    def _answer(self, request: SentRequest) -> Answer | Exception | None:
        return self._answers[min(len(self.client.requests), len(self._answers)) - 1]

    @property
    def result(self) -> WayAnswer:
        (result,) = self.results
        return result


def test_a_request_says_who_let_whom_in_and_is_signed() -> None:
    asked = Asked(Answer(200, b'{"ok": true}'))
    (request,) = asked.client.requests
    assert (request.method, request.url) == ("POST", "http://gate.example/open")
    assert request.headers["Idempotency-Key"] == str(CALL)
    assert is_signed(SECRET, request.headers["X-Audiosocket-Signature"], request.body or b"", NOW)
    assert not is_signed("wrong", request.headers["X-Audiosocket-Signature"], request.body or b"", NOW)
    assert request.json == {
        "action": "open",
        "call_id": str(CALL),
        "extension_id": 1,
        "ramal_ia": "1000",
        "condominio_id": 7,
        "apartment": "101",
        "block": "B",
        "answered_by": "1003030",
        "concierge": False,
        "key": "1",
        "authorised_at": "2026-01-31T10:15:23.456Z",
        "timestamp": NOW,
    }
    assert asked.result == WayAnswer(True, 'HTTP 200 {"ok": true}')


@pytest.mark.parametrize("status", [200, 201, 204])
def test_2xx_confirms(status: int) -> None:
    assert Asked(Answer(status)).result.ok


@pytest.mark.parametrize("status", [300, 302, 400, 401, 404, 409, 422])
def test_others_refuse_at_once(status: int) -> None:
    asked = Asked(Answer(status, b"no"))
    assert asked.result == WayAnswer(False, f"HTTP {status} no")
    assert len(asked.client.requests) == 1


@pytest.mark.parametrize(
    "trouble", [Answer(500), Answer(503), Answer(429), Answer(408), RequestFailed("no connection"), None]
)
def test_trouble_is_tried_again_with_the_same_key(trouble: Answer | Exception | None) -> None:
    asked = Asked(trouble, trouble, Answer(200))
    asked.client.pass_time(20)
    assert asked.result.ok
    assert len(asked.client.requests) == 3
    assert {request.headers["Idempotency-Key"] for request in asked.client.requests} == {str(CALL)}
    assert len({request.headers["X-Audiosocket-Signature"] for request in asked.client.requests}) > 1


@pytest.mark.parametrize("trouble", [Answer(500, b"broken"), RequestFailed("no connection"), None])
def test_it_ends_after_half_a_minute(trouble: Answer | Exception | None) -> None:
    asked = Asked(trouble)
    asked.client.pass_time(29)
    assert asked.results == []
    asked.client.pass_time(7)
    assert not asked.result.ok
    assert "within 30 s" in asked.result.detail
    asked.client.pass_time(60)
    assert len(asked.client.requests) < 12


def test_what_was_answered_is_one_short_line() -> None:
    asked = Asked(Answer(200, b"a\r\n\x00b\xff" + b"x" * 1000))
    assert asked.result.detail.startswith("HTTP 200 ab\ufffdx")
    assert len(asked.result.detail) < 220


def test_a_cancelled_opening_asks_no_more() -> None:
    clock = Clock()
    client: Any = FakeHTTPClient(clock, lambda request: Answer(500))
    way = GateWebhook(client, clock, lambda: NOW, "http://gate.example/", SECRET)
    work = Deferred.fromCoroutine(way.open(record()))
    work.addErrback(lambda failure: None)
    work.cancel()
    client.pass_time(60)
    assert len(client.requests) == 1


def test_a_secret_that_cannot_be_read_yet_is_read_again() -> None:
    file: list[str] = []
    asked = Asked(
        Answer(200), secret=lambda: succeed(file[0]) if file else fail(InvalidSetting("the file is away"))
    )
    assert asked.client.requests == []
    file.append("the new one")
    asked.clock.advance(5)
    (request,) = asked.client.requests
    header, body = request.headers["X-Audiosocket-Signature"], request.body or b""
    assert is_signed("the new one", header, body, NOW + asked.clock.seconds())
    assert asked.result.ok


def test_a_secret_that_stays_away_is_the_reason() -> None:
    asked = Asked(Answer(200), secret=lambda: fail(InvalidSetting("GATE_WEBHOOK_SECRET_FILE: away")))
    asked.clock.pump([1.0] * 40)
    assert asked.client.requests == []
    assert not asked.result.ok
    assert asked.result.detail.endswith("GATE_WEBHOOK_SECRET_FILE: away")
