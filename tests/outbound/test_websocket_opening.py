"""The attempt to open a WebSocket, without a network."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.outbound.websocket_interface import WebSocketFailed
from audiosocket.outbound.websocket_opening import Opening

PEER = "ws://bot.example"


@implementer(IStreamClientEndpoint)
class Endpoint:
    """An endpoint whose connection the test makes."""

    def __init__(self) -> None:
        self.connecting: Deferred[Any] = Deferred(self._cancelled)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self.connecting

    def _cancelled(self, connecting: Deferred[Any]) -> None:
        connecting.errback(ConnectingCancelledError(None))


class Attempt:
    """An attempt that may take 5 s, how it has ended, and how often its connection was dropped."""

    def __init__(self) -> None:
        self.clock, self.endpoint = Clock(), Endpoint()
        self.ends: list[object] = []
        self.drops = 0
        self.opening = Opening(PEER, self._dropped)
        client = Protocol()
        self.opening.begin(client, self.endpoint, self.clock, 5.0).addBoth(self.ends.append)

    def connect(self) -> None:
        self.endpoint.connecting.callback(Protocol())

    def error(self) -> BaseException | None:
        """The one end, which is an error."""
        (end,) = self.ends
        assert isinstance(end, Failure)
        return end.value

    def _dropped(self) -> None:
        self.drops += 1


def test_it_ends_with_the_handshake_and_not_with_the_connection() -> None:
    attempt = Attempt()
    attempt.connect()
    assert attempt.ends == []
    attempt.opening.accept()
    assert attempt.ends == [None]
    assert attempt.clock.getDelayedCalls() == []


@pytest.mark.parametrize("reason", [ConnectionRefusedError(), DNSLookupError("no such name")])
def test_without_a_connection_it_fails_with_the_peer_and_the_reason(reason: Exception) -> None:
    attempt = Attempt()
    attempt.endpoint.connecting.errback(reason)
    error = attempt.error()
    assert isinstance(error, WebSocketFailed)
    assert str(error) == f"{PEER}: no connection: {reason}"


@pytest.mark.parametrize(("connected", "drops"), [(False, 0), (True, 1)])
def test_it_fails_when_its_time_is_over(connected: bool, drops: int) -> None:
    attempt = Attempt()
    if connected:
        attempt.connect()
    attempt.clock.advance(5)
    error = attempt.error()
    assert isinstance(error, WebSocketFailed)
    assert str(error) == f"{PEER}: no WebSocket within 5 s"
    assert attempt.drops == drops


@pytest.mark.parametrize(("connected", "drops"), [(False, 0), (True, 1)])
def test_it_can_be_cancelled(connected: bool, drops: int) -> None:
    attempt = Attempt()
    if connected:
        attempt.connect()
    attempt.opening.cancel()
    assert isinstance(attempt.error(), CancelledError)
    assert attempt.drops == drops


def test_only_the_first_end_counts() -> None:
    attempt = Attempt()
    attempt.connect()
    attempt.opening.fail(WebSocketFailed("refused"))
    attempt.opening.accept()
    attempt.opening.fail(WebSocketFailed("lost"))
    assert str(attempt.error()) == "refused"
