"""What is counted of legs: those that go on and those that have ended, once each."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from audiosocket.calls.call import LegState
from audiosocket.calls.traffic import ONE_WAY_SECONDS, PROTOCOL_ERRORS, Traffic
from audiosocket.extensions.model import Role
from audiosocket.json_shapes import HistogramJSON, TrafficJSON
from audiosocket.wire import digit_frame, uuid_frame
from tests.support.in_memory import CALL, InMemoryServer, RecordingApp


@dataclass
class Queue:
    dropped: int = 0
    skipped_ms: float = 0.0


@dataclass
class CountedLeg:
    state: LegState
    now_ms: float
    playout: Queue = field(default_factory=Queue)


def leg(seconds: float = 10.0, **counters: int) -> CountedLeg:
    state = LegState(Role.VISITOR, "192.0.2.7:5000", 8101, joined=100.0, last_received=100.0)
    for name, number in counters.items():
        setattr(state, name, number)
    return CountedLeg(state, now_ms=1_000 * (100.0 + seconds))


def test_live_and_ended_legs_are_added() -> None:
    traffic = Traffic()
    ended = leg(frames_in=500, frames_out=480, silence_out=80, digits=2, ignored=1, late_in=3)
    ended.playout.dropped, ended.playout.skipped_ms = 5, 130.0
    traffic.leg_over(ended)
    traffic.blocked = 7
    live = leg(frames_in=50, frames_out=50, silence_out=50)
    assert traffic.to_json([live]) == {
        "frames_in": {"audio": 550, "digit": 2, "ignored": 1},
        "frames_out": {"audio": 400, "silence": 130},
        "frames_late": 3,
        "frames_dropped": {"waiting": 5, "stalled": 6, "blocked": 7},
        "protocol_errors": dict.fromkeys(PROTOCOL_ERRORS, 0),
        "one_way": 0,
    }
    before = traffic.to_json([live])
    traffic.leg_over(live)
    assert traffic.to_json([]) == before


def test_audio_in_one_direction_is_counted_when_the_leg_has_ended() -> None:
    traffic = Traffic()
    for each in (
        leg(frames_out=100),
        leg(frames_in=100),
        leg(frames_in=100, frames_out=100),
        leg(ONE_WAY_SECONDS - 0.1, frames_out=50),
    ):
        traffic.leg_over(each)
    assert traffic.to_json([])["one_way"] == 2
    assert traffic.to_json([leg(frames_out=1)])["one_way"] == 2, "it may still be heard"


# legs in memory


def counted(server: InMemoryServer) -> TrafficJSON:
    return server.legs.traffic.to_json(server.legs)


def test_frames_of_a_call_are_counted_while_it_lasts_and_after() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(2_000, line)
    live = counted(server)
    assert (live["frames_in"]["audio"], live["frames_late"]) == (100, 0)
    assert live["frames_out"]["audio"] == 0
    assert live["frames_out"]["silence"] >= 100
    line.send(digit_frame("5"))
    line.hang_up()
    server.run(20)
    over = counted(server)
    assert len(server.legs) == 0
    assert over["frames_in"] == {"audio": 100, "digit": 1, "ignored": 0}
    assert over["frames_out"] == live["frames_out"]


def test_frames_that_come_late_are_counted() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(400, line)
    server.run(60)
    server.run(400, line)
    assert counted(server)["frames_late"] == 1


def test_a_caller_who_is_never_heard_is_counted() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(2_500)
    line.hang_up()
    server.run(20)
    assert counted(server)["one_way"] == 1


def test_frames_that_a_peer_does_not_take_are_counted() -> None:
    server = InMemoryServer(RecordingApp(audio=lambda leg: leg.pass_on(bytes(7_680), 192_000)))
    line = server.join()
    line.not_reading = True
    while not line.paused:
        server.run(20, line)
    assert counted(server)["frames_dropped"]["blocked"] == 0
    server.run(2_200, line)
    after = counted(server)
    assert after["frames_dropped"]["blocked"] > 50
    assert after["protocol_errors"]["not_reading"] == 1


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "handshake"),
        (b"", "handshake_timeout"),
        (2 * uuid_frame(CALL), "second_uuid"),
        (uuid_frame(CALL) + 3 * b"\x02\0\0", "unknown_message"),
        (uuid_frame(CALL) + b"\xff\0\x01\x01", "peer_error"),
    ],
)
def test_errors_of_peers_are_counted_by_kind(sent: bytes, kind: str) -> None:
    server = InMemoryServer(RecordingApp())
    server.connect().send(sent)
    server.run(5_100)
    assert {name: n for name, n in counted(server)["protocol_errors"].items() if n} == {kind: 1}


def jitter(server: InMemoryServer) -> HistogramJSON:
    return server.admission.timings.to_json()["jitter"]


def test_even_frames_have_no_jitter_and_uneven_ones_have() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(16 * 20 * 10, line)
    even = jitter(server)
    assert even["count"] == 9
    assert even["max_ms"] == 0
    for _ in range(10):
        server.run(16 * 20, line)
        server.run(60)
    uneven = jitter(server)
    assert uneven["max_ms"] == pytest.approx(60, abs=1)
    assert uneven["count"] > 2 * even["count"] - 2


def test_a_pause_of_the_caller_is_no_jitter() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(16 * 20 * 3, line)
    server.run(4_000)
    server.run(16 * 20 * 3, line)
    assert jitter(server)["max_ms"] == 0
