"""The HTTP server: limits, deadlines, rejections and hostile bytes, in memory and in simulated time."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from admin.site import CLOSING_SECONDS, LINGER_SECONDS, MAX_BODY_BYTES, MAX_CONNECTIONS, REQUEST_SECONDS
from tests.support.admin_client import AdminClient, FakeConnection, Response, for_each, request_bytes
from tests.support.logged_failures import LoggedFailures

HEALTH = request_bytes("GET", "/healthz")
REFRESH = b"POST /api/refresh HTTP/1.1\r\nHost: localhost\r\n"
LARGEST = b"{}".ljust(MAX_BODY_BYTES)


def error_message(wire: FakeConnection, status: int) -> Response:
    """Return the last response, which must be this error with nothing after it."""
    answer = wire.responses()[-1]
    assert answer.status == status, answer
    assert answer.json()["status"] == "error"
    assert answer.headers["Connection"] == "close"
    assert wire.transport.finished
    return answer


def chunked(body: bytes, size: int) -> bytes:
    parts = (body[i : i + size] for i in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# --- headers of every response ------------------------------------------------------------------------


def test_every_response_has_the_security_headers(web: AdminClient) -> None:
    web.control.health = (False, "late")
    answers = [
        web.request("GET", "/api/status"),
        web.request("GET", "/healthz"),
        web.request("GET", "/nope"),
        web.request("PUT", "/api/status"),
        web.request("GET", "/", Host="evil.example"),
        *web.connect().send(b"rubbish\r\n\r\n").responses(),
        *web.connect().send(REFRESH + b"Content-Length: 70000\r\n\r\n").responses(),
    ]
    assert [answer.status for answer in answers] == [200, 503, 404, 405, 421, 400, 413]
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Server"] == "audiosocket"
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


# --- bodies -----------------------------------------------------------------------------------------


def test_the_largest_body_is_accepted(web: AdminClient) -> None:
    web.request("POST", "/api/refresh", LARGEST)
    (answer,) = (
        web.connect().send(REFRESH + b"Transfer-Encoding: chunked\r\n\r\n", chunked(LARGEST, 5000)).responses()
    )
    assert answer.status == 200
    assert len(web.control.requests) == 2


def test_a_body_is_rejected_by_its_content_length(web: AdminClient) -> None:
    wire = web.connect().send(REFRESH + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
    error_message(wire, 413)
    wire.send(LARGEST, b" ", HEALTH)
    assert len(wire.responses()) == 1
    assert web.control.requests == []


@for_each(1, 1000, 65_535, 65_537, 200_000)
def test_a_chunked_body_is_rejected_when_it_grows_too_large(web: AdminClient, size: int) -> None:
    body = chunked(LARGEST + b" ", size)
    wire = web.connect().send(REFRESH + b"Transfer-Encoding: chunked\r\n\r\n")
    wire.send(*(body[i : i + 16_384] for i in range(0, len(body), 16_384)), HEALTH)
    error_message(wire, 413)
    assert len(wire.responses()) == 1
    assert web.control.requests == []


@for_each(
    b"Content-Length: 999999999999999999999", b"content-length:  " + b"9" * 5000, b"Content-Length: " + b"0" * 5000
)
def test_a_huge_content_length_is_413(web: AdminClient, header: bytes) -> None:
    error_message(web.connect().send(REFRESH + header + b"\r\n\r\n"), 413)


def test_expect_continue_is_not_answered_100_for_too_large_a_body(web: AdminClient) -> None:
    expect = REFRESH + b"Expect: 100-continue\r\n"
    wire = web.connect().send(expect + b"Content-Length: 70000\r\n\r\n")
    assert b" 100 " not in wire.transport.value()
    error_message(wire, 413)
    assert b" 100 " in web.connect().send(expect + b"Content-Length: 2\r\n\r\n").transport.value()


def test_bodies_stay_in_memory(web: AdminClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twisted keeps chunked bodies, and those of 100,000 bytes and more, in a file."""

    def no_file(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was opened")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_file)
    wire = web.connect().send(REFRESH + b"Transfer-Encoding: chunked\r\n\r\n", chunked(LARGEST, 9999))
    assert wire.responses()[0].status == 200
    error_message(web.connect().send(REFRESH + b"Content-Length: 300000000\r\n\r\n"), 413)


def test_a_form_is_not_parsed(web: AdminClient) -> None:
    """curl -d sends the Content-Type of a form; Twisted closes the connection on invalid multipart."""
    form = "application/x-www-form-urlencoded"
    assert web.request("POST", "/api/restart", b'{"ramal": "1000"}', Content_Type=form).status == 200
    for kind in ("multipart/form-data; boundary=x", "multipart/form-data"):
        answer = web.request("POST", "/api/restart", b'{"ramal": "1000"}', Content_Type=kind)
        assert (answer.status, answer.json()["status"]) == (415, "error")


def test_the_rest_of_a_rejected_request_is_read(web: AdminClient) -> None:
    """The response is followed by a half-close; a client that sends for seconds after that is reset."""
    wire = web.connect().send(REFRESH + b"Content-Length: 70000\r\n\r\n")
    assert wire.transport.half_closed
    assert not wire.transport.disconnecting
    wire.send(b"x" * 70_000)
    web.clock.advance(LINGER_SECONDS)
    assert wire.transport.disconnected


# --- requests that Twisted itself would reject ---------------------------------------------------------------


@for_each(
    b"rubbish\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: local\x00host\r\n\r\n",
    b"GET / HTTP/1.1\r\nHo st: localhost\r\n\r\n",
    REFRESH + b"Content-Length: -1\r\n\r\n",
    REFRESH + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    REFRESH + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    REFRESH + b"Transfer-Encoding: gzip\r\n\r\n",
    REFRESH + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    REFRESH + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 600 + b"\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"a: %b\r\n" % (b"x" * 9000) for _ in range(3)) + b"\r\n",
)
def test_invalid_http_is_a_json_400(web: AdminClient, raw: bytes) -> None:
    wire = web.connect().send(raw)
    error_message(wire, 400)
    wire.send(HEALTH)
    assert len(wire.responses()) == 1
    assert web.control.requests == []


def test_a_failure_outside_of_the_routes_is_a_json_500(
    web: AdminClient, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
) -> None:
    def broken(_: object) -> bytes:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(web.site.resource, "render", broken)
    answer = web.request("GET", "/api/status")
    assert (answer.status, answer.json()["status"]) == (500, "error")
    assert b"hunter2" not in answer.body
    assert len(logged_failures.flush(RuntimeError)) == 1


def test_nothing_after_a_bad_header_is_answered(web: AdminClient) -> None:
    wire = web.connect().send(REFRESH + b"no colon\r\nX: y\r\n\r\n" + request_bytes("POST", "/api/refresh"))
    error_message(wire, 400)
    assert web.control.requests == []


def test_a_too_long_line_is_431(web: AdminClient) -> None:
    error_message(web.connect().send(b"GET /" + b"x" * 20_000), 431)
    error_message(web.connect().send(b"GET / HTTP/1.1\r\nHost: " + b"x" * 20_000 + b"\r\n"), 431)


tokens = st.sampled_from(
    [
        *(
            b"GET ",
            b"POST ",
            b"/api/refresh",
            b"/healthz",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"\r\n",
            b"\r\n\r\n",
        ),
        *(b"Host: localhost\r\n", b"Content-Length: ", b"5\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        *(
            b"Connection: close\r\n",
            b"Expect: 100-continue\r\n",
            b"{}",
            b"2\r\n{}\r\n",
            b"\x00",
            b": ",
            b" ",
            HEALTH,
        ),
    ]
)


@settings(max_examples=150, deadline=None)
@given(raw=st.lists(tokens | st.binary(max_size=8), max_size=25), step=st.integers(1, 60))
@example(raw=[HEALTH, REFRESH, b"Content-Length: 2\r\n\r\n{}", HEALTH], step=7)
def test_any_bytes_in_any_pieces(raw: list[bytes], step: int) -> None:
    """Every response is ours, in JSON, below 500, and the same however the bytes are split."""
    stream = b"".join(raw)
    whole, split = AdminClient().connect(), AdminClient().connect()
    whole.send(stream)
    split.send(*(stream[i : i + step] for i in range(0, len(stream), step)))
    plain = [wire.transport.value().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"") for wire in (whole, split)]
    for wire, value in zip((whole, split), plain, strict=True):
        wire.transport.clear()
        wire.transport.write(value)
    found = whole.responses()
    assert [(a.status, a.body) for a in found] == [(a.status, a.body) for a in split.responses()]
    for answer in found:
        assert answer.status < 500
        assert answer.json()["status"] in {"success", "ok", "error"}


# --- connections ------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(web: AdminClient) -> None:
    wire = web.connect().send(HEALTH + request_bytes("GET", "/nope") + request_bytes("GET", "/api/calls"))
    assert [answer.status for answer in wire.responses()] == [200, 404, 200]
    assert not wire.transport.finished


def test_slow_bytes_do_not_prolong_the_deadline_of_a_request(web: AdminClient) -> None:
    wire = web.connect()
    web.clock.advance(REQUEST_SECONDS - 1)
    for byte in HEALTH[:REQUEST_SECONDS]:
        assert not wire.transport.finished
        wire.send(bytes([byte]))
        web.clock.advance(1)
    assert wire.transport.finished


def test_a_connection_without_requests_is_closed(web: AdminClient) -> None:
    wire = web.connect().send(HEALTH)
    web.clock.advance(REQUEST_SECONDS - 1)
    wire.send(HEALTH)
    web.clock.advance(REQUEST_SECONDS - 1)
    assert not wire.transport.finished
    web.clock.advance(1)
    assert wire.transport.finished
    assert len(wire.responses()) == 2


def test_a_slow_response_has_no_deadline(web: AdminClient) -> None:
    web.control.blocked_on = Deferred()
    wire = web.connect().send(request_bytes("POST", "/api/refresh"))
    web.clock.advance(10 * REQUEST_SECONDS)
    assert not wire.transport.finished
    web.control.blocked_on.callback(None)
    assert wire.responses()[0].status == 200


def test_a_client_that_does_not_read_the_response_is_aborted(web: AdminClient) -> None:
    wire = web.connect().send(request_bytes("GET", "/api/status", Connection="close"))
    assert wire.transport.disconnecting
    web.clock.advance(CLOSING_SECONDS - 1)
    assert not wire.transport.disconnected
    web.clock.advance(1)
    assert wire.transport.disconnected


def test_a_closed_connection_leaves_no_timer(web: AdminClient) -> None:
    for raw in (b"", HEALTH, HEALTH[:9], b"rubbish\r\n\r\n", request_bytes("GET", "/healthz", Connection="close")):
        wire = web.connect().send(raw)
        wire.close()
        assert web.clock.getDelayedCalls() == [], raw


def test_above_the_limit_the_longest_idle_connection_is_closed(web: AdminClient) -> None:
    first, *others = [web.connect() for _ in range(MAX_CONNECTIONS)]
    first.send(HEALTH)  # now the second one is idle longest
    new = web.connect().send(HEALTH)
    assert new.responses()[0].status == 200
    assert [wire.transport.disconnected for wire in (first, *others[:2])] == [False, True, False]
    others[0].close()
    others[1].close()
    assert web.connect().accepted
    assert not others[2].transport.disconnected


def test_connections_are_idle_after_the_response(web: AdminClient) -> None:
    wires = [web.connect().send(HEALTH) for _ in range(MAX_CONNECTIONS)]
    assert web.connect().accepted
    assert [wire.transport.disconnected for wire in wires[:2]] == [True, False]


def test_closed_connections_are_not_counted(web: AdminClient) -> None:
    for raw in (b"", HEALTH[:9], HEALTH, b"rubbish\r\n\r\n"):
        for _ in range(MAX_CONNECTIONS):
            web.connect().send(raw).close()
    first, second = web.connect(), web.connect()
    assert not first.transport.disconnected
    assert second.accepted


def test_a_busy_connection_is_not_closed_for_another(web: AdminClient) -> None:
    web.control.blocked_on = Deferred()
    busy = [web.connect().send(request_bytes("POST", "/api/refresh")) for _ in range(MAX_CONNECTIONS)]
    assert not web.connect().accepted
    web.control.blocked_on.callback(None)
    assert [wire.responses()[0].status for wire in busy] == [200] * MAX_CONNECTIONS
