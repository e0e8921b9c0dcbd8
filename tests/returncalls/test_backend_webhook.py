"""Return calls through a webhook: signatures, retries, reports, and how each attempt ends."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from twisted.internet import task
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.http import Request

from audiosocket.errors import InvalidReport, InvalidSetting
from audiosocket.outbound.backoff import Backoff
from audiosocket.outbound.http_client import Answer, HTTPClient, RequestFailed
from audiosocket.outbound.secret import Secret
from audiosocket.outbound.webhook_signature import SIGNATURE_HEADER, SIGNED_SECONDS, signature
from audiosocket.returncalls.backends.webhook import WebhookOriginator
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from tests.support.fake_web_servers import FakeHTTPClient, SentRequest, http_server, listening_server, raw_server
from tests.support.logged_events import LoggedEvents
from tests.support.reactor import reactor

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
REQUEST = ReturnRequest(CALL, "+5511", "1001", 10, "Portão", {"GATE": "1"})
SECRET = "hunter2"
NOW = 1_790_000_000
AWAY = RequestFailed("no connection: refused", unsent=True)
BROKEN = RequestFailed("the connection broke")


#: What a request gets: an answer, an error, or None for no answer.
Reply = Answer | RequestFailed | None


class Dialler:
    """A webhook's program in memory; ``replies`` answer the next requests, the last one all further ones."""

    def __init__(self, secret: Secret = SECRET) -> None:
        self.clock = task.Clock()
        self.replies: list[Reply] = [Answer(202)]
        self.says_to_cancel: Reply = Answer(200)
        self.web = FakeHTTPClient(self.clock, self.answer)
        ids = iter("abcdef")
        self.hook = WebhookOriginator(
            self.web,
            self.clock,
            lambda: NOW + self.clock.seconds(),
            "https://dialler.example/ring?x=1",
            secret,
            new_id=lambda: next(ids),
            backoff=lambda: Backoff(0.5, 2.0, lambda low, high: 1.0),
        )

    def answer(self, asked: SentRequest) -> Reply:
        if asked.json["action"] == "cancel":
            return self.says_to_cancel
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def place(self, request: ReturnRequest = REQUEST) -> list[AttemptResult]:
        results: list[AttemptResult] = []
        self.placed = self.hook.place(request)
        self.placed.addCallback(results.append)
        return results

    def asked(self, action: str) -> list[SentRequest]:
        return [asked for asked in self.web.requests if asked.json["action"] == action]


@pytest.fixture
def dialler() -> Iterator[Dialler]:
    dialler = Dialler()
    yield dialler
    dialler.web.pass_time(20)
    assert dialler.hook.ringing == 0
    assert not dialler.clock.getDelayedCalls()


def test_the_request_and_its_signature(dialler: Dialler) -> None:
    dialler.place()
    (asked,) = dialler.web.requests
    assert (asked.method, asked.url, asked.seconds) == ("POST", "https://dialler.example/ring?x=1", 5)
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.json == {
        "action": "place",
        "attempt_id": "a",
        "call_id": str(CALL),
        "number": "+5511",
        "exten": "1001",
        "ring_seconds": 10,
        "caller_id": "Portão",
        "variables": {"AUDIOSOCKET_CALL_ID": str(CALL), "GATE": "1"},
        "timestamp": NOW,
    }
    expected = hmac.new(b"hunter2", str(NOW).encode() + b"." + (asked.body or b""), hashlib.sha256).hexdigest()
    assert asked.headers[SIGNATURE_HEADER] == f"t={NOW},v1={expected}"
    assert dialler.hook.ringing == 1
    dialler.placed.cancel()


def test_a_signature_is_what_other_programs_compute() -> None:
    # printf 1.body | openssl dgst -sha256 -hmac key
    theirs = "91b5374b153842ad05b2c4eab9349b8321b14703165bd3fb8b034dfb8be98ae5"
    assert signature("key", 1, b"body") == f"t=1,v1={theirs}"


def test_a_report_is_signed_as_a_request_is(dialler: Dialler) -> None:
    body = b'{"attempt_id": "a", "end": "busy"}'
    good = signature(SECRET, NOW, body)
    assert dialler.hook.vouches(good, "a", body)
    for late in (SIGNED_SECONDS, -SIGNED_SECONDS):
        assert dialler.hook.vouches(signature(SECRET, NOW + late, body), "a", body)
    for sent in (
        "", "t=,v1=", good.upper(), good[:-1], good + "0", good.replace("v1", "v0"), f"t={NOW}", good[:-2] + "é",
        f"t={NOW},v1={'0' * 64}", signature("another", NOW, body), signature(SECRET, NOW, body + b" "),
        signature(SECRET, NOW - SIGNED_SECONDS - 1, body), signature(SECRET, NOW + SIGNED_SECONDS + 1, body),
        good.replace(f"t={NOW}", f"t={NOW + 1}"), "t=" + "9" * 5000 + good[good.index(","):],
    ):  # fmt: skip
        assert not dialler.hook.vouches(sent, "a", body), sent


@pytest.mark.parametrize(
    "body",
    [
        b'{"end": "busy"}',
        b'{"attempt_id": "b", "end": "busy"}',
        b'{"attempt_id": null, "end": "busy"}',
        b'["attempt_id", "a"]',
        b'"a"',
        b"attempt_id=a",
        b"[" * 100_000,
        b"\xff",
        b"",
    ],
)
def test_a_signed_report_that_does_not_name_its_attempt_is_refused(dialler: Dialler, body: bytes) -> None:
    assert not dialler.hook.vouches(signature(SECRET, NOW, body), "a", body)


@pytest.mark.parametrize("end", ["answered", "busy", "no_answer", "refused", "failed"])
def test_a_reported_end_ends_the_attempt(dialler: Dialler, end: AttemptEnd) -> None:
    results = dialler.place()
    dialler.web.pass_time(3)
    assert dialler.hook.report("a", end, "said\r\nso" + "x" * 999)
    assert results == [AttemptResult(AttemptEnd(end), ("said\r\nso" + "x" * 192).replace("\r\n", ""))]
    assert not dialler.hook.report("a", end)
    dialler.web.pass_time(10)
    assert len(dialler.web.requests) == 1


def test_a_report_may_come_before_the_answer_to_the_request(dialler: Dialler) -> None:
    dialler.replies = [None]
    results = dialler.place()
    assert dialler.hook.report("a", "busy")
    assert [result.end for result in results] == [AttemptEnd.BUSY]


@pytest.mark.parametrize("end", ["", "cancelled", "ANSWERED", "won"])
def test_a_report_must_have_a_known_end(dialler: Dialler, end: AttemptEnd) -> None:
    results = dialler.place()
    with pytest.raises(InvalidReport, match="answered, busy, failed, no_answer, refused"):
        dialler.hook.report("a", end)
    assert results == []
    dialler.placed.cancel()


def test_a_report_without_an_attempt_is_rejected(dialler: Dialler) -> None:
    assert not dialler.hook.report("z", "answered")


def test_the_residents_leg_is_an_answer(dialler: Dialler) -> None:
    results = dialler.place()
    assert not dialler.hook.answered(UUID(int=1))
    assert dialler.hook.answered(CALL)
    assert results == [AttemptResult(AttemptEnd.ANSWERED, "")]
    assert not dialler.hook.answered(CALL)
    assert not dialler.asked("cancel")


def test_without_a_report_it_is_no_answer_and_the_ringing_is_stopped(dialler: Dialler) -> None:
    results = dialler.place()
    dialler.web.pass_time(10.5)
    assert results == []
    dialler.web.pass_time(0.6)
    assert [result.end for result in results] == [AttemptEnd.NO_ANSWER]
    (asked,) = dialler.asked("cancel")
    assert asked.json == {
        "action": "cancel",
        "attempt_id": "a",
        "call_id": str(CALL),
        "timestamp": NOW + 11,
    }
    assert asked.headers[SIGNATURE_HEADER] == signature(SECRET, NOW + 11, asked.body or b"")


@pytest.mark.parametrize("said_to_cancel", [Answer(200), Answer(500), BROKEN, None])
def test_cancelling_sends_one_request_whatever_is_answered(dialler: Dialler, said_to_cancel: Reply) -> None:
    dialler.says_to_cancel = said_to_cancel
    results = dialler.place()
    dialler.web.pass_time(1)
    dialler.placed.cancel()
    assert results == [AttemptResult(AttemptEnd.CANCELLED, "cancelled")]
    dialler.web.pass_time(10)
    assert len(dialler.asked("cancel")) == 1


def test_an_attempt_of_another_process_is_stopped_by_its_id(dialler: Dialler) -> None:
    request = ReturnRequest(CALL, "1", "1001", 10, attempt_id="seven")
    dialler.place(request)
    assert dialler.asked("place")[0].json["attempt_id"] == "seven"
    dialler.hook.answered(CALL)
    dialler.hook.stop(request)
    assert [asked.json["attempt_id"] for asked in dialler.asked("cancel")] == ["seven"]


@pytest.mark.parametrize("replies", [None, AWAY])
def test_a_request_under_way_is_cancelled_too(dialler: Dialler, replies: Reply) -> None:
    dialler.replies = [replies]
    results = dialler.place()
    dialler.placed.cancel()
    assert [result.end for result in results] == [AttemptEnd.CANCELLED]
    dialler.web.pass_time(10)
    assert len(dialler.asked("place")) == 1
    assert len(dialler.asked("cancel")) == (replies is None)  # an attempt that it never received cannot ring


@pytest.mark.parametrize(
    ("status", "end"),
    [(400, AttemptEnd.REFUSED), (404, AttemptEnd.REFUSED), (499, AttemptEnd.REFUSED), (302, AttemptEnd.FAILED)],
)
def test_a_final_answer_is_not_requested_twice(dialler: Dialler, status: int, end: AttemptEnd) -> None:
    dialler.replies = [Answer(status)]
    (result,) = dialler.place()
    assert result.end is end
    assert str(status) in result.reason
    dialler.web.pass_time(10)
    assert len(dialler.web.requests) == 1


@pytest.mark.parametrize("trouble", [Answer(500), Answer(503), AWAY, BROKEN])
def test_a_failed_request_is_tried_again_twice(dialler: Dialler, trouble: Reply) -> None:
    dialler.replies = [trouble, trouble, Answer(200)]
    results = dialler.place()
    dialler.web.pass_time(0.4)
    assert len(dialler.web.requests) == 1
    dialler.web.pass_time(0.2)
    assert len(dialler.web.requests) == 2
    dialler.web.pass_time(1)
    first, _, last = dialler.asked("place")
    assert {**last.json, "timestamp": 0} == {**first.json, "timestamp": 0}
    assert last.headers[SIGNATURE_HEADER] == signature(SECRET, NOW + 1, last.body or b"")
    assert dialler.hook.state == ("up", "")
    assert results == []
    dialler.hook.report("a", "answered")


@pytest.mark.parametrize(
    ("trouble", "cancels", "away"), [(Answer(500), 1, False), (AWAY, 0, True), (BROKEN, 1, True)]
)
def test_an_attempt_whose_requests_all_fail_has_failed(
    dialler: Dialler, trouble: Reply, cancels: int, away: bool
) -> None:
    dialler.replies = [trouble]
    results = dialler.place()
    dialler.web.pass_time(2)
    assert [result.end for result in results] == [AttemptEnd.FAILED]
    assert "the webhook is not available" in results[0].reason
    assert results[0].unavailable == away, "an error may be about this number only"
    assert len(dialler.asked("place")) == 3
    assert len(dialler.asked("cancel")) == cancels


def test_a_caller_id_may_name_the_extension(dialler: Dialler) -> None:
    row = {"ramal": "1000", "condominio": "7"}
    dialler.place(ReturnRequest(CALL, "1", "1001", 7, "Gate {ramal}, {condominio}", row=row))
    assert dialler.asked("place")[0].json["caller_id"] == "Gate 1000, 7"
    dialler.placed.cancel()
    (result,) = dialler.place(ReturnRequest(CALL, "1", "1001", 7, "Gate {ramal}", row={"ramal": "1\n"}))
    assert (result.end, len(dialler.asked("place"))) == (AttemptEnd.FAILED, 1)


def test_an_unanswered_request_is_tried_again_within_the_ring_time_only(dialler: Dialler) -> None:
    dialler.replies = [None]
    results = dialler.place(ReturnRequest(CALL, "1", "1001", 7))
    dialler.web.pass_time(8.2)
    assert [asked.seconds for asked in dialler.asked("place")] == [5, 1.5]
    assert [(result.end, result.unavailable) for result in results] == [(AttemptEnd.FAILED, True)]
    assert len(dialler.asked("cancel")) == 1


@pytest.mark.parametrize(
    "request_",
    [
        ReturnRequest(CALL, "1@x", "1001", 10),
        ReturnRequest(CALL, "1", "1001 x", 10),
        ReturnRequest(CALL, "1", "1001", 601),
        ReturnRequest(CALL, "1", "1001", 10, "", {"A(b)": ""}),
    ],
)
def test_what_must_not_reach_asterisk_is_not_sent(dialler: Dialler, request_: ReturnRequest) -> None:
    (result,) = dialler.place(request_)
    assert result.end is AttemptEnd.FAILED
    assert dialler.web.requests == []


def test_the_state_is_the_result_of_the_last_request(dialler: Dialler) -> None:
    assert dialler.hook.state[0] == "connecting"
    for replies, state in (
        (Answer(202), ("up", "")),
        (Answer(302), ("failing", "the webhook answers HTTP 302")),
        (Answer(403), ("up", "")),
        (AWAY, ("failing", "no connection: refused")),
    ):
        dialler.replies = [replies]
        dialler.place()
        assert dialler.hook.state == state
        dialler.placed.cancel()


def test_stopping_sends_cancels_and_waits_for_them(dialler: Dialler) -> None:
    dialler.says_to_cancel = None
    results = dialler.place()
    stopped = Deferred.fromCoroutine(dialler.hook.close())
    assert [result.end for result in results] == [AttemptEnd.CANCELLED]
    dialler.web.pass_time(1.9)
    assert not stopped.called
    dialler.web.pass_time(0.2)
    assert stopped.called
    assert dialler.web.closed


def test_a_webhook_without_a_secret_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="secret"):
        WebhookOriginator(
            FakeHTTPClient(task.Clock(), lambda _: None), task.Clock(), lambda: 0, "https://dialler.example/", ""
        )
    with pytest.raises(InvalidSetting, match="webhook address"):
        WebhookOriginator(
            FakeHTTPClient(task.Clock(), lambda _: None), task.Clock(), lambda: 0, "dialler.example", "x"
        )


@pytest.mark.parametrize("failing", [AWAY, BROKEN])
def test_an_ended_attempt_is_not_requested_again(
    dialler: Dialler, failing: RequestFailed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking: Deferred[Answer] = Deferred(lambda asking: asking.errback(failing))
    with monkeypatch.context() as patched:
        patched.setattr(dialler.web, "ask", lambda *given, **more: asking)
        results = dialler.place()
        assert dialler.hook.report("a", "busy")
    dialler.web.pass_time(5)
    assert [result.end for result in results] == [AttemptEnd.BUSY]
    assert dialler.web.requests == []


def test_a_secret_in_a_file_signs_from_the_next_request_on() -> None:
    file: list[str | Exception] = ["the first"]

    def read() -> Deferred[str]:
        return fail(file[0]) if isinstance(file[0], Exception) else succeed(file[0])

    dialler = Dialler(read)
    body = json.dumps({"attempt_id": "a", "end": "busy"}).encode()
    dialler.hook.start()
    assert dialler.hook.vouches(signature("the first", NOW, body), "a", body)
    file[0] = "the second"
    dialler.hook.place(REQUEST)
    sent = dialler.web.requests[-1]
    signed_at = int(sent.headers[SIGNATURE_HEADER].partition(",")[0].removeprefix("t="))
    assert sent.headers[SIGNATURE_HEADER] == signature("the second", signed_at, sent.body or b"")
    assert dialler.hook.vouches(signature("the second", NOW, body), "a", body)
    file[0] = "the third"  # no request in between: the first report makes the server read the file
    assert not dialler.hook.vouches(signature("the third", NOW, body), "a", body)
    assert dialler.hook.vouches(signature("the third", NOW, body), "a", body)
    file[0] = InvalidSetting("WEBHOOK_SECRET_FILE: away")
    assert not dialler.hook.vouches(signature("", NOW, body), "a", body)
    assert dialler.hook.vouches(signature("the third", NOW, body), "a", body)


def test_without_a_readable_secret_nothing_is_sent_and_the_state_says_so() -> None:
    dialler = Dialler(lambda: fail(InvalidSetting("WEBHOOK_SECRET_FILE: away")))
    body = json.dumps({"attempt_id": "a", "end": "busy"}).encode()
    assert not dialler.hook.vouches(signature("", NOW, body), "a", body)
    dialler.hook.place(REQUEST)
    assert dialler.web.requests == []
    assert dialler.hook.state == ("failing", "WEBHOOK_SECRET_FILE: away")
    dialler.hook.stop(REQUEST)
    dialler.clock.advance(60)


# Over real connections


def over_http(url: str) -> WebhookOriginator:
    return WebhookOriginator(
        HTTPClient(reactor), reactor, lambda: NOW, url, SECRET, backoff=lambda: Backoff(0.01, 0.02)
    )


async def test_a_dialler_that_fails_once_and_then_reports() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(request: Request, body: bytes) -> tuple[int, bytes]:
        given = str(request.getHeader(SIGNATURE_HEADER))
        signed_at = re.match(r"t=(\d+),", given)
        assert signed_at is not None
        assert given == signature(SECRET, int(signed_at[1]), body)
        bodies.append(json.loads(body))
        if len(bodies) == 2:
            reactor.callLater(0.02, hook.report, bodies[0]["attempt_id"], "busy", "in a call")
        return 500 if len(bodies) == 1 else 202, b""

    async with http_server(answer) as url:
        hook = over_http(url)
        assert await hook.place(REQUEST) == AttemptResult(AttemptEnd.BUSY, "in a call")
        await hook.close()
    assert [body["action"] for body in bodies] == ["place", "place"]


@pytest.mark.parametrize(
    ("sent", "then"),
    [(b"", "reset"), (b"garbage\r\n\r\n", "close"), (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, "keep")],
)
async def test_an_invalid_answer_fails_and_no_secret_is_logged(sent: bytes, then: str) -> None:
    with LoggedEvents() as logged:
        async with listening_server(raw_server(sent, then)) as url:
            hook = over_http(url)
            result = await hook.place(REQUEST)
            assert result.end is AttemptEnd.FAILED
            await hook.close()
    assert SECRET not in f"{logged.text} {result} {hook.state}"
