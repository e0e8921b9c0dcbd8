"""A WebSocket peer that sends much at once: others have their turn of the reactor in between, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto import events as ws

from audiosocket.outbound.endpoints import Endpoints
from audiosocket.outbound.websocket import WebSocketClient
from audiosocket.outbound.websocket_reading import BYTES_PER_TURN, MESSAGES_PER_TURN
from tests.support.reactor import reactor

TURN_SECONDS = 0.001
MESSAGES = [f"message {number}" for number in range(2_000)]


class Recorder:
    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.end: tuple[int, str] | None = None

    def opened(self) -> None:
        pass

    def message(self, message: str | bytes) -> None:
        self.messages.append(message)

    def closed(self, code: int, reason: str) -> None:
        self.end = (code, reason)


class Transport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class Reactor(Clock):
    """A clock on which a call that is due at once comes in the next turn, as in a reactor."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any, **kw: Any) -> IDelayedCall:
        return super().callLater(max(delay, TURN_SECONDS), callable, *args, **kw)


class InMemory:
    """An open client; what the server sends goes to it as one read."""

    def __init__(self) -> None:
        url, self.clock, self.seen = "ws://127.0.0.1:1/", Reactor(), Recorder()
        self.client = WebSocketClient(url, self.seen, Endpoints(reactor).for_url(url, ""), self.clock)
        self.transport = Transport()
        self.client.makeConnection(self.transport)
        self.server = WSConnection(ConnectionType.SERVER)
        self.server.receive_data(self.transport.value())
        list(self.server.events())
        self.client.dataReceived(self.server.send(ws.AcceptConnection()))

    def send(self, *events: ws.Event) -> None:
        self.client.dataReceived(b"".join(self.server.send(event) for event in events))

    def turn(self) -> None:
        """Let the reactor have a turn."""
        self.clock.advance(TURN_SECONDS)


@pytest.fixture
def here() -> InMemory:
    return InMemory()


def test_many_messages_of_one_read_are_handled_in_several_turns(here: InMemory) -> None:
    here.send(*[ws.TextMessage(text) for text in MESSAGES])
    turns = [len(here.seen.messages)]
    assert here.transport.producerState == "paused"
    while len(here.seen.messages) < len(MESSAGES):
        here.turn()
        turns.append(len(here.seen.messages))
    assert here.seen.messages == MESSAGES
    assert max(later - earlier for earlier, later in pairwise(turns)) <= BYTES_PER_TURN // 8
    assert len(turns) >= len("".join(MESSAGES)) // BYTES_PER_TURN
    here.turn()
    assert here.transport.producerState == "producing"


def test_what_is_read_meanwhile_comes_after_it(here: InMemory) -> None:
    here.send(*[ws.TextMessage(text) for text in MESSAGES])
    here.send(ws.TextMessage("the last"))
    for _ in range(len(MESSAGES)):
        here.turn()
    assert here.seen.messages == [*MESSAGES, "the last"]


def test_what_waits_when_the_connection_ends_is_handled_before_its_end(here: InMemory) -> None:
    here.send(*[ws.TextMessage(text) for text in MESSAGES], ws.CloseConnection(1000, "done"))
    here.client.connectionLost(Failure(ConnectionDone()))
    assert here.seen.messages == MESSAGES
    assert here.seen.end == (1000, "done")


def test_a_message_larger_than_a_turn_is_whole(here: InMemory) -> None:
    here.send(ws.TextMessage("x" * (10 * BYTES_PER_TURN)))
    for _ in range(20):
        here.turn()
    assert here.seen.messages == ["x" * (10 * BYTES_PER_TURN)]


@pytest.mark.parametrize("repeated", [1, 5])
def test_messages_without_content_are_handled_in_several_turns(here: InMemory, repeated: int) -> None:
    here.client.dataReceived(b"\x81\x00" * 2_000 * repeated)
    turns = [len(here.seen.messages)]
    assert here.transport.producerState == "paused"
    while len(here.seen.messages) < 2_000 * repeated:
        here.turn()
        turns.append(len(here.seen.messages))
    assert max(later - earlier for earlier, later in pairwise([0, *turns])) == MESSAGES_PER_TURN
    assert set(here.seen.messages) == {""}
    assert here.transport.producerState == "producing"
    here.send(ws.TextMessage("the next"))
    assert here.seen.messages[-1] == "the next"


def test_pieces_without_content_are_handled_in_several_turns(here: InMemory) -> None:
    here.client.dataReceived(b"\x01\x00" + b"\x00\x00" * 2 * MESSAGES_PER_TURN + b"\x80\x01x" + b"\x81\x01y")
    turns = 0
    while len(here.seen.messages) < 2:
        here.turn()
        turns += 1
    assert turns == 2
    assert here.seen.messages == ["x", "y"]


def test_messages_without_content_that_wait_come_before_what_follows_and_before_the_end(here: InMemory) -> None:
    here.client.dataReceived(b"\x81\x00" * 200)
    here.send(ws.TextMessage("the last"), ws.CloseConnection(1000, "done"))
    here.client.connectionLost(Failure(ConnectionDone()))
    assert here.seen.messages == [*[""] * 200, "the last"]
    assert here.seen.end == (1000, "done")


def test_a_message_that_is_a_whole_read_is_reported_like_any_other(here: InMemory) -> None:
    here.send(ws.TextMessage("x" * 300))
    here.send(ws.BytesMessage(b"y" * 300))
    assert here.seen.messages == ["x" * 300, b"y" * 300]
    here.client.dataReceived(b"\x81\x7e\x00\x80" + b"\xff" * 128)
    assert here.seen.end is not None
    assert here.seen.end[0] == 1007
    here.send(ws.TextMessage("x" * 300))
    assert len(here.seen.messages) == 2


def test_of_the_pings_of_one_turn_the_last_is_answered(here: InMemory) -> None:
    here.transport.clear()
    here.client.dataReceived(b"\x89\x00" * 1_000 + b"\x8a\x00" * 500 + b"\x89\x04last")
    here.server.receive_data(here.transport.value())
    assert list(here.server.events()) == [ws.Pong(b"last")]


def test_nothing_is_handled_after_the_client_was_aborted(here: InMemory) -> None:
    here.send(*[ws.TextMessage(text) for text in MESSAGES])
    before = len(here.seen.messages)
    here.client.abort()
    for _ in range(10):
        here.turn()
    here.client.connectionLost(Failure(ConnectionDone()))
    assert len(here.seen.messages) == before
