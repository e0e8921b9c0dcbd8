"""What one peer may send: shares of a tick, its order kept, and the end of a leg that sends far too much."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from audiosocket.calls.protocol.intake import (
    DIRECT_UNITS,
    MAX_UNITS,
    MESSAGES_PER_STEP,
    UNITS_PER_SECOND,
    Allowance,
    cost,
)
from audiosocket.interfaces import Leg
from audiosocket.transport.clock import WORK_MS, MediaClock
from audiosocket.transport.ticker import TICK_MS, TimerTicker
from audiosocket.wire import (
    RATES,
    Audio,
    Digit,
    Ignored,
    Parser,
    audio_frame,
    digit_frame,
    frame_bytes,
    uuid_frame,
)
from tests.support.in_memory import (
    BUFFER_BYTES,
    CALL,
    FRAME,
    OTHER_CALL,
    START,
    InMemoryServer,
    RecordingApp,
)
from tests.support.logged_events import LoggedEvents
from tests.support.logged_failures import LoggedFailures

ONE_SAMPLE = audio_frame(8_000, b"\x11\x22")
#: One-sample frames, each with another rate than the one before: as many as fit in one read.
CHANGING_RATES = b"".join(
    itertools.islice((audio_frame(rate, b"\x11\x22") for rate in itertools.cycle((8_000, 16_000))), 13_104)
)
DIGIT = digit_frame("5")
DIGITS = DIGIT * 16_384
LARGE = audio_frame(8_000, bytes(65_000))

FLOODS = {
    "one-sample frames": ONE_SAMPLE * 13_104,
    "changing rates": CHANGING_RATES,
    "digits": DIGITS,
    "ordinary frames": FRAME * 202,
    "large frames": LARGE,
    "without meaning": b"\x42\0\0" * 20_000,
}


def outcome(server: InMemoryServer) -> str | None:
    call = server.registry.get(CALL)
    assert call is not None
    return call.to_json(server.now)["legs"][0]["outcome"]


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_of_one_read_only_some_messages_are_handled_before_others_have_their_turn(flood: bytes) -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    line.send(flood[:BUFFER_BYTES])
    assert len(app.events) <= 1 + MESSAGES_PER_STEP
    for _ in range(20):
        handled = len(app.events)
        server.run(TICK_MS)
        line.send(flood[:BUFFER_BYTES])
        assert len(app.events) - handled <= 2 * MESSAGES_PER_STEP
    line.hang_up()


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_leg_that_sends_far_more_than_a_telephone_is_ended_and_its_neighbour_is_not(flood: bytes) -> None:
    with LoggedEvents() as logged:
        server = InMemoryServer(RecordingApp())
        line = server.join()
        for _ in range(30_000 // TICK_MS):
            line.send(flood[:BUFFER_BYTES])
            server.run(TICK_MS)
            if line.aborted:
                break
        assert line.aborted
        assert outcome(server) == "protocol_error"
        server.run(100)
        assert server.idle
    assert logged.text.count("messages/s") == 1


@pytest.mark.parametrize("ms", [10, 20, 60])
@pytest.mark.parametrize("rate", [8_000, 48_000, 192_000])
def test_asterisk_that_stood_still_for_10_s_keeps_its_call(ms: int, rate: int) -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    packet = audio_frame(rate, bytes(rate * ms // 1000 * 2))
    late = packet * (10_000 // ms)
    for start in range(0, len(late), BUFFER_BYTES):
        line.send(late[start : start + BUFFER_BYTES])
    for _ in range(30_000 // ms):
        line.send(packet)
        server.run(ms)
    assert not line.aborted
    assert len(app.values("audio")) == 10_000 // ms + 30_000 // ms
    line.hang_up()


def test_frames_of_10_ms_are_never_held_back() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    packet = audio_frame(8_000, bytes(160))
    for sent in range(1, 3_001):
        line.send(packet)
        assert len(app.values("audio")) == sent
        server.run(10)
    line.hang_up()


def test_what_waits_when_an_app_hangs_up_is_dropped_and_the_fin_is_read() -> None:
    heard: list[object] = []

    def hang_up_at_20(leg: Leg) -> None:
        heard.append(leg)
        if len(heard) == 20:
            leg.hang_up()

    server = InMemoryServer(RecordingApp(audio=hang_up_at_20))
    line = server.join()
    line.send(ONE_SAMPLE * 100)
    assert not line.read
    server.run(50)
    assert len(heard) == 20
    assert line.ended_by_server
    assert line.read
    line.hang_up()
    server.run(5)
    assert server.idle


@pytest.mark.parametrize(("close", "end"), [("hang_up", "caller_hangup"), ("reset", "connection_lost")])
def test_a_connection_that_closes_with_messages_waiting_loses_none_and_ends_its_leg(close: str, end: str) -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    line.send(DIGIT * 100)
    getattr(line, close)()
    assert outcome(server) is None
    sent = len(line.writes)
    server.run(1_000)
    assert app.values("digit") == ["5"] * 100
    assert [event.method for event in app.events][-1] == "left"
    assert outcome(server) == end
    assert len(line.writes) == sent
    assert server.idle


def test_a_flood_before_the_end_of_its_connection_is_ended_as_a_flood() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    line.send(DIGITS[:BUFFER_BYTES])
    line.hang_up()
    server.run(5_000)
    assert outcome(server) == "protocol_error"
    assert server.idle


def test_an_app_may_hang_up_among_the_messages_of_a_connection_that_is_lost() -> None:
    def hang_up_at_50(leg: Leg) -> None:
        if len(app.values("digit")) == 50:
            leg.hang_up()

    app = RecordingApp(digit=hang_up_at_50)
    server = InMemoryServer(app)
    line = server.join()
    line.send(DIGIT * 100)
    line.reset()
    server.run(1_000)
    assert len(app.values("digit")) == 50
    assert outcome(server) == "server_hangup"
    assert not server.factory().connections
    assert server.idle


@pytest.mark.parametrize("lost", [True, False])
def test_a_failure_in_the_messages_that_wait_ends_the_leg(lost: bool, logged_failures: LoggedFailures) -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    line.send(DIGIT * 100)
    assert line.protocol is not None
    line.protocol._parser = None  # type: ignore[assignment]
    if lost:
        line.hang_up()
    server.run(50)
    assert outcome(server) == ("caller_hangup" if lost else "connection_lost")
    assert server.idle
    assert logged_failures.flush(AttributeError)


def test_a_flood_with_the_uuid_is_handled_in_steps_too() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.connect()
    line.send(uuid_frame(CALL) + ONE_SAMPLE * 13_000)
    assert len(app.values("audio")) <= MESSAGES_PER_STEP
    assert not line.read
    line.hang_up()


pieces = st.lists(
    st.one_of(
        st.sampled_from((FRAME, FRAME * 3, ONE_SAMPLE, audio_frame(16_000, bytes(640)), b"\x42\0\0")),
        st.sampled_from("0123456789*#").map(digit_frame),
    ),
    max_size=150,
)


@settings(max_examples=60, deadline=None)
@given(pieces, st.lists(st.integers(1, 4_000), max_size=20))
def test_all_messages_reach_the_app_once_and_in_order_however_they_arrive(
    sent: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(sent)
    app = RecordingApp()
    server = InMemoryServer(app)
    line = server.join()
    at = 0
    for size in (*cuts, len(stream)):
        line.send(stream[at : at + size])
        at += size
        server.run(TICK_MS)
    server.run(1_000)
    expected: list[object] = []
    for event in Parser(expect_identity=False).receive(stream):
        if isinstance(event, Audio):
            expected.append((event.pcm, event.rate))
        elif isinstance(event, Digit):
            expected.append(event.digit)
    assert [event.value for event in app.events if event.method in ("audio", "digit")] == expected
    line.hang_up()


def test_the_parser_stops_at_the_limit_and_goes_on_later() -> None:
    parser = Parser(expect_identity=False)
    assert len(parser.receive(ONE_SAMPLE * 5 + b"\x10", 2)) == 2
    assert parser.receive(b"\0", 0) == []
    assert len(parser.receive(b"", 16)) == 3
    assert parser.receive(b"\x02\x01\x02", 1) == [Audio(8_000, b"\x01\x02")]


# the allowance


def test_the_pace_of_any_telephone_costs_less_than_a_leg_earns() -> None:
    for rate in RATES.values():
        for ms in (10, 20, 30, 40, 60):
            packet = Audio(rate, bytes(frame_bytes(rate) * ms // 20))
            assert cost(packet, rate) * 1000 / ms < UNITS_PER_SECOND


def test_an_allowance_is_earned_again_up_to_its_limit() -> None:
    allowance = Allowance(START)
    allowance.spend(DIRECT_UNITS, START)
    assert allowance.direct
    allowance.spend(1, START)
    assert not allowance.direct
    allowance.spend(MAX_UNITS - DIRECT_UNITS - 1, START)
    assert not allowance.spent
    allowance.spend(1, START)
    assert allowance.spent
    allowance.spend(0, START + 1_000)
    assert allowance.direct
    allowance.spend(MAX_UNITS, START + 1_000)
    assert not allowance.spent


def test_digits_large_frames_and_changes_of_the_rate_cost_more() -> None:
    ordinary = cost(Audio(8_000, bytes(320)), 8_000)
    assert cost(Ignored(0x42, 0, ""), 8_000) == ordinary
    assert cost(Digit("1"), 8_000) > ordinary
    assert cost(Audio(8_000, bytes(320)), 16_000) > ordinary
    assert cost(Audio(8_000, bytes(65_534)), 8_000) > 30 * ordinary


# the work of ticks


class ClockFixture:
    """A `MediaClock` on an in-memory time, which a step of work can take."""

    def __init__(self) -> None:
        self.time = Clock()
        self.time.advance(START)
        self.taken = 0.0
        self.clock = MediaClock(TimerTicker(self.time, self.time.seconds), self._seconds)

    def _seconds(self) -> float:
        return self.time.seconds() + self.taken

    def tick(self) -> None:
        self.taken = 0.0
        self.time.advance(TICK_MS / 1000)


def step(calls: list[str], name: str, times: int, then: Callable[[], None] = lambda: None) -> Callable[[], bool]:
    """Return a step that is to be called ``times`` times."""

    def call() -> bool:
        calls.append(name)
        then()
        return calls.count(name) < times

    return call


def test_each_step_has_its_turn_once_in_a_tick_until_it_is_done_and_the_clock_stops() -> None:
    fixture, calls = ClockFixture(), list[str]()
    fixture.clock.add_work(step(calls, "a", 3))
    fixture.clock.add_work(step(calls, "b", 1))
    fixture.tick()
    assert calls == ["a", "b"]
    fixture.tick()
    fixture.tick()
    fixture.tick()
    assert calls == ["a", "b", "a", "a"]
    assert not fixture.time.getDelayedCalls()


def test_a_tick_ends_when_its_time_for_work_is_over_and_the_next_one_goes_on_with_the_others() -> None:
    fixture, calls = ClockFixture(), list[str]()

    def take_all() -> None:
        fixture.taken += WORK_MS / 1000

    for name in "abc":
        fixture.clock.add_work(step(calls, name, 2, take_all))
    for _ in range(6):
        fixture.tick()
    assert calls == ["a", "b", "c", "a", "b", "c"]


def test_a_step_that_raises_is_dropped_and_the_others_go_on(logged_failures: LoggedFailures) -> None:
    fixture, calls = ClockFixture(), list[str]()

    def fail() -> None:
        raise ZeroDivisionError

    fixture.clock.add_work(step(calls, "bad", 5, fail))
    fixture.clock.add_work(step(calls, "good", 2))
    for _ in range(3):
        fixture.tick()
    assert calls == ["bad", "good", "good"]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_the_frames_of_a_neighbour_are_in_time_while_a_peer_floods() -> None:
    server = InMemoryServer(RecordingApp())
    neighbour, peer = server.join(OTHER_CALL), server.join()
    peer.send(CHANGING_RATES)
    since = server.now
    server.run(1_000)
    assert len(neighbour.audio(since)) == 1 + 50
    assert not peer.read
    peer.hang_up()
    neighbour.hang_up()
