"""`MediaClock`: 50 turns a second, none lost or doubled, no timer without members."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import inf

import pytest
from twisted.internet.task import Clock

from audiosocket.media.playout import AHEAD_MS, DEBT_MS
from audiosocket.transport.clock import PHASES, MediaClock
from audiosocket.transport.ticker import TICK_MS, TimerTicker
from audiosocket.wire import RATES, audio_frame, frame_bytes
from tests.support.in_memory import FRAME, START, AsteriskConnection, Echo, InMemoryServer, RecordingApp
from tests.support.logged_failures import LoggedFailures

VOICE = b"\x21\x43"


class Member:
    """Records its turns, and calls ``then`` in each of them."""

    due_ms = -inf

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.turns: list[float] = []
        self._then = then

    def tick(self, now_ms: float) -> None:
        self.turns.append(now_ms)
        if self._then is not None:
            self._then()


class ClockFixture:
    """A `MediaClock` on an in-memory time."""

    def __init__(self, after_tick: Callable[[], bool] = lambda: False) -> None:
        self.time = Clock()
        self.time.advance(START)
        self.clock = MediaClock(TimerTicker(self.time, self.time.seconds), self.time.seconds, after_tick)

    def run(self, ms: float, step: float = 1.0) -> None:
        start = self.time.seconds()
        for n in range(1, round(ms / step) + 1):
            self.time.advance(start + n * step / 1000 - self.time.seconds())


def written_ms(line: AsteriskConnection) -> float:
    """Milliseconds of audio written so far."""
    return sum(len(pcm) * 1000 / (2 * RATES[kind]) for _, kind, pcm in line.audio())


# turns


def test_a_member_has_its_first_turn_within_20_ms_and_then_one_every_20_ms() -> None:
    for offset in range(0, 25, 3):
        fixture, member = ClockFixture(), Member()
        fixture.time.advance(offset / 1000)
        joined = fixture.clock.now_ms()
        fixture.clock.add(member)
        fixture.run(2_000)
        assert 15 <= member.turns[0] - joined <= 21
        gaps = [after - before for before, after in itertools.pairwise(member.turns)]
        assert gaps == pytest.approx([20] * len(gaps), abs=1.001)
        assert len(member.turns) in {99, 100}


def test_after_tick_is_called_after_the_turns_and_keeps_the_clock_running() -> None:
    calls, wants = list[str](), [True]

    def after_tick() -> bool:
        calls.append("after_tick")
        return wants[0]

    fixture = ClockFixture(after_tick)
    member = Member(lambda: calls.append("turn"))
    fixture.clock.add(member)
    fixture.run(100)
    assert calls.count("after_tick") == 20
    assert calls[calls.index("turn") + 1] == "after_tick"
    fixture.clock.discard(member)
    fixture.run(50)
    assert calls[-10:] == ["after_tick"] * 10, "sockets polled on ticks may be ready although no leg is left"
    wants[0] = False
    fixture.run(TICK_MS)
    assert not fixture.time.getDelayedCalls()


def test_members_that_come_at_different_times_share_four_phases() -> None:
    fixture, members = ClockFixture(), [Member() for _ in range(8)]
    for member in members:
        fixture.clock.add(member)
        fixture.run(TICK_MS)
    fixture.run(1_000)
    phases = [round(member.turns[-1] % 20 / TICK_MS) % PHASES for member in members]
    assert sorted(phases[:4]) == [0, 1, 2, 3]
    assert phases[:4] == phases[4:]


def test_the_grid_does_not_move_with_late_turns() -> None:
    """Every turn of ten minutes is 0 to 4 ms late; the last one is as late as the first."""
    fixture, member = ClockFixture(), Member()
    fixture.clock.add(member)
    fixture.run(600_000, step=4.7)
    assert len(member.turns) == pytest.approx(30_000, abs=1)
    phase = [(turn + 1e-6) % 20 for turn in member.turns]  # rounding
    assert max(phase) - min(phase) <= 4.8
    assert fixture.clock.late_turns == 0


def test_without_members_there_is_no_timer() -> None:
    fixture, one, two = ClockFixture(), Member(), Member()
    assert fixture.time.getDelayedCalls() == []
    fixture.clock.add(one)
    fixture.run(7)
    fixture.clock.add(two)
    assert len(fixture.clock) == 2
    assert len(fixture.time.getDelayedCalls()) == 1
    fixture.clock.discard(one)
    fixture.clock.discard(one)
    fixture.clock.discard(Member())
    assert len(fixture.time.getDelayedCalls()) == 1
    fixture.clock.discard(two)
    assert len(fixture.clock) == 0
    fixture.run(TICK_MS)
    assert fixture.time.getDelayedCalls() == []
    fixture.run(100)
    assert one.turns == []


def test_it_stops_without_members_and_starts_again() -> None:
    fixture, member = ClockFixture(), Member()
    fixture.clock.add(member)
    fixture.run(100)
    fixture.clock.discard(member)
    fixture.run(10_000)
    seen = len(member.turns)
    fixture.clock.add(member)
    fixture.run(100)
    assert len(member.turns) == seen + 5
    assert fixture.clock.late_turns == 0


def test_a_member_may_be_discarded_in_its_own_turn() -> None:
    fixture = ClockFixture()
    member = Member(lambda: fixture.clock.discard(member))
    fixture.clock.add(member)
    fixture.run(100)
    assert len(member.turns) == 1
    assert fixture.time.getDelayedCalls() == []


def test_a_member_discarded_in_the_turn_of_another_has_no_more_turns() -> None:
    fixture = ClockFixture()
    gone = Member()
    first = Member(lambda: fixture.clock.discard(gone))
    fixture.clock.add(first)
    fixture.clock.add(gone)
    fixture.run(100)
    assert len(first.turns) == 5
    assert gone.turns == []


def test_a_member_added_in_the_turn_of_another_does_not_start_a_second_timer() -> None:
    fixture = ClockFixture()
    late = Member()

    def let_it_in() -> None:
        if len(fixture.clock) == 1:
            fixture.clock.add(late)

    first = Member(let_it_in)
    fixture.clock.add(first)
    fixture.run(100)
    assert len(fixture.time.getDelayedCalls()) == 1
    assert len(late.turns) == 4
    fixture.clock.discard(first)
    fixture.clock.discard(late)
    fixture.run(TICK_MS)
    assert fixture.time.getDelayedCalls() == []


def test_a_member_that_raises_is_dropped_and_the_others_are_not(logged_failures: LoggedFailures) -> None:
    fixture = ClockFixture()

    def fail() -> None:
        raise ValueError("its own trouble")

    before, bad, after = Member(), Member(fail), Member()
    for member in (before, bad, after):
        fixture.clock.add(member)
    fixture.run(200)
    assert [len(member.turns) for member in (before, bad, after)] == [10, 1, 10]
    assert len(fixture.clock) == 2
    assert len(logged_failures.flush(ValueError)) == 1


def test_a_turn_more_than_one_frame_late_is_counted_once() -> None:
    fixture, member = ClockFixture(), Member()
    fixture.clock.add(member)
    fixture.run(1_000)
    assert fixture.clock.late_turns == 0
    fixture.time.advance(0.015)
    fixture.run(100)
    assert fixture.clock.late_turns == 0
    fixture.time.advance(0.070)
    fixture.run(100)
    assert fixture.clock.late_turns == 1
    fixture.time.advance(3.0)
    fixture.run(100)
    assert fixture.clock.late_turns == 2


def test_after_a_stall_every_member_has_one_turn_only() -> None:
    fixture, members = ClockFixture(), [Member() for _ in range(4)]
    for member in members:
        fixture.clock.add(member)
        fixture.run(TICK_MS)
    fixture.run(200)
    for stall in (0.025, 0.070, 1.0, 60.0):
        before = [len(member.turns) for member in members]
        fixture.time.advance(stall)
        for member, count in zip(members, before, strict=True):
            assert 1 <= len(member.turns) - count <= 2
            assert member.turns[-1] == pytest.approx(fixture.clock.now_ms())


# what a caller gets


def test_silence_is_sent_from_the_uuid_on_without_gaps() -> None:
    exchange = InMemoryServer(RecordingApp())
    line = exchange.connect()
    exchange.run(300)
    assert line.writes == []
    line.send(b"\x01\x00\x10" + bytes(16))
    start = exchange.now
    assert [(kind, pcm) for _, kind, pcm in line.audio()] == [(0x10, bytes(320))]
    exchange.run(3_000, step=1)
    assert {(kind, pcm) for _, kind, pcm in line.audio()} == {(0x10, bytes(320))}
    times = [start, *(when for when, _, _ in line.audio())]
    assert max(after - before for before, after in itertools.pairwise(times)) <= 0.0211


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_50_frames_are_sent_per_second_each_in_one_write(rate: int) -> None:
    """Speech, silence and a caller's frames at another rate: the line checks every write, here is the count."""
    exchange = InMemoryServer(RecordingApp())
    line = exchange.join()
    line.send(audio_frame(rate, bytes(frame_bytes(rate))))
    [leg] = exchange.legs
    start = exchange.now
    for minute in range(1, 4):
        leg.play(VOICE * rate * 30)
        exchange.run(60_000)
        frames = [pcm for _, kind, pcm in line.audio() if RATES[kind] == rate]
        assert len(frames) == pytest.approx(minute * 3_000, abs=2)
        assert {len(pcm) for pcm in frames} == {frame_bytes(rate)}
        assert leg.heard_ms == minute * 30_000
    assert written_ms(line) == pytest.approx((exchange.now - start) * 1000, abs=25)


def test_a_stall_of_70_ms_is_made_up_for() -> None:
    for speak in (True, False):
        exchange = InMemoryServer(RecordingApp())
        line = exchange.join()
        [leg] = exchange.legs
        start = exchange.now
        if speak:
            leg.play(VOICE * 8_000 * 10)
        for _ in range(10):
            exchange.run(200)
            exchange.stall(70)
        exchange.run(200)
        assert written_ms(line) == pytest.approx((exchange.now - start) * 1000, abs=26)
        assert leg.playout.skipped_ms == 0


def test_a_stall_of_1_s_causes_no_burst() -> None:
    for speak in (True, False):
        exchange = InMemoryServer(RecordingApp())
        line = exchange.join()
        [leg] = exchange.legs
        if speak:
            leg.play(VOICE * 8_000 * 10)
        exchange.run(500)
        before = exchange.now
        exchange.stall(1_000)
        at_once = len(line.audio(since=before + 0.001))
        exchange.run(500)
        assert at_once <= (DEBT_MS / 20 + 1 if speak else 2)
        assert leg.playout.skipped_ms == pytest.approx(1_000 - DEBT_MS, abs=25)
        assert leg.state.late_turns == 1
        assert 2_000 - written_ms(line) == pytest.approx(leg.playout.skipped_ms, abs=25)


@pytest.mark.parametrize("burst", [1, 5, 50])
def test_frames_are_sent_at_most_100_ms_ahead(burst: int) -> None:
    """A caller whose frames arrive in bursts hears its echo at most that much early."""
    exchange = InMemoryServer(Echo())
    line = exchange.join()
    start = line.writes[0][0]
    ahead = []
    for n in range(400):
        exchange.run(5)
        if n % (4 * burst) == 0:
            for _ in range(burst):
                line.send(FRAME)
        ahead.append(written_ms(line) - (exchange.now - start) * 1000)
    assert max(ahead) <= AHEAD_MS + 0.001
    assert min(ahead) > -5.1


@pytest.mark.parametrize("when", [0, 3, 11, 17])
def test_clear_is_silent_within_40_ms_and_drops_the_rest(when: int) -> None:
    exchange = InMemoryServer(RecordingApp())
    line = exchange.join()
    [leg] = exchange.legs
    leg.play(VOICE * 8_000 * 5)
    leg.mark("never")
    exchange.run(1_000 + when, step=1)
    cleared = exchange.now
    thrown = leg.clear()
    assert thrown == pytest.approx(4_000 - when, abs=25)
    exchange.run(40, step=1)
    assert len(line.audio(since=cleared + 1e-6)) == 2
    exchange.run(1_000, step=1)
    assert not any(line.pcm(since=cleared + 1e-6))
    assert leg.queued_ms == 0


def test_audio_after_a_clear_is_sent_at_once_and_complete() -> None:
    exchange = InMemoryServer(RecordingApp())
    line = exchange.join()
    [leg] = exchange.legs
    leg.play(VOICE * 8_000)
    exchange.run(500)
    leg.clear()
    cleared = exchange.now
    leg.play(b"\x55\x66" * 800)
    exchange.run(200)
    assert line.pcm(since=cleared + 1e-6)[:1_600] == b"\x55\x66" * 800


def test_without_legs_there_is_no_timer() -> None:
    exchange = InMemoryServer(Echo())
    assert exchange.idle
    line = exchange.join()
    exchange.run(500, line)
    assert not exchange.idle
    line.hang_up()
    assert exchange.idle
    assert len(exchange.clock) == 0


def test_skipped_time_cannot_be_used_minutes_later() -> None:
    """An echo may use it right after the stall, when the caller's frames arrive in a burst."""
    exchange = InMemoryServer(Echo())
    line = exchange.join()
    exchange.run(1_000, line)
    exchange.stall(2_000)
    exchange.run(60_000, line)
    exchange.run(200)  # makes up for the remaining debt
    before = written_ms(line)
    exchange.run(1_000)
    for _ in range(50):
        line.send(FRAME)
    for n in range(1, 50):
        exchange.run(20)
        assert written_ms(line) - before <= 1_000 + n * 20 + AHEAD_MS + 25


def test_a_burst_right_after_a_stall_is_caught_up_with() -> None:
    exchange = InMemoryServer(Echo())
    line = exchange.join()
    exchange.run(1_000, line)
    exchange.stall(1_000)
    for _ in range(50):
        line.send(FRAME)
    exchange.run(1_500, line)
    [leg] = exchange.legs
    assert leg.playout.dropped == 0
    before = exchange.now
    line.send(audio_frame(8000, VOICE * 160))
    exchange.run(200)
    [when] = [when for when, _, pcm in line.audio(since=before) if pcm == VOICE * 160]
    assert when - before <= 0.15


def test_a_time_rounded_to_just_before_the_grid_makes_progress() -> None:
    """The delay of the timer was too small to move the clock, so the same tick was repeated endlessly."""

    class RoundingClock(Clock):
        """A clock whose seconds, in milliseconds, stay a hair short of every grid point."""

        def seconds(self) -> float:
            return super().seconds() - 1e-12

    time = RoundingClock()
    time.advance(1000.0)
    clock = MediaClock(TimerTicker(time, time.seconds), time.seconds)
    turns: list[float] = []

    class Member:
        due_ms = -inf

        def tick(self, now_ms: float) -> None:
            turns.append(now_ms)
            assert len(turns) < 1000

    member = Member()
    clock.add(member)
    for _ in range(100):
        time.advance(0.005)
    clock.discard(member)
    assert len(turns) == pytest.approx(25, abs=2)


class FailingTicker(TimerTicker):
    """A ticker that raises as long as no descriptor is free, and one that may stop ticking."""

    free = False

    def start(self, on_tick: Callable[[int], None]) -> None:
        if not self.free:
            raise OSError(24, "Too many open files")
        super().start(on_tick)


def test_a_clock_that_could_not_be_started_is_started_by_the_next_one_to_come() -> None:
    time, member = Clock(), Member()
    ticker = FailingTicker(time, time.seconds)
    clock = MediaClock(ticker, time.seconds)
    with pytest.raises(OSError, match="Too many"):
        clock.add(member)
    ticker.free = True
    clock.set_timeout("key", 1, lambda: None)
    for _ in range(20):
        time.advance(0.005)
    assert len(member.turns) >= 4


def test_a_clock_that_does_not_tick_says_for_how_long() -> None:
    fixture, member = ClockFixture(), Member()
    fixture.time.advance(100)
    assert fixture.clock.silent_seconds == 0  # nothing needs it
    fixture.clock.add(member)
    fixture.run(100)
    assert fixture.clock.silent_seconds < 0.02
    for call in fixture.time.getDelayedCalls():
        call.cancel()  # the timer is lost
    fixture.time.advance(3)
    assert 2.9 < fixture.clock.silent_seconds < 3.1
    fixture.clock.discard(member)
    assert fixture.clock.silent_seconds == 0
