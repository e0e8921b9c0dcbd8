"""Events on their way to the webhook: gathered, signed, tried again, and never in the way of a stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from audiosocket.errors import InvalidSetting
from audiosocket.event_webhook.batches import MAX_EVENTS
from audiosocket.event_webhook.sender import GATHER_SECONDS, LAST_SECONDS, EventWebhook
from audiosocket.outbound.backoff import Backoff
from audiosocket.outbound.http_client import Answer, RequestFailed
from audiosocket.outbound.webhook_signature import is_signed
from audiosocket.runtime.event_feed import EventFeed
from tests.support.fake_web_servers import FakeHTTPClient, SentRequest
from tests.support.logged_events import LoggedEvents

NOW = 1_769_854_523
URL = "http://events.example/hook"


class Sender:
    """The webhook over a client in memory; ``answers`` come one after the other, the last one for ever."""

    def __init__(self, *answers: Answer | Exception | None, secret: str | Any = "not-a-secret") -> None:
        self.clock = Clock()
        self.answers = list(answers)
        self.client = FakeHTTPClient(self.clock, self._answer)
        self.feed = EventFeed(lambda: 0.0)
        backoff = Backoff(1.0, 4.0, lambda low, high: 1.0)
        self.webhook = EventWebhook(
            self.client, self.clock, lambda: NOW + self.clock.seconds(), self.feed, URL, secret, backoff
        )
        self.webhook.startService()

    def _answer(self, request: SentRequest) -> Answer | Exception | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def publish(self, *names: str) -> None:
        for name in names:
            self.feed.publish({"event": name})

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.webhook.stopService())

    def sent(self) -> list[list[str]]:
        """The names of the events of each request."""
        return [[event["event"] for event in request.json["events"]] for request in self.client.requests]


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender(Answer(200))
    yield sender
    sender.stop()
    assert sender.clock.getDelayedCalls() == []


def test_a_secret_in_a_file_is_read_for_each_request() -> None:
    file: list[str | Exception] = ["the first", InvalidSetting("the file is away"), "the second"]
    sender = Sender(
        Answer(200), secret=lambda: fail(file[0]) if isinstance(file[0], Exception) else succeed(file[0])
    )
    for n in (1, 2):
        sender.publish(f"event.{n}")
        sender.clock.advance(GATHER_SECONDS)
        file.pop(0)
    assert len(sender.client.requests) == 1
    assert sender.webhook.to_json()["reason"] == "the file is away"
    sender.clock.advance(1)
    first, second = sender.client.requests
    for request, secret in ((first, "the first"), (second, "the second")):
        header, body = request.headers["X-Audiosocket-Signature"], request.body or b""
        assert is_signed(secret, header, body, NOW + sender.clock.seconds())
    sender.stop()


def test_events_are_gathered_and_signed(sender: Sender) -> None:
    sender.publish("call.started", "leg.joined")
    sender.clock.advance(GATHER_SECONDS)
    (request,) = sender.client.requests
    assert (request.method, request.url) == ("POST", URL)
    assert is_signed("not-a-secret", request.headers["X-Audiosocket-Signature"], request.body or b"", NOW)
    assert request.headers["Idempotency-Key"] == "1-2"
    assert request.json["events"][1] == {"id": 2, "at": "1970-01-01T00:00:00.000Z", "event": "leg.joined"}
    sender.publish("call.ended")
    sender.clock.advance(GATHER_SECONDS)
    assert sender.sent() == [["call.started", "leg.joined"], ["call.ended"]]
    assert sender.webhook.to_json() == {
        "state": "up",
        "reason": "",
        "failed_attempts": 0,
        "waiting": 0,
        "sent_total": 3,
        "dropped_total": 0,
    }


def test_many_events_go_in_several_requests_without_a_pause(sender: Sender) -> None:
    sender.publish(*["leg.digit"] * (3 * MAX_EVENTS))
    sender.clock.advance(GATHER_SECONDS)
    sender.clock.pump([0.0] * 5)
    assert [len(names) for names in sender.sent()] == [MAX_EVENTS] * 3


@pytest.mark.parametrize(
    "trouble", [Answer(502), Answer(401), Answer(302), RequestFailed("no connection", unsent=True)]
)
def test_a_batch_is_sent_again_until_it_arrives_and_the_others_wait(trouble: Answer | Exception) -> None:
    sender = Sender(trouble, trouble, trouble, trouble, Answer(204))
    sender.publish("call.started")
    sender.clock.advance(GATHER_SECONDS)
    sender.publish("call.ended")
    for number, pause in enumerate((1.0, 2.0, 4.0), start=1):
        state = sender.webhook.to_json()
        assert (state["state"], state["failed_attempts"], state["waiting"]) == ("failing", number, 2)
        sender.clock.advance(pause - 0.01)
        assert len(sender.client.requests) == number
        sender.clock.advance(0.01)
    sender.clock.advance(4.0)
    assert sender.webhook.to_json()["state"] == "up"
    sender.clock.advance(GATHER_SECONDS)
    assert sender.sent() == [["call.started"]] * 5 + [["call.ended"]]
    assert {request.headers["Idempotency-Key"] for request in sender.client.requests[:5]} == {"1-1"}


def test_a_batch_that_is_never_accepted_does_not_stop_the_others() -> None:
    sender = Sender(Answer(422), Answer(200))
    sender.publish("app.note")
    with LoggedEvents() as logged:
        sender.clock.advance(GATHER_SECONDS)
    assert "the events 1-1 are not accepted and dropped" in logged.text
    sender.publish("call.ended")
    sender.clock.advance(2.0)
    assert sender.sent() == [["app.note"], ["call.ended"]]
    assert sender.client.requests[1].json["dropped"] == 1
    assert sender.webhook.to_json()["dropped_total"] == 1


def test_a_program_that_does_not_answer_is_asked_again() -> None:
    sender = Sender(None, Answer(200))
    sender.publish("call.started")
    sender.client.pass_time(GATHER_SECONDS + 4.9)
    assert sender.webhook.to_json()["state"] == "connecting"
    sender.client.pass_time(1.5)
    assert len(sender.client.requests) == 2


def test_a_stop_sends_what_waits(sender: Sender) -> None:
    sender.publish("call.started")
    stopped = sender.stop()
    assert stopped.called
    assert sender.sent() == [["call.started"]]
    assert sender.client.closed
    sender.publish("call.ended")
    sender.clock.advance(10)
    assert len(sender.client.requests) == 1


@pytest.mark.parametrize("in_progress", [True, False])
def test_a_stop_does_not_wait_for_a_program_that_hangs(in_progress: bool) -> None:
    sender = Sender(None)
    sender.publish("call.started")
    if in_progress:
        sender.clock.advance(GATHER_SECONDS)
    with LoggedEvents() as logged:
        stopped = sender.stop()
        sender.client.pass_time(LAST_SECONDS)
    assert stopped.called
    assert "1 events are not sent" in logged.text
    assert sender.clock.getDelayedCalls() == []


def test_a_stop_does_not_ask_a_program_that_has_failed() -> None:
    sender = Sender(Answer(500))
    sender.publish("call.started")
    sender.clock.advance(GATHER_SECONDS)
    assert sender.stop().called
    assert len(sender.client.requests) == 1


def test_the_state_and_the_log_do_not_contain_the_secret() -> None:
    sender = Sender(RequestFailed("no connection: refused"))
    with LoggedEvents() as logged:
        sender.publish("call.started")
        sender.client.pass_time(20)
    assert "not-a-secret" not in logged.text + str(sender.webhook.to_json())
    assert logged.text.count("refused; trying again") == 1
