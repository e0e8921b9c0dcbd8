"""HTTP requests end, whatever the server does."""

from __future__ import annotations

import re

import pytest
from twisted.internet import defer, task
from twisted.web.http import Request
from twisted.web.server import NOT_DONE_YET

from audiosocket.errors import InvalidSetting
from audiosocket.outbound.http_client import MAX_BODY_BYTES, Answer, HTTPClient, RequestFailed, checked_url
from tests.support.fake_web_servers import http_server, listening_server, raw_server, web_client
from tests.support.reactor import reactor

HUGE = b"x" * (MAX_BODY_BYTES + 1)


async def test_request_and_answer_are_transmitted_in_full() -> None:
    def answer(request: Request, body: bytes) -> tuple[int, bytes]:
        assert request.getHeader("x-mine") == "1"
        return 418, request.method + b" " + request.uri + b" " + body

    async with http_server(answer) as url, web_client() as client:
        got = await client.ask("POST", f"{url}/a?b=c", {"X-Mine": "1"}, b"said")
        assert got == Answer(418, b"POST /a?b=c said")
        assert await client.ask("GET", f"{url}/", {"X-Mine": "1"}) == Answer(418, b"GET / ")


@pytest.mark.parametrize("keep", [True, False])
async def test_kept_connections_are_shared_and_others_not(keep: bool) -> None:
    peers = set()

    def answer(request: Request, body: bytes) -> tuple[int, bytes]:
        peers.add(request.getClientAddress().port)
        return 200, b""

    async with http_server(answer) as url, web_client() as client:
        for _ in range(4):
            await client.ask("GET", url, {}, keep=keep)
    assert len(peers) == (1 if keep else 4)


async def test_a_body_may_be_as_long_as_the_limit_and_no_longer() -> None:
    async with http_server(lambda request, body: (200, HUGE[: int(body)])) as url, web_client() as client:
        assert len((await client.ask("POST", url, {}, b"%d" % MAX_BODY_BYTES)).body) == MAX_BODY_BYTES
        with pytest.raises(RequestFailed, match="more than 65536 bytes"):
            await client.ask("POST", url, {}, b"%d" % len(HUGE))


async def test_a_redirect_is_an_answer() -> None:
    def answer(request: Request, body: bytes) -> tuple[int, bytes]:
        request.setHeader(b"location", b"/elsewhere")
        return 302, request.path

    async with http_server(answer) as url, web_client() as client:
        assert await client.ask("GET", f"{url}/here", {}) == Answer(302, b"/here")


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (b"", "close"),
        (b"", "reset"),
        (b"garbage\r\n\r\n", "close"),
        (b"\x00\xff" * 40_000, "keep"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "close"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "close"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + HUGE, "keep"),
    ],
)
async def test_an_incomplete_or_malformed_answer_is_a_failed_request(said: bytes, then: str) -> None:
    async with listening_server(raw_server(said, then)) as url, web_client() as client:
        with pytest.raises(RequestFailed) as failed:
            await client.ask("POST", url, {}, b"x", seconds=1)
        assert not failed.value.unsent
        assert not re.search("TypeError|AttributeError", str(failed.value))  # nor a mistake of ours


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_a_server_that_stops_sending_is_a_failed_request_after_the_time_out(said: bytes) -> None:
    async with listening_server(raw_server(said)) as url, web_client() as client:
        with pytest.raises(RequestFailed, match=r"within 0\.1 s"):
            await client.ask("GET", url, {}, seconds=0.1)


async def test_without_a_connection_the_request_is_unsent() -> None:
    async with listening_server(raw_server(b"")) as url:
        pass
    async with web_client() as client:
        with pytest.raises(RequestFailed, match="no connection") as failed:
            await client.ask("POST", url, {}, b"x")
    assert failed.value.unsent


async def test_a_name_that_does_not_exist_is_no_connection() -> None:
    async with web_client() as client:
        with pytest.raises(RequestFailed, match="no connection") as failed:
            await client.ask("GET", "http://no..such..name/", {})
    assert failed.value.unsent


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
async def test_closing_cancels_requests_in_progress(said: bytes) -> None:
    async with listening_server(raw_server(said)) as url:
        client = HTTPClient(reactor)
        asked = client.ask("GET", url, {})
        await task.deferLater(reactor, 0.05)
        assert not asked.called
        await client.close()
        with pytest.raises(defer.CancelledError):
            await asked


async def test_a_request_cancelled_while_it_connects_fails_with_cancelled_error() -> None:
    async with listening_server(raw_server(b"")) as url, web_client() as client:
        asked = client.ask("GET", url, {})
        asked.cancel()
        with pytest.raises(defer.CancelledError):
            await asked


async def test_a_request_to_a_silent_server_can_be_cancelled() -> None:
    async with http_server(lambda request, body: NOT_DONE_YET) as url, web_client() as client:
        asked = client.ask("GET", url, {}, keep=True)
        await task.deferLater(reactor, 0.05)
        asked.cancel()
        with pytest.raises(defer.CancelledError):
            await asked


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://127.0.0.1:8088", "http://127.0.0.1:8088"),
        ("https://pbx.example/asterisk/", "https://pbx.example/asterisk"),
        ("http://[::1]:8088/", "http://[::1]:8088"),
    ],
)
def test_addresses_that_can_be_used(url: str, checked: str) -> None:
    assert checked_url(url, "x") == checked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8088",
        "ftp://host/",
        "http://",
        "http://host:99999",
        "http://host:0",
        "http://host/#x",
        "http://ho st/",
        "http://host/\r\nX: y",
        "http://höst/",
        "http://[::1/",
    ],
)
def test_addresses_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InvalidSetting, match="the ARI address"):
        checked_url(url, "the ARI address")


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidSetting) as refused:
        checked_url("http://user:hunter2@host/", "the ARI address")
    assert "hunter2" not in str(refused.value)
