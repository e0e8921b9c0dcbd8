"""When a WebSocket is pinged, and when it is given up."""

from __future__ import annotations

from twisted.internet.task import Clock

from audiosocket.outbound.websocket_interface import WebSocketLimits
from audiosocket.outbound.websocket_pings import Pings


class Pinged:
    """A connection that is pinged 10 s after each answer and given up 3 s after a ping."""

    def __init__(self, ping_seconds: float = 10.0) -> None:
        self.clock = Clock()
        self.sent: list[float] = []
        self.lost: list[str] = []
        limits = WebSocketLimits(ping_seconds=ping_seconds, pong_seconds=3.0)
        self.pings = Pings(limits, self.clock, self._sent, self.lost.append)
        self.pings.start()

    def _sent(self) -> None:
        self.sent.append(self.clock.seconds())


def test_a_ping_follows_some_time_after_the_previous_answer() -> None:
    pinged = Pinged()
    pinged.clock.advance(10)
    pinged.clock.advance(2)
    pinged.pings.answered()
    pinged.clock.advance(9)
    assert pinged.sent == [10.0]
    pinged.clock.advance(1)
    assert pinged.sent == [10.0, 22.0]
    assert pinged.lost == []


def test_a_connection_that_does_not_answer_is_given_up_once() -> None:
    pinged = Pinged()
    pinged.clock.pump([10, 3, 60])
    assert pinged.lost == ["no answer to a ping within 3 s"]
    assert pinged.sent == [10.0]


def test_an_answer_to_no_ping_does_not_put_the_next_one_off() -> None:
    pinged = Pinged()
    pinged.clock.advance(9)
    pinged.pings.answered()
    pinged.clock.advance(1)
    assert pinged.sent == [10.0]


def test_pings_that_are_stopped_leave_no_timer() -> None:
    for seconds in (5, 11):
        pinged = Pinged()
        pinged.clock.advance(seconds)
        pinged.pings.stop()
        assert pinged.clock.getDelayedCalls() == []


def test_no_pings_are_sent_where_they_are_off() -> None:
    assert Pinged(ping_seconds=0).clock.getDelayedCalls() == []
