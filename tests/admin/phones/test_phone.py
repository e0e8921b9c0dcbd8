"""The browser's telephone: the handshake, what passes both ways, its limits and its end, in memory."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from admin.phones.phone import PhoneObserver
from admin.sessions import SESSION_SECONDS
from admin.site import MAX_WEBSOCKETS
from admin.websocket import CLOSE_SECONDS, MAX_MESSAGE_BYTES, PING_SECONDS
from audiosocket.api_tokens import ApiToken
from audiosocket.errors import AudioSocketError
from tests.support.admin_client import CALL, AdminClient, FakeConnection, request_bytes

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
PATH = "/api/phone?extension=1000"


class CallDouble:
    """A call that records what it was asked for; it connects when ``connecting`` fires."""

    def __init__(
        self, host: str, port: int, rate: int, observer: PhoneObserver, call_id: UUID | None = None
    ) -> None:
        self.address, self.rate, self.observer = (host, port), rate, observer
        assert call_id is None, "a visitor's call is a new one"
        self.said, self.pressed, self.hung_up = b"", "", 0
        self.connecting: Deferred[None] = Deferred()

    @property
    def call_id(self) -> UUID:
        return CALL

    def connect(self) -> Awaitable[None]:
        return self.connecting

    def say(self, pcm: bytes) -> None:
        self.said += pcm

    def set_rate(self, rate: int) -> None:
        self.rate = rate

    def press(self, digits: str) -> None:
        if not set(digits) <= set("0123456789*#"):
            raise AudioSocketError(f"{digits} is no key")
        self.pressed += digits

    def hang_up(self) -> None:
        self.hung_up += 1


class Client:
    """A client that opens a telephone."""

    def __init__(self, web: AdminClient, path: str = PATH, early: bytes = b"", **headers: str) -> None:
        self.socket = WSConnection(ConnectionType.CLIENT)
        target = path.partition("?")
        request = self.socket.send(Request(host="localhost", target="?".join(target[::2])))
        head, blank, _ = request.partition(b"\r\n\r\n")
        lines = [f"{name}: {value}".encode() for name, value in headers.items()]
        self.wire: FakeConnection = web.connect()
        self.wire.send(b"\r\n".join([head, *lines]) + blank + early)
        self._read = 0

    def send(self, event: Any) -> None:
        self.wire.send(self.socket.send(event))

    def events(self) -> list[Event]:
        data = self.wire.transport.value()[self._read :]
        self._read += len(data)
        self.socket.receive_data(data)
        return list(self.socket.events())

    def texts(self) -> list[Any]:
        return [json.loads(event.data) for event in self.events() if isinstance(event, TextMessage)]


@pytest.fixture
def calls() -> list[CallDouble]:
    return []


@pytest.fixture
def web(calls: list[CallDouble]) -> AdminClient:
    def dial(host: str, port: int, rate: int, observer: PhoneObserver, call_id: UUID | None = None) -> CallDouble:
        calls.append(CallDouble(host, port, rate, observer, call_id))
        return calls[-1]

    return AdminClient(dial=dial)


def connected(web: AdminClient, calls: list[CallDouble]) -> tuple[Client, CallDouble]:
    client = Client(web)
    calls[-1].connecting.callback(None)
    client.events()
    return client, calls[-1]


def test_it_calls_the_port_of_the_extension_and_says_when_it_is_connected(
    web: AdminClient, calls: list[CallDouble]
) -> None:
    client = Client(web, f"{PATH}&rate=16000")
    accepted, connecting = client.events()
    assert isinstance(accepted, AcceptConnection)
    assert isinstance(connecting, TextMessage)
    (call,) = calls
    assert (call.address, call.rate) == (("127.0.0.1", 8080), 16000)
    call.connecting.callback(None)
    assert client.texts() == [{"state": "connected", "call_id": str(CALL)}]


def test_audio_and_keys_pass(web: AdminClient, calls: list[CallDouble]) -> None:
    client, call = connected(web, calls)
    client.send(BytesMessage(b"\1\2" * 160))
    client.send(TextMessage('{"press": "12#"}'))
    assert (call.said, call.pressed) == (b"\1\2" * 160, "12#")
    call.observer.heard(8000, b"\3\4")
    call.observer.heard(8000, b"\5\6")
    call.observer.heard(16000, b"\7\7")
    received = [getattr(event, "data", event) for event in client.events()]
    assert received == ['{"rate": 8000}', b"\3\4", b"\5\6", '{"rate": 16000}', b"\7\7"]


def test_audio_of_another_rate_is_announced_and_the_state_can_be_asked_for(
    web: AdminClient, calls: list[CallDouble]
) -> None:
    client, call = connected(web, calls)
    client.send(TextMessage('{"rate": 48000}'))
    assert call.rate == 48_000
    client.send(TextMessage('{"state": true}'))
    assert client.texts() == [{"state": "connected", "call_id": str(CALL)}]


def test_what_comes_right_behind_the_request_is_not_lost(web: AdminClient, calls: list[CallDouble]) -> None:
    audio = bytes([0x82, 0x82, 0, 0, 0, 0]) + b"\1\2"  # a binary message, masked with zeros
    Client(web, early=audio)
    assert calls[0].said == b"\1\2"


def test_hanging_up_ends_with_the_reason(web: AdminClient, calls: list[CallDouble]) -> None:
    client, call = connected(web, calls)
    client.send(TextMessage('{"hangup": true}'))
    assert call.hung_up == 1
    call.observer.ended("ended by the caller")
    text, closing = client.events()
    assert isinstance(text, TextMessage)
    assert json.loads(text.data) == {"state": "ended", "reason": "ended by the caller"}
    assert isinstance(closing, CloseConnection)
    assert closing.code == 1000
    client.send(closing.response())
    assert client.wire.transport.disconnecting


def test_a_call_that_cannot_be_placed_is_reported(web: AdminClient, calls: list[CallDouble]) -> None:
    client = Client(web)
    calls[0].connecting.errback(AudioSocketError("the server cannot be reached"))
    assert {"state": "ended", "reason": "the server cannot be reached"} in client.texts()


def test_a_client_that_leaves_hangs_up(web: AdminClient, calls: list[CallDouble]) -> None:
    client, call = connected(web, calls)
    client.wire.close()
    assert call.hung_up == 1
    call.observer.heard(8000, b"\0\0")
    call.observer.ended("ended by the caller")
    assert web.clock.getDelayedCalls() == []


def test_a_client_that_does_not_read_loses_audio_but_no_message(web: AdminClient, calls: list[CallDouble]) -> None:
    client, call = connected(web, calls)
    client.wire.channel.pauseProducing()
    call.observer.heard(8000, b"\1\1")
    call.observer.heard(16000, b"\2\2")
    client.wire.channel.resumeProducing()
    call.observer.heard(16000, b"\3\3")
    received = [getattr(event, "data", event) for event in client.events()]
    assert received == ['{"rate": 8000}', '{"rate": 16000}', b"\3\3"]


def test_pings_are_answered_and_a_silent_client_is_cut_off(web: AdminClient, calls: list[CallDouble]) -> None:
    client, _ = connected(web, calls)
    client.send(Ping(b"x"))
    (pong,) = client.events()
    assert isinstance(pong, Pong)
    web.clock.advance(PING_SECONDS)
    (ping,) = client.events()
    assert isinstance(ping, Ping)
    client.send(ping.response())
    web.clock.advance(PING_SECONDS)
    assert not client.wire.transport.disconnected
    web.clock.advance(PING_SECONDS)
    assert client.wire.transport.disconnected


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (BytesMessage(bytes(MAX_MESSAGE_BYTES + 2)), 1009),
        (BytesMessage(bytes(3)), 1007),
        (TextMessage("nope"), 1003),
        (TextMessage("[1]"), 1003),
        (TextMessage("[" * 4_000), 1003),
        (TextMessage('{"rate": 11025}'), 1003),
        (TextMessage('{"rate": "8000"}'), 1003),
        (TextMessage('{"rate": true}'), 1003),
    ],
)
def test_a_message_that_is_none_closes(
    web: AdminClient, calls: list[CallDouble], message: TextMessage | BytesMessage, code: int
) -> None:
    client, call = connected(web, calls)
    client.send(message)
    (closing,) = client.events()
    assert isinstance(closing, CloseConnection)
    assert closing.code == code
    assert call.said == b""
    web.clock.advance(CLOSE_SECONDS)
    assert client.wire.transport.disconnected


@pytest.mark.parametrize("text", ['{"press": "x"}', '{"press": ""}', '{"press": 5}', "{}", '{"hangup": "yes"}'])
def test_a_message_that_cannot_be_carried_out_is_answered(
    web: AdminClient, calls: list[CallDouble], text: str
) -> None:
    client, call = connected(web, calls)
    client.send(TextMessage(text))
    (answer,) = client.texts()
    assert answer["error"]
    assert (call.pressed, call.hung_up) == ("", 0)


def test_bytes_that_are_no_websocket_close(web: AdminClient, calls: list[CallDouble]) -> None:
    client, call = connected(web, calls)
    client.wire.send(b"\xff" * 40)
    assert client.wire.transport.disconnecting
    client.wire.close()
    assert call.hung_up == 1


def test_it_is_no_plain_request(web: AdminClient, calls: list[CallDouble]) -> None:
    answer = web.request("GET", PATH)
    assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
    assert calls == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/phone", 400),
        ("/api/phone?extension=", 400),
        (f"{PATH}&rate=11025", 400),
        (f"{PATH}&rate=x", 400),
        ("/api/phone?extension=4711", 404),
    ],
)
def test_bad_queries_are_refused(web: AdminClient, calls: list[CallDouble], path: str, status: int) -> None:
    assert web.request("GET", path, **HANDSHAKE).status == status
    assert calls == []


def test_it_is_404_where_it_is_switched_off() -> None:
    answer = AdminClient().request("GET", PATH, **HANDSHAKE)
    assert answer.status == 404
    assert "PHONE=false" in answer.json()["message"]


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9999", "null"])
def test_pages_of_other_origins_are_refused(web: AdminClient, calls: list[CallDouble], origin: str) -> None:
    assert web.request("GET", PATH, **HANDSHAKE, Origin=origin).status == 403
    assert calls == []


def test_it_needs_the_token() -> None:
    web = AdminClient(token="secret", dial=CallDouble)
    assert web.request("GET", PATH, **HANDSHAKE).status == 401


ANNA = ApiToken.of("sesame", "anna", "operate")
OTHER = ApiToken.of("other", "boss", "admin")


def with_token(calls: list[CallDouble]) -> tuple[AdminClient, Client, CallDouble]:
    """Return a call of anna, whose token may be taken away."""

    def dial(host: str, port: int, rate: int, observer: PhoneObserver, call_id: UUID | None = None) -> CallDouble:
        calls.append(CallDouble(host, port, rate, observer, call_id))
        return calls[-1]

    web = AdminClient(dial=dial, tokens=[ANNA, OTHER])
    client = Client(web, Authorization="Bearer sesame")
    calls[-1].connecting.callback(None)
    client.events()
    return web, client, calls[-1]


@pytest.mark.parametrize("passing", ["audio of the browser", "a key", "audio of the extension", "nothing"])
@pytest.mark.parametrize("left", [(OTHER,), (OTHER, ApiToken.of("sesame", "anna", "read"))])
def test_a_call_ends_when_its_token_is_taken_away(
    calls: list[CallDouble], passing: str, left: tuple[ApiToken, ...]
) -> None:
    web, client, call = with_token(calls)
    web.tokens.replace(left)
    if passing == "audio of the browser":
        client.send(BytesMessage(b"\1\2"))
    elif passing == "a key":
        client.send(TextMessage('{"press": "1"}'))
    elif passing == "audio of the extension":
        call.observer.heard(8000, b"\1\2")
    else:
        web.clock.advance(PING_SECONDS)
    (closing,) = client.events()
    assert isinstance(closing, CloseConnection)
    assert (closing.code, call.hung_up, call.said, call.pressed) == (1008, 1, b"", "")
    call.observer.ended("ended by the caller")
    client.send(closing.response())
    assert client.wire.transport.disconnecting
    client.wire.close()
    assert (call.hung_up, web.clock.getDelayedCalls()) == (1, [])


def test_a_browser_that_does_not_answer_the_closing_is_cut_off(calls: list[CallDouble]) -> None:
    web, client, call = with_token(calls)
    web.tokens.replace([OTHER])
    client.send(BytesMessage(b"\1\2"))
    client.send(BytesMessage(b"\1\2"))
    web.clock.advance(CLOSE_SECONDS)
    assert client.wire.transport.disconnected
    assert (call.said, call.hung_up) == (b"", 1)


def test_a_call_goes_on_when_the_token_of_somebody_else_is_taken_away(calls: list[CallDouble]) -> None:
    web, client, call = with_token(calls)
    web.tokens.replace([ANNA])
    client.send(BytesMessage(b"\1\2"))
    assert (call.said, call.hung_up) == (b"\1\2", 0)


def test_a_call_ends_with_the_session_of_the_browser(calls: list[CallDouble]) -> None:
    web, _, _ = with_token(calls)
    signed_in = web.request("POST", "/session", Authorization="Bearer sesame")
    cookie = str(signed_in.headers["Set-Cookie"]).partition(";")[0]
    client = Client(web, Cookie=cookie, Origin="http://localhost")
    calls[-1].connecting.callback(None)
    client.events()
    web.now = SESSION_SECONDS
    calls[-1].observer.heard(8000, b"\1\2")
    (closing,) = client.events()
    assert isinstance(closing, CloseConnection)
    assert (closing.code, calls[-1].hung_up) == (1008, 1)


def test_there_is_a_limit_and_telephones_do_not_count_as_connections(
    web: AdminClient, calls: list[CallDouble]
) -> None:
    clients = [Client(web) for _ in range(MAX_WEBSOCKETS)]
    answer = web.request("GET", PATH, **HANDSHAKE)
    assert answer.status == 503
    assert len(calls) == MAX_WEBSOCKETS
    clients[0].wire.close()
    Client(web)
    assert len(calls) == MAX_WEBSOCKETS + 1
    assert web.connect().send(request_bytes("GET", "/healthz")).responses()[0].status == 200
