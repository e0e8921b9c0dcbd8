"""`audiosocket.asterisk.ari.event_stream` in memory: the request, the events, and how the connection ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import defer, error, task
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws
from zope.interface import implementer

from audiosocket.asterisk.ari.event_stream import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    MAX_EVENT_CHARACTERS,
    MAX_MESSAGE_BYTES,
    PING_SECONDS,
    ARIEventStream,
)
from audiosocket.outbound.http_client import RequestFailed

URL = "http://pbx:8088/ari/events?app=audiosocket-1&subscribeAll=true"


class Transport(StringTransport):
    """Reports the end of the connection to its protocol, as a real one does."""

    protocol: Any = None
    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed in memory."""

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


@implementer(IStreamClientEndpoint)
class Asterisk:
    """Asterisk's end of the connection, and the endpoint where it is found."""

    def __init__(self) -> None:
        self.clock = task.Clock()
        self.received: list[dict[str, Any]] = []
        self.lost: list[bool] = []
        self.events = ARIEventStream(
            self.endpoint, URL, "Basic eA==", self.clock, self.received.append, lambda: self.lost.append(True)
        )
        self.transport = Transport()
        self.wire = WSConnection(ConnectionType.SERVER)
        self.problem: Exception | None = None

    def endpoint(self, url: str) -> IStreamClientEndpoint:
        assert url == "ws" + URL.removeprefix("http")
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        if self.problem is not None:
            return defer.fail(self.problem)
        self.stream = self.transport.protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        assert self.stream is not None
        self.stream.makeConnection(self.transport)
        return defer.succeed(self.stream)

    def connecting(self) -> list[Any]:
        """Begin to connect; the list has the result once it is known."""
        results: list[Any] = []
        done = defer.Deferred.fromCoroutine(self.events.connect())
        done.addCallbacks(results.append, lambda failure: results.append(failure.value))
        return results

    def read(self) -> list[ws.Event]:
        """Return what was sent since the last time."""
        self.wire.receive_data(self.transport.value())
        self.transport.clear()
        return list(self.wire.events())

    def send(self, event: ws.Event) -> None:
        self.receive(self.wire.send(event))

    def receive(self, data: bytes) -> None:
        assert self.stream is not None
        self.stream.dataReceived(data)
        self.clock.advance(0)  # a long read is handled in several turns of the reactor

    def accept(self) -> ws.Request:
        """Connect and accept the request."""
        results = self.connecting()
        (request,) = self.read()
        assert isinstance(request, ws.Request)
        self.send(ws.AcceptConnection())
        assert results == [None]
        assert self.events.up
        return request


@pytest.fixture
def asterisk() -> Iterator[Asterisk]:
    asterisk = Asterisk()
    yield asterisk
    asterisk.transport.end(error.ConnectionLost())
    assert not asterisk.events.up
    assert asterisk.clock.getDelayedCalls() == []


def test_the_request_has_the_application_and_the_password(asterisk: Asterisk) -> None:
    request = asterisk.accept()
    assert (request.host, request.target) == ("pbx:8088", "/ari/events?app=audiosocket-1&subscribeAll=true")
    assert (b"authorization", b"Basic eA==") in request.extra_headers


def test_events_are_passed_on_however_they_are_fragmented(asterisk: Asterisk) -> None:
    asterisk.accept()
    text = json.dumps({"type": "Dial", "name": "Portão"})
    asterisk.send(ws.TextMessage(text))
    asterisk.send(ws.TextMessage(text[:5], message_finished=False))
    for byte in asterisk.wire.send(ws.TextMessage(text[5:])):
        asterisk.receive(bytes([byte]))
    assert asterisk.received == [{"type": "Dial", "name": "Portão"}] * 2


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 60_000, json.dumps({"x": "y" * MAX_EVENT_CHARACTERS})])
def test_a_message_that_is_no_event_is_skipped(asterisk: Asterisk, text: str) -> None:
    asterisk.accept()
    asterisk.send(ws.TextMessage(text))
    asterisk.send(ws.BytesMessage(b"{}"))
    asterisk.send(ws.TextMessage('{"type": "Dial"}'))
    assert asterisk.received == [{"type": "Dial"}]
    assert asterisk.events.up


def test_a_message_that_fills_the_memory_closes_the_connection(asterisk: Asterisk) -> None:
    asterisk.accept()
    asterisk.send(ws.TextMessage("x" * (MAX_MESSAGE_BYTES + 1), message_finished=False))
    assert not asterisk.events.up


def test_without_an_answer_to_a_ping_the_connection_is_over(asterisk: Asterisk) -> None:
    asterisk.accept()
    for _ in range(3):
        asterisk.clock.advance(PING_SECONDS)
        (ping,) = asterisk.read()
        assert isinstance(ping, ws.Ping)
        asterisk.send(ping.response())
    asterisk.clock.advance(PING_SECONDS)
    assert asterisk.events.up
    asterisk.clock.advance(PING_SECONDS)
    assert not asterisk.events.up


@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_a_refusal_is_an_error_with_its_status(asterisk: Asterisk, status: int) -> None:
    results = asterisk.connecting()
    asterisk.read()
    asterisk.send(ws.RejectConnection(status_code=status))
    (problem,) = results
    assert isinstance(problem, RequestFailed)
    assert f"HTTP {status}" in str(problem)
    assert "audiosocket-1" not in str(problem)


def test_no_answer_is_an_error_after_five_seconds(asterisk: Asterisk) -> None:
    results = asterisk.connecting()
    asterisk.clock.advance(CONNECT_SECONDS - 0.1)
    assert results == []
    asterisk.clock.advance(0.2)
    (problem,) = results
    assert isinstance(problem, RequestFailed)
    assert asterisk.transport.aborted


def test_a_refused_connection_is_an_error(asterisk: Asterisk) -> None:
    asterisk.problem = error.ConnectionRefusedError()
    (problem,) = asterisk.connecting()
    assert isinstance(problem, RequestFailed)
    assert "no connection for events: ws://pbx:8088: no connection" in str(problem)


def test_a_connection_that_breaks_can_be_made_again(asterisk: Asterisk) -> None:
    asterisk.accept()
    asterisk.transport.end(error.ConnectionLost())
    assert not asterisk.events.up
    asterisk.transport, asterisk.wire = Transport(), WSConnection(ConnectionType.SERVER)
    asterisk.accept()


def test_asterisk_closes(asterisk: Asterisk) -> None:
    asterisk.accept()
    asterisk.send(ws.CloseConnection(code=1001))
    assert not asterisk.events.up
    assert isinstance(asterisk.read()[0], ws.CloseConnection)


@pytest.mark.parametrize("answers", [True, False])
def test_this_side_closes(asterisk: Asterisk, answers: bool) -> None:
    asterisk.accept()
    closed = defer.Deferred.fromCoroutine(asterisk.events.close())
    (close,) = asterisk.read()
    assert isinstance(close, ws.CloseConnection)
    assert not closed.called
    if answers:
        asterisk.send(close.response())
    else:
        asterisk.clock.advance(CLOSE_SECONDS + 0.1)
    assert closed.called
    assert asterisk.transport.aborted is not answers


def test_closing_while_it_connects(asterisk: Asterisk) -> None:
    results = asterisk.connecting()
    assert defer.Deferred.fromCoroutine(asterisk.events.close()).called
    (problem,) = results
    assert isinstance(problem, defer.CancelledError)
    assert asterisk.transport.aborted


def test_a_stream_that_was_never_open_can_be_closed(asterisk: Asterisk) -> None:
    assert defer.Deferred.fromCoroutine(asterisk.events.close()).called


def test_an_asterisk_that_is_gone_is_news_at_once(asterisk: Asterisk) -> None:
    asterisk.accept()
    assert not asterisk.lost
    asterisk.transport.end(error.ConnectionLost())
    assert asterisk.lost == [True]


def test_a_connection_that_this_side_closes_is_not_reported_as_lost(asterisk: Asterisk) -> None:
    asterisk.accept()
    defer.Deferred.fromCoroutine(asterisk.events.close())
    asterisk.transport.end(error.ConnectionDone())
    assert not asterisk.lost
