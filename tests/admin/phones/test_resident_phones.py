"""Telephones of residents in browsers: which ring, what they answer, and the call they become, in memory."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, cast
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Request, TextMessage

from admin.phones.phone import PhoneObserver
from admin.phones.resident_phones import GRACE_SECONDS
from audiosocket.api_tokens import ApiToken
from audiosocket.control_interface import Soon
from audiosocket.errors import AudioSocketError, UnknownAttempt
from audiosocket.json_shapes import CallJSON, StatusJSON
from tests.support.admin_client import CALL, AdminClient, FakeControl

PATH = "/api/phone?ring=true"
RINGING = {"event": "phone.ringing", "call_id": str(CALL), "attempt_id": "a", "ring_seconds": 25}
STATE = {
    "state": "ringing",
    "call_id": str(CALL),
    "number": "101",
    "extension": "1000",
    "caller": "5511",
    "ring_seconds": 25.0,
}


class Calls(FakeControl):
    """A call that rings number 101 for a visitor of extension 1000, with ``RETURN_BACKEND=browser``."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = "browser"
        self.return_port: int | None = 8081
        self.number = "101"
        self.looked_up: Deferred[CallJSON] | None = None

    def status(self) -> Soon[StatusJSON]:
        shown: Any = super().status()
        for one in shown["extensions"]:
            one["actual_porta_retorno"] = self.return_port
        return cast("StatusJSON", {**shown, "return_backend": {"kind": self.kind, "state": "up", "reason": ""}})

    def get(self, call_id: UUID) -> Soon[CallJSON]:
        shown: Any = {
            "call_id": str(call_id),
            "extension": {"id": 0, "ramal_ia": "1000"},
            "caller": {"number": "5511"},
            "return": {"state": "ringing", "attempts": [{"number": self.number, "end": None}]},
        }
        return self.looked_up or cast("CallJSON", shown)


class CallDouble:
    """A call to the return port; it connects when ``connecting`` fires."""

    def __init__(
        self, host: str, port: int, rate: int, observer: PhoneObserver, call_id: UUID | None = None
    ) -> None:
        self.address, self.rate, self.observer, self.id = (host, port), rate, observer, call_id
        self.said, self.rates, self.hung_up = b"", [rate], 0
        self.connecting: Deferred[None] = Deferred()

    @property
    def call_id(self) -> object:
        return self.id

    def connect(self) -> Awaitable[None]:
        return self.connecting

    def say(self, pcm: bytes) -> None:
        self.said += pcm

    def set_rate(self, rate: int) -> None:
        self.rates.append(rate)

    def press(self, digits: str) -> None:
        raise AssertionError(digits)

    def hang_up(self) -> None:
        self.hung_up += 1


class House:
    """The API with some telephones."""

    def __init__(self, *tokens: ApiToken) -> None:
        self.control = Calls()
        self.calls: list[CallDouble] = []
        self.web = AdminClient(control=self.control, dial=self._dial, tokens=tokens)

    def _dial(
        self, host: str, port: int, rate: int, observer: PhoneObserver, call_id: UUID | None = None
    ) -> CallDouble:
        self.calls.append(CallDouble(host, port, rate, observer, call_id))
        return self.calls[-1]

    def phone(self, query: str = "", token: str = "") -> Phone:
        phone = Phone(self.web, PATH + query, token)
        assert phone.texts() == [{"state": "waiting"}]
        return phone

    def ring(self, attempt_id: str = "a") -> None:
        self.web.feed.publish({**RINGING, "attempt_id": attempt_id})

    def stop(self, attempt_id: str = "a", end: str = "no_answer") -> None:
        self.web.feed.publish(
            {"event": "phone.stopped", "call_id": str(CALL), "attempt_id": attempt_id, "end": end}
        )

    @property
    def reports(self) -> list[tuple[Any, ...]]:
        return [request[1:] for request in self.control.requests if request[0] == "report"]


class Phone:
    """A browser with a telephone that waits."""

    def __init__(self, web: AdminClient, path: str, token: str = "") -> None:
        self.socket = WSConnection(ConnectionType.CLIENT)
        self.wire = web.connect()
        headers = [(b"Authorization", b"Bearer " + token.encode())] if token else []
        self.wire.send(self.socket.send(Request(host="localhost", target=path, extra_headers=headers)))
        self._read = 0

    def send(self, message: object) -> None:
        event = BytesMessage(message) if isinstance(message, bytes) else TextMessage(json.dumps(message))
        self.wire.send(self.socket.send(event))

    def events(self) -> list[Any]:
        data = self.wire.transport.value()[self._read :]
        self._read += len(data)
        self.socket.receive_data(data)
        return list(self.socket.events())

    def texts(self) -> list[Any]:
        return [json.loads(event.data) for event in self.events() if isinstance(event, TextMessage)]


@pytest.fixture
def house() -> House:
    return House()


def test_a_telephone_that_waits_rings_and_stops(house: House) -> None:
    phone = house.phone()
    house.ring()
    assert phone.texts() == [STATE]
    house.stop()
    assert phone.texts() == [{"state": "waiting", "reason": "no_answer"}]
    house.stop("unknown")
    assert phone.texts() == []


def test_an_answered_one_calls_the_return_port_with_the_uuid_of_the_call(house: House) -> None:
    phone = house.phone("&rate=16000")
    house.ring()
    phone.texts()
    phone.send({"answer": True})
    (call,) = house.calls
    assert (call.address, call.rate, call.id) == (("127.0.0.1", 8081), 16_000, CALL)
    assert phone.texts() == [{"state": "connecting"}]
    call.connecting.callback(None)
    assert phone.texts() == [{"state": "connected", "call_id": str(CALL)}]
    phone.send(b"\1\2")
    call.observer.heard(16_000, b"\3\4")
    assert call.said == b"\1\2"
    assert [getattr(event, "data", None) for event in phone.events()] == ['{"rate": 16000}', b"\3\4"]
    house.stop(end="answered")
    phone.send({"hangup": True})
    assert call.hung_up == 1
    call.observer.ended("ended by the caller")
    text, closing = phone.events()
    assert json.loads(text.data) == {"state": "ended", "reason": "ended by the caller"}
    assert isinstance(closing, CloseConnection)


def test_all_ring_and_the_first_to_answer_has_the_call(house: House) -> None:
    first, second = house.phone(), house.phone()
    house.ring()
    later = Phone(house.web, PATH)
    assert later.texts() == [{"state": "waiting"}, STATE]
    assert first.texts() == second.texts() == [STATE]
    second.send({"answer": True})
    assert first.texts() == later.texts() == [{"state": "waiting", "reason": "answered elsewhere"}]
    first.send({"answer": True})
    (answer,) = first.texts()
    assert "rings" in answer["error"]
    assert len(house.calls) == 1


def test_a_telephone_with_a_number_rings_for_that_one_only(house: House) -> None:
    other, mine = house.phone("&number=102"), house.phone("&number=101")
    house.ring()
    assert (other.texts(), mine.texts()) == ([], [STATE])


def test_it_is_refused_when_all_that_ring_reject_it(house: House) -> None:
    first, second = house.phone(), house.phone()
    house.ring()
    first.send({"reject": True})
    assert first.texts() == [STATE, {"state": "waiting", "reason": "refused"}]
    assert house.reports == []
    second.send({"reject": True})
    assert house.reports == [("a", "refused", "declined on the operator page")]
    second.send({"reject": True})
    assert len(house.reports) == 1


def test_a_telephone_rings_for_the_next_attempt_when_the_first_is_over(house: House) -> None:
    phone = house.phone()
    house.ring()
    house.ring("b")
    assert phone.texts() == [STATE]
    phone.send({"reject": True})
    assert phone.texts() == [{"state": "waiting", "reason": "refused"}, STATE]
    house.stop("b")
    assert phone.texts() == [{"state": "waiting", "reason": "no_answer"}]


def test_a_telephone_that_leaves_rings_no_more_and_the_attempt_goes_on(house: House) -> None:
    phone = house.phone()
    house.ring()
    phone.wire.close()
    assert house.reports == []
    late = Phone(house.web, PATH)
    assert late.texts() == [{"state": "waiting"}, STATE]


def test_an_attempt_whose_end_never_comes_stops_ringing(house: House) -> None:
    phone = house.phone()
    house.ring()
    phone.texts()
    late = {"state": "waiting", "reason": "no_answer"}
    for _ in range(3):
        house.web.clock.advance((25 + GRACE_SECONDS) / 3)
        for event in phone.events():
            if not isinstance(event, TextMessage):
                phone.wire.send(phone.socket.send(event.response()))
            else:
                assert json.loads(event.data) == late
    phone.send({"state": True})
    assert phone.texts() == [late]


@pytest.mark.parametrize("unreachable", [True, False])
def test_a_call_that_cannot_be_placed_is_reported(house: House, unreachable: bool) -> None:
    phone = house.phone()
    house.ring()
    phone.texts()
    if unreachable:
        house.control.return_port = None
        phone.send({"answer": True})
    else:
        phone.send({"answer": True})
        house.calls[0].connecting.errback(AudioSocketError("nobody answers"))
    assert phone.texts()[-1]["state"] == "ended"
    ((attempt, end, reason),) = house.reports
    assert (attempt, end) == ("a", "failed")
    assert reason == ("The return port of extension 1000 is not listening." if unreachable else "nobody answers")


def test_a_report_that_comes_too_late_is_no_error(house: House) -> None:
    phone = house.phone()
    house.ring()
    house.control.call_error = UnknownAttempt("it has ended")
    phone.send({"reject": True})
    assert phone.texts() == [STATE, {"state": "waiting", "reason": "refused"}]


def test_an_attempt_that_ends_while_it_is_looked_up_does_not_ring(house: House) -> None:
    phone = house.phone()
    looked_up: Deferred[CallJSON] = Deferred()
    house.control.looked_up = looked_up
    house.ring()
    house.stop()
    house.control.looked_up = None
    looked_up.callback(cast("CallJSON", house.control.get(CALL)))
    assert phone.texts() == []


@pytest.mark.parametrize("text", ["nope", "[1]"])
def test_a_message_that_is_no_object_closes(house: House, text: str) -> None:
    phone = house.phone()
    phone.wire.send(phone.socket.send(TextMessage(text)))
    (closing,) = phone.events()
    assert closing.code == 1003


def test_other_messages_and_audio_before_the_answer_harm_nothing(house: House) -> None:
    phone = house.phone()
    phone.send(b"\0\0")
    phone.send({"press": "1"})
    (answer,) = phone.texts()
    assert "answer" in answer["error"]
    phone.send({"reject": True})
    assert (phone.texts(), house.reports) == ([], [])


@pytest.mark.parametrize(
    ("path", "kind", "status", "words"),
    [
        (PATH, "ami", 409, "RETURN_BACKEND is ami"),
        (PATH, "none", 409, "RETURN_BACKEND is none"),
        ("/api/phone?ring=1", "browser", 400, "ring is not true"),
        (f"{PATH}&rate=1", "browser", 400, "rate is"),
    ],
)
def test_it_is_refused_in_words(house: House, path: str, kind: str, status: int, words: str) -> None:
    house.control.kind = kind
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = house.web.request("GET", path, **handshake)
    assert answer.status == status
    assert words in answer.json()["message"]
    assert house.web.request("GET", path, **handshake, Origin="http://evil.example").status == 403


def test_a_telephone_whose_token_was_taken_away_is_not_told_of_a_call() -> None:
    anna, other = ApiToken.of("sesame", "anna", "operate"), ApiToken.of("other", "boss", "admin")
    house = House(anna, other)
    gone, here = house.phone(token="sesame"), house.phone(token="other")
    house.web.tokens.replace([other])
    house.ring()
    (closing,) = gone.events()
    assert isinstance(closing, CloseConnection)
    assert closing.code == 1008
    assert here.texts() == [STATE]
    here.send({"reject": True})
    assert house.reports == [("a", "refused", "declined on the operator page")]
