"""The WebSocket on which ARI tells what happens to channels: what is asked, what is heard, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import defer, error, task
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws

from audiosocket.asterisk.ari.event_stream import (
    CONNECT_SECONDS,
    MAX_EVENT_CHARACTERS,
    PING_SECONDS,
    ARIEventStream,
)
from audiosocket.outbound.http_client import RequestFailed

URL = "http://pbx:8088/ari/events?app=audiosocket-1&subscribeAll=true"


class Transport(StringTransport):
    """One that tells its protocol of the end, as a real one does."""

    protocol: Any = None
    aborted = False

    def loseConnection(self) -> None:
        super().loseConnection()
        self.end(error.ConnectionDone())

    def abortConnection(self) -> None:
        super().abortConnection()
        self.aborted = True
        self.end(error.ConnectionAborted())

    def end(self, reason: Exception) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason))


class Pbx:
    """Asterisk's end of the connection; it consents unless ``status`` says otherwise."""

    def __init__(self) -> None:
        self.clock = task.Clock()
        self.heard: list[dict[str, Any]] = []
        self.events = ARIEventStream(self.endpoint, URL, "Basic eA==", self.clock, self.heard.append)
        self.transport = Transport()
        self.wire = WSConnection(ConnectionType.SERVER)
        self.got: list[ws.Event] = []
        self.problem: Exception | None = None

    def endpoint(self, url: str) -> Any:
        assert url == URL
        return self

    def connect(self, factory: Any) -> defer.Deferred[Any]:
        if self.problem is not None:
            return defer.fail(self.problem)
        self.stream = self.transport.protocol = factory.buildProtocol(None)
        self.stream.makeConnection(self.transport)
        return defer.succeed(self.stream)

    def connecting(self) -> list[Any]:
        """What became of connecting, once it is known."""
        results: list[Any] = []
        done = defer.Deferred.fromCoroutine(self.events.connect())
        done.addCallbacks(results.append, lambda failure: results.append(failure.value))
        return results

    def reads(self) -> list[ws.Event]:
        """What we have sent since the last time."""
        self.wire.receive_data(self.transport.value())
        self.transport.clear()
        return list(self.wire.events())

    def says(self, event: ws.Event) -> None:
        self.stream.dataReceived(self.wire.send(event))

    def consent(self) -> None:
        results = self.connecting()
        (self.request,) = self.reads()
        self.says(ws.AcceptConnection())
        assert results == [None]
        assert self.events.up


@pytest.fixture
def pbx() -> Iterator[Pbx]:
    pbx = Pbx()
    yield pbx
    pbx.transport.end(error.ConnectionLost())
    assert not pbx.events.up
    assert pbx.clock.getDelayedCalls() == []


def test_what_asterisk_is_asked(pbx: Pbx) -> None:
    pbx.consent()
    assert isinstance(pbx.request, ws.Request)
    assert (pbx.request.host, pbx.request.target) == (
        "pbx:8088",
        "/ari/events?app=audiosocket-1&subscribeAll=true",
    )
    assert (b"authorization", b"Basic eA==") in pbx.request.extra_headers


def test_events_are_heard_however_they_are_cut(pbx: Pbx) -> None:
    pbx.consent()
    text = json.dumps({"type": "Dial", "name": "Portão"})
    pbx.says(ws.TextMessage(text))
    pbx.says(ws.TextMessage(text[:5], message_finished=False))
    for byte in pbx.wire.send(ws.TextMessage(text[5:])):
        pbx.stream.dataReceived(bytes([byte]))
    assert pbx.heard == [{"type": "Dial", "name": "Portão"}] * 2


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 60_000, json.dumps({"x": "y" * MAX_EVENT_CHARACTERS})])
def test_what_is_no_event_is_passed_over(pbx: Pbx, text: str) -> None:
    pbx.consent()
    pbx.says(ws.TextMessage(text))
    pbx.says(ws.BytesMessage(b"{}"))
    pbx.says(ws.TextMessage('{"type": "Dial"}'))
    assert pbx.heard == [{"type": "Dial"}]
    assert pbx.events.up


def test_pings_are_answered_and_who_does_not_answer_ours_is_gone(pbx: Pbx) -> None:
    pbx.consent()
    pbx.says(ws.Ping(b"1"))
    assert pbx.reads() == [ws.Pong(b"1")]
    for _ in range(3):
        pbx.clock.advance(PING_SECONDS)
        (ping,) = pbx.reads()
        assert isinstance(ping, ws.Ping)
        pbx.says(ping.response())
    pbx.clock.advance(PING_SECONDS)
    assert pbx.events.up
    pbx.clock.advance(PING_SECONDS)
    assert not pbx.events.up


@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_a_refusal_is_said(pbx: Pbx, status: int) -> None:
    results = pbx.connecting()
    pbx.reads()
    pbx.says(ws.RejectConnection(status_code=status))
    (problem,) = results
    assert isinstance(problem, RequestFailed)
    assert str(status) in str(problem)


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 9000, b"\0" * 100_000]
)
def test_what_is_no_asterisk_is_left(pbx: Pbx, garbage: bytes) -> None:
    results = pbx.connecting()
    pbx.stream.dataReceived(garbage)
    pbx.transport.end(error.ConnectionDone())
    (problem,) = results
    assert isinstance(problem, RequestFailed)


def test_garbage_after_the_upgrade_ends_it(pbx: Pbx) -> None:
    pbx.consent()
    pbx.stream.dataReceived(b"\xff" * 40)
    assert not pbx.events.up


def test_silence_costs_five_seconds(pbx: Pbx) -> None:
    results = pbx.connecting()
    pbx.clock.advance(CONNECT_SECONDS - 0.1)
    assert results == []
    pbx.clock.advance(0.2)
    (problem,) = results
    assert isinstance(problem, RequestFailed)
    assert pbx.transport.aborted


def test_a_refused_connection_is_said(pbx: Pbx) -> None:
    pbx.problem = error.ConnectionRefusedError()
    (problem,) = pbx.connecting()
    assert isinstance(problem, RequestFailed)
    assert "no connection for events" in str(problem)


def test_a_connection_that_breaks_is_not_up_and_can_be_made_again(pbx: Pbx) -> None:
    pbx.consent()
    pbx.transport.end(error.ConnectionLost())
    assert not pbx.events.up
    pbx.transport, pbx.wire = Transport(), WSConnection(ConnectionType.SERVER)
    pbx.consent()


def test_asterisk_says_goodbye(pbx: Pbx) -> None:
    pbx.consent()
    pbx.says(ws.CloseConnection(code=1001))
    assert not pbx.events.up
    assert isinstance(pbx.reads()[0], ws.CloseConnection)


@pytest.mark.parametrize("answers", [True, False])
def test_we_say_goodbye(pbx: Pbx, answers: bool) -> None:
    pbx.consent()
    closed = defer.Deferred.fromCoroutine(pbx.events.close())
    (goodbye,) = pbx.reads()
    assert isinstance(goodbye, ws.CloseConnection)
    assert not closed.called
    if answers:
        pbx.says(goodbye.response())
    else:
        pbx.clock.advance(1.1)
    assert closed.called
    assert pbx.transport.aborted is not answers


def test_closing_while_it_connects(pbx: Pbx) -> None:
    results = pbx.connecting()
    assert defer.Deferred.fromCoroutine(pbx.events.close()).called
    assert len(results) == 1, "the transport tells at once; a real one later, after the cancellation"
    assert pbx.transport.aborted


def test_closing_what_was_never_open(pbx: Pbx) -> None:
    assert defer.Deferred.fromCoroutine(pbx.events.close()).called
