"""`audiosocket.outbound.websocket` against a real WebSocket server on loopback."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet import defer, task
from wsproto import events as ws
from wsproto.frame_protocol import CloseReason

from audiosocket.errors import InvalidSetting
from audiosocket.outbound.endpoints import Endpoints, MakeTCP
from audiosocket.outbound.websocket import WebSocketClient
from audiosocket.outbound.websocket_interface import (
    ABNORMAL_CLOSURE,
    MESSAGE_TOO_BIG,
    WebSocketClosed,
    WebSocketFailed,
    WebSocketLimits,
    WebSocketRefused,
)
from audiosocket.server.assembly import media
from tests.support.certificates import Authority
from tests.support.reactor import reactor
from tests.support.websocket_server import ServerConnection, WebSocketServer, websocket_server

#: What is beyond this does not fit into the buffers of a loopback connection.
MANY_BYTES = 32_000_000


class Recorder:
    """A `WebSocketObserver` that keeps what it is given, in order."""

    def __init__(self) -> None:
        self.reports: list[object] = []
        self.on_message: Callable[[], object] | None = None
        self._waiting: list[defer.Deferred[None]] = []

    def opened(self) -> None:
        self._add("opened")

    def message(self, message: str | bytes) -> None:
        self._add(message)
        if self.on_message is not None:
            self.on_message()

    def closed(self, code: int, reason: str) -> None:
        self._add((code, reason))

    def _add(self, report: object) -> None:
        self.reports.append(report)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def until(self, number: int) -> list[object]:
        """Wait for this many reports."""
        while len(self.reports) < number:
            waiting: defer.Deferred[None] = defer.Deferred()
            self._waiting.append(waiting)
            await waiting
            await task.deferLater(reactor, 0)  # not inside the report
        return self.reports


@pytest.fixture(autouse=True, params=["stock", "with the legs"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test over Twisted's transport, and over the one that is read with the legs."""
    if request.param != "stock":
        made = media("", reactor, time.monotonic)
        monkeypatch.setattr(f"{__name__}.make_tcp", lambda: made.make_tcp)


def make_tcp() -> MakeTCP | None:
    return None


class Pair:
    """A client and the server that it connects to."""

    def __init__(
        self, server: WebSocketServer, path: str = "/", host: str = "127.0.0.1", ca_file: str = "", **options: Any
    ) -> None:
        self.seen = Recorder()
        url = f"{'wss' if ca_file else 'ws'}://{host}:{server.port}{path}"
        endpoint = Endpoints(reactor, make_tcp=make_tcp()).for_url(url, ca_file)
        self.client = WebSocketClient(url, self.seen, endpoint, reactor, **options)
        self.peer: ServerConnection


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[Pair]:
    async with websocket_server() as server:
        pair = Pair(server, **options)
        opening = pair.client.connect()
        pair.peer = await server.connection()
        await pair.peer.accept()
        await opening
        yield pair
        pair.client.abort()
        await pair.client.close()


async def test_the_request_names_host_target_headers_and_subprotocols() -> None:
    async with websocket_server() as server:
        headers = {"Authorization": "Bearer x", "X-Leg": " visitor "}
        pair = Pair(server, "/door/7?leg=visitor", headers=headers, subprotocols=["a.example", "b.example"])
        opening = pair.client.connect()
        peer = await server.connection()
        request = await peer.accept("b.example")
        await opening
        assert (request.host, request.target) == (f"127.0.0.1:{server.port}", "/door/7?leg=visitor")
        assert {(b"authorization", b"Bearer x"), (b"x-leg", b"visitor")} <= set(request.extra_headers)
        assert request.subprotocols == ["a.example", "b.example"]
        assert request.extensions == []
        assert (pair.client.subprotocol, pair.client.is_open) == ("b.example", True)
        assert pair.seen.reports == ["opened"]
        pair.client.abort()
        await pair.client.close()


async def test_messages_behind_the_handshake_are_received() -> None:
    async with websocket_server() as server:
        pair = Pair(server)
        opening = pair.client.connect()
        await (await server.connection()).accept(None, ws.TextMessage("early"))
        await opening
        assert await pair.seen.until(2) == ["opened", "early"]
        pair.client.abort()
        await pair.client.close()


async def test_text_and_binary_go_both_ways_whole() -> None:
    async with connected() as pair:
        pair.client.send("Portão")
        pair.client.send(b"\x00\xff" * 160)
        assert await pair.peer.next() == ws.TextMessage("Portão")
        assert await pair.peer.next() == ws.BytesMessage(b"\x00\xff" * 160)
        pair.peer.send(ws.TextMessage("Por", message_finished=False), ws.Ping(b"1"), ws.TextMessage("tão"))
        pair.peer.send(ws.BytesMessage(b"", message_finished=False), ws.BytesMessage(b"x" * 70_000))
        pair.peer.send(ws.BytesMessage(b""), ws.TextMessage(""))
        assert await pair.seen.until(5) == ["opened", "Portão", b"x" * 70_000, b"", ""]
        assert await pair.peer.next() == ws.Pong(b"1")


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 500, 503, 200])
async def test_any_other_status_is_a_refusal(status: int) -> None:
    async with websocket_server() as server:
        pair = Pair(server, "/secret?token=hush")
        opening = pair.client.connect()
        peer = await server.connection()
        await peer.next()
        peer.send(ws.RejectConnection(status_code=status, headers=[(b"location", b"/elsewhere")]))
        with pytest.raises(WebSocketRefused) as refused:
            await opening
        assert refused.value.status == status
        assert str(refused.value) == f"ws://127.0.0.1:{server.port} answers the handshake with HTTP {status}"
        assert await peer.next() is None
        assert pair.seen.reports == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"SSH-2.0-x\r\n\r\n", "is not a WebSocket server"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "is not a WebSocket server"),
        (
            b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: \xff\r\n\r\n",
            "is not a WebSocket server: Bad accept token",
        ),
        (
            b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
            "is not a WebSocket server",
        ),
        (b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 9_000, "is not a WebSocket server|has more than 16384 bytes"),
    ],
)
async def test_a_server_of_another_kind_is_an_error(said: bytes, shown: str) -> None:
    async with websocket_server() as server:
        pair = Pair(server)
        opening = pair.client.connect()
        peer = await server.connection()
        await peer.next()
        peer.send_bytes(said)
        with pytest.raises(WebSocketFailed, match=shown):
            await opening
        assert await peer.next() is None


async def test_an_extension_that_was_not_asked_for_is_refused() -> None:
    async with websocket_server() as server:
        pair = Pair(server)
        opening = pair.client.connect()
        peer = await server.connection()
        await peer.next()
        accepted = peer.wire.send(ws.AcceptConnection())
        peer.send_bytes(accepted.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
        with pytest.raises(WebSocketFailed, match="permessage-deflate"):
            await opening
        assert await peer.next() is None


async def test_a_handshake_has_a_limit_in_bytes() -> None:
    async with websocket_server() as server:
        pair = Pair(server, limits=WebSocketLimits(handshake_bytes=1_000))
        opening = pair.client.connect()
        peer = await server.connection()
        await peer.next()
        peer.send_bytes(b"HTTP/1.1 101 x\r\nX: " + b"y" * 1_000)
        with pytest.raises(WebSocketFailed, match="the handshake has more than 1000 bytes"):
            await opening
        assert await peer.next() is None


async def test_a_handshake_has_a_limit_in_seconds() -> None:
    async with websocket_server() as server:
        pair = Pair(server, limits=WebSocketLimits(connect_seconds=0.5))
        opening = pair.client.connect()
        peer = await server.connection()
        with pytest.raises(WebSocketFailed, match=r"ws://127\.0\.0\.1:\d+: no WebSocket within 0\.5 s"):
            await opening
        while await peer.next() is not None:
            pass


async def test_a_server_that_closes_in_the_handshake() -> None:
    async with websocket_server() as server:
        pair = Pair(server)
        opening = pair.client.connect()
        peer = await server.connection()
        await peer.next()
        peer.transport.loseConnection()
        with pytest.raises(WebSocketFailed, match="no WebSocket: the connection was closed"):
            await opening


async def test_no_server() -> None:
    async with websocket_server() as server:
        pass
    with pytest.raises(WebSocketFailed, match=r"ws://127\.0\.0\.1:\d+: no connection: "):
        await Pair(server).client.connect()
    with pytest.raises(WebSocketFailed, match=r"ws://a\.invalid:\d+: no connection: .*'a\.invalid'"):
        await Pair(server, host="a.invalid").client.connect()


async def test_connecting_can_be_cancelled() -> None:
    async with websocket_server() as server:
        early = Pair(server)
        opening = early.client.connect()
        opening.cancel()
        with pytest.raises(defer.CancelledError):
            await opening
    async with websocket_server() as server:
        pair = Pair(server)
        opening = pair.client.connect()
        peer = await server.connection()
        await peer.next()
        opening.cancel()
        with pytest.raises(defer.CancelledError):
            await opening
        assert await peer.next() is None
        await pair.client.close()
        assert pair.seen.reports == early.seen.reports == []


@pytest.mark.parametrize("wait", [True, False])
async def test_closing_while_it_connects(wait: bool) -> None:
    async with websocket_server() as server:
        pair = Pair(server)
        opening = pair.client.connect()
        if wait:
            await (await server.connection()).next()
        await pair.client.close()
        with pytest.raises(defer.CancelledError):
            await opening


async def test_a_client_that_was_closed_cannot_connect() -> None:
    async with websocket_server() as server:
        pair = Pair(server)
        await pair.client.close()
        with pytest.raises(RuntimeError):
            await pair.client.connect()


@pytest.mark.parametrize(
    ("frame", "report"),
    [
        (ws.CloseConnection(1000, "done"), (1000, "done")),
        (ws.CloseConnection(4001, "não"), (4001, "não")),
        (ws.CloseConnection(1001), (1001, "")),
        (ws.CloseConnection(CloseReason.NO_STATUS_RCVD), (1005, "")),
    ],
)
async def test_the_peer_closes(frame: ws.CloseConnection, report: tuple[int, str]) -> None:
    async with connected() as pair:
        pair.peer.send(ws.TextMessage("last"), frame)
        assert await pair.seen.until(3) == ["opened", "last", report]
        answer = await pair.peer.next()
        assert isinstance(answer, ws.CloseConnection)
        assert answer.code == report[0]
        assert await pair.peer.next() is None
        with pytest.raises(WebSocketClosed, match=r"^ws://127\.0\.0\.1:\d+: the connection is not open$"):
            pair.client.send("too late")


async def test_this_side_closes_after_what_is_queued() -> None:
    async with connected() as pair:
        for number in range(100):
            pair.client.send(b"%d" % number * 500)
        closed = pair.client.close(4000, "changed")
        pair.peer.send(ws.TextMessage("dropped"))
        with pytest.raises(WebSocketClosed):
            pair.client.send("too late")
        got = b""
        while isinstance(event := await pair.peer.next(), ws.BytesMessage):
            got += event.data
        assert got == b"".join(b"%d" % number * 500 for number in range(100))
        assert isinstance(event, ws.CloseConnection)
        assert (event.code, event.reason) == (4000, "changed")
        pair.peer.send(event.response())
        await closed
        assert pair.seen.reports == ["opened", (4000, "changed")]


async def test_a_peer_that_does_not_complete_the_closing_is_dropped() -> None:
    async with connected(limits=WebSocketLimits(close_seconds=0.05)) as pair:
        await pair.client.close()
        assert isinstance(await pair.peer.next(), ws.CloseConnection)
        assert await pair.peer.next() is None
        assert pair.seen.reports == ["opened", (1000, "")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2000, 5000])
async def test_close_codes_that_must_not_be_sent(code: int) -> None:
    async with connected() as pair:
        with pytest.raises(ValueError, match=str(code)):
            pair.client.close(code)


async def test_a_connection_that_breaks() -> None:
    async with connected() as pair:
        pair.peer.transport.abortConnection()
        assert await pair.seen.until(2) == ["opened", (ABNORMAL_CLOSURE, "the connection was closed")]


async def test_a_connection_that_is_aborted() -> None:
    async with connected() as pair:
        pair.client.abort("no longer wanted")
        assert pair.seen.reports == ["opened", (ABNORMAL_CLOSURE, "no longer wanted")]
        assert await pair.peer.next() is None


@pytest.mark.parametrize("parts", [[b"x" * 1_001], [b"x" * 500] * 3])
async def test_a_message_beyond_the_limit_closes_the_connection(parts: list[bytes]) -> None:
    async with connected(limits=WebSocketLimits(message_bytes=1_000)) as pair:
        pair.peer.send(ws.BytesMessage(b"y" * 1_000))
        pair.peer.send(*(ws.BytesMessage(part, message_finished=False) for part in parts))
        report = (MESSAGE_TOO_BIG, "a message has more than 1000 bytes")
        assert await pair.seen.until(3) == ["opened", b"y" * 1_000, report]
        close = await pair.peer.next()
        assert isinstance(close, ws.CloseConnection)
        assert close.code == MESSAGE_TOO_BIG
        assert await pair.peer.next() is None


async def test_the_limit_of_a_text_is_in_bytes() -> None:
    async with connected(limits=WebSocketLimits(message_bytes=10)) as pair:
        pair.peer.send(ws.TextMessage("ããããã"), ws.TextMessage("ãããããã"))
        assert (await pair.seen.until(3))[1] == "ããããã"
        assert pair.seen.reports[2] == (MESSAGE_TOO_BIG, "a message has more than 10 bytes")


@pytest.mark.parametrize(
    ("said", "code"), [(b"\xff" * 40, 1002), (b"\x81\x02\xff\xff", 1007), (b"\x82\x80\0\0\0\0", 1002)]
)
async def test_a_violation_of_the_protocol_closes_the_connection(said: bytes, code: int) -> None:
    async with connected() as pair:
        pair.peer.send_bytes(said)
        reports = cast(Any, await pair.seen.until(2))
        assert reports[1][0] == code
        close = await pair.peer.next()
        assert isinstance(close, ws.CloseConnection)
        assert close.code == code
        assert await pair.peer.next() is None


async def test_pings_are_sent_and_their_answers_keep_the_connection() -> None:
    async with connected(limits=WebSocketLimits(ping_seconds=0.01, pong_seconds=5)) as pair:
        for _ in range(3):
            ping = await pair.peer.next()
            assert isinstance(ping, ws.Ping)
            pair.peer.send(ping.response())
        assert pair.client.is_open


async def test_a_peer_that_does_not_answer_a_ping_is_dropped() -> None:
    async with connected(limits=WebSocketLimits(ping_seconds=0.01, pong_seconds=0.01)) as pair:
        report = (ABNORMAL_CLOSURE, "no answer to a ping within 0.01 s")
        assert await pair.seen.until(2) == ["opened", report]
        assert isinstance(await pair.peer.next(), ws.Ping)
        assert await pair.peer.next() is None


async def test_queued_bytes_show_a_peer_that_does_not_read() -> None:
    async with connected() as pair:
        assert pair.client.send(b"x" * 60_000) == 0
        while (await pair.peer.next()).message_finished is False:
            pass
        cast(Any, pair.peer.transport).pauseProducing()
        for number in range(MANY_BYTES // 100_000):
            queued = pair.client.send(b"%c" % (number % 256) * 100_000)
        for _ in range(5):  # the operating system takes what fits into its buffers
            await task.deferLater(reactor, 0.01)
        assert 0 < pair.client.queued_bytes <= queued
        cast(Any, pair.peer.transport).resumeProducing()
        got = 0
        while got < MANY_BYTES:
            event = await pair.peer.next()
            assert set(event.data) == {got // 100_000 % 256}
            got += len(event.data)
        while pair.client.queued_bytes:
            await task.deferLater(reactor, 0.001)


async def test_pings_of_a_peer_that_does_not_read_are_not_kept() -> None:
    async with connected() as pair:
        cast(Any, pair.peer.transport).pauseProducing()
        pair.client.send(b"x" * MANY_BYTES)
        for _ in range(5):
            await task.deferLater(reactor, 0.01)
        queued = pair.client.queued_bytes
        for number in range(1_000):
            pair.peer.send(ws.Ping(b"%03d" % number * 40))
        pair.peer.send(ws.TextMessage("all sent"))
        assert (await pair.seen.until(2))[1] == "all sent"
        assert pair.client.queued_bytes <= queued
        cast(Any, pair.peer.transport).resumeProducing()
        got = 0
        while isinstance(event := await pair.peer.next(), ws.BytesMessage):
            got += len(event.data)
        assert got == MANY_BYTES
        assert event == ws.Pong(b"999" * 40)


async def test_a_mistake_in_the_observer_is_logged_and_the_next_message_delivered(logged_failures: Any) -> None:
    async with connected() as pair:
        pair.seen.on_message = lambda: 1 / 0
        pair.peer.send(ws.TextMessage("1"), ws.TextMessage("2"))
        assert await pair.seen.until(3) == ["opened", "1", "2"]
        assert len(logged_failures.flush(ZeroDivisionError)) == 2


async def test_nothing_is_reported_after_the_observer_has_aborted() -> None:
    async with connected() as pair:
        pair.seen.on_message = pair.client.abort
        pair.peer.send(ws.TextMessage("1"), ws.TextMessage("2"), ws.CloseConnection(1000))
        assert await pair.peer.next() is None
        assert pair.seen.reports == ["opened", "1", (ABNORMAL_CLOSURE, "aborted by this side")]


async def test_tls_is_verified_with_the_authorities_of_a_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with websocket_server(authority.server("127.0.0.1")) as server:
        pair = Pair(server, ca_file=str(authority.path))
        opening = pair.client.connect()
        peer = await server.connection()
        await peer.accept(None, ws.TextMessage("early"))
        await opening
        pair.client.send(b"x" * 300_000)
        got = b""
        while len(got) < 300_000:
            got += (await peer.next()).data
        assert await pair.seen.until(2) == ["opened", "early"]
        while pair.client.queued_bytes:
            await task.deferLater(reactor, 0.001)
        closed = pair.client.close()
        peer.send((await peer.next()).response())
        await closed


@pytest.mark.parametrize(
    ("named", "trusted", "shown"),
    [
        ("other.example", True, "TLS: the certificate is not one of this host"),
        ("127.0.0.1", False, "TLS: certificate verify failed"),
    ],
)
async def test_a_certificate_that_is_not_valid(tmp_path: Path, named: str, trusted: bool, shown: str) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    trust = authority if trusted else Authority(tmp_path / "other")
    async with websocket_server(authority.server(named)) as server:
        pair = Pair(server, ca_file=str(trust.path))
        with pytest.raises(WebSocketFailed, match=shown):
            await pair.client.connect()
        assert pair.seen.reports == []


async def test_tls_with_a_server_that_has_none(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with websocket_server() as server:
        pair = Pair(server, ca_file=str(authority.path))
        opening = pair.client.connect()
        peer = await server.connection()
        peer.dataReceived = lambda data: peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[method-assign]
        with pytest.raises(WebSocketFailed, match="TLS: "):
            await opening


def test_a_file_of_authorities_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.touch()
    for wrong in (path, tmp_path / "none.pem"):
        with pytest.raises(InvalidSetting, match=f"{wrong}"):
            Endpoints(reactor).for_url("wss://bot.example/", str(wrong))


@pytest.mark.parametrize(
    "url", ["", "http://host/", "ws://", "ws://user:hush@host/", "ws://host/#hush", "ws://a..b/", "ws://host:0/"]
)
def test_addresses_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InvalidSetting, match="a WebSocket's address") as refused:
        WebSocketClient(url, Recorder(), Endpoints(reactor).for_url("ws://host/"), reactor)
    assert "user" not in str(refused.value) or "user and password" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "hush\r\nY: z"),
        ("X", "hush\0"),
        ("X Y", "z"),
        ("", "z"),
        ("X", "hüsh"),
        ("Host", "z"),
        ("Sec-WebSocket-Key", "z"),
    ],
)
def test_headers_that_cannot_be_used(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        WebSocketClient(
            "ws://host/", Recorder(), Endpoints(reactor).for_url("ws://host/"), reactor, headers={name: value}
        )
    assert "hush" not in str(refused.value)
    assert "hüsh" not in str(refused.value)


def test_subprotocols_that_cannot_be_used() -> None:
    with pytest.raises(InvalidSetting, match="subprotocol"):
        WebSocketClient(
            "ws://host/", Recorder(), Endpoints(reactor).for_url("ws://host/"), reactor, subprotocols=["a, b"]
        )
