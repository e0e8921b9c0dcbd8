"""`Playout`: which frames are sent, when, and how much of the spoken audio has been sent."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.media.playout import AHEAD_MS, DEBT_MS, GAP_MS, LIVE_AHEAD_MS, MAX_PASSED_MS, Playout
from audiosocket.media.playout_queue import MAX_QUEUED_MS, Converter, Frame, MarkReached
from audiosocket.media.resample import StreamConverter
from audiosocket.wire import RATES, frame_bytes

MS = 16  # bytes of one millisecond at 8 kHz


class FakeConverter:
    """A converter that repeats or skips samples and, as a real filter does, holds the last ones back."""

    def __init__(self, source: int, target: int, hold_ms: float = 5) -> None:
        self.source, self.target = source, target
        self.hold = int(source * hold_ms / 1000)
        self.taken: list[bytes] = []
        self.given = 0

    def feed(self, pcm: bytes) -> bytes:
        self.taken += [pcm[n : n + 2] for n in range(0, len(pcm), 2)]
        return self._give(max(0, len(self.taken) - self.hold))

    def flush(self) -> bytes:
        return self._give(len(self.taken))

    def _give(self, samples: int) -> bytes:
        end = samples * self.target // self.source
        out = b"".join(self.taken[n * self.source // self.target] for n in range(self.given, end))
        self.given = max(self.given, end)
        return out


def started(rate: int = 8000) -> Playout:
    playout = Playout(FakeConverter, rate)
    playout.start(0)
    return playout


def numbered(samples: int, first: int = 1) -> bytes:
    """Return samples that differ from each other, none of them zero."""
    return b"".join((1 + (first + n - 1) % 32_000).to_bytes(2, "little") for n in range(samples))


def run(playout: Playout, until: float, since: float = 0, step: float = 20) -> list[Frame | MarkReached]:
    """Return the output of regular ticks, the last one just before ``until``."""
    out: list[Frame | MarkReached] = []
    ticks = int((until - since) / step)
    for n in range(ticks):
        out += playout.tick(since + n * step)
    return out


def spoken(out: list[Frame | MarkReached]) -> bytes:
    return b"".join(item.pcm for item in out if isinstance(item, Frame) and item.source == "spoken")


def frames(out: list[Frame | MarkReached]) -> list[Frame]:
    return [item for item in out if isinstance(item, Frame)]


def names(out: list[Frame | MarkReached]) -> list[str]:
    return [item.name for item in out if isinstance(item, MarkReached)]


class TestSilence:
    def test_is_sent_from_the_start(self) -> None:
        """Asterisk ends a leg that sends nothing for 2 s."""
        assert started().tick(0) == [Frame(8000, bytes(320), "silence")]

    def test_is_one_frame_every_20_ms_at_any_rate(self) -> None:
        for rate in RATES.values():
            out = frames(run(started(rate), 1000))
            assert [len(frame.pcm) for frame in out] == [frame_bytes(rate)] * 50
            assert {frame.source for frame in out} == {"silence"}

    def test_makes_up_for_a_late_tick_by_one_frame_per_tick(self) -> None:
        """A burst of silence would reach the caller as a burst and delay what is played next."""
        playout = started()
        playout.tick(0)
        counts = [len(playout.tick(80 + 20 * n)) for n in range(6)]
        assert counts == [2, 2, 2, 1, 1, 1]

    def test_is_not_sent_when_the_leg_is_ahead(self) -> None:
        playout = started()
        playout.tick(0)
        assert playout.tick(10) == []
        assert len(playout.tick(15)) == 1  # within the slack of a clock with phases of 5 ms


class TestSpokenAudio:
    def test_is_cut_into_frames_in_order(self) -> None:
        playout = started()
        sound = numbered(1000)
        for start in range(0, 2000, 122):
            assert playout.play(sound[start : start + 122], 8000)
        out = run(playout, 400)
        assert spoken(out) == sound.ljust(7 * 320, b"\0")
        assert [frame.source for frame in frames(out)] == ["spoken"] * 7 + ["silence"] * 13
        assert {len(frame.pcm) for frame in frames(out)} == {320}

    def test_of_odd_length_loses_the_last_byte(self) -> None:
        playout = started()
        assert playout.play(numbered(160) + b"x", 8000)
        assert playout.play(b"y", 8000)
        assert playout.play(numbered(160, 161), 8000)
        assert spoken(run(playout, 100)) == numbered(320)

    def test_of_no_bytes_is_not_queued(self) -> None:
        playout = started()
        assert playout.play(b"", 8000)
        assert not playout.speaking

    def test_that_is_queued_is_bounded(self) -> None:
        playout = started()
        minute = bytes(60_000 * MS)
        for _ in range(15):
            assert playout.play(minute, 8000)
        assert playout.queued_ms == MAX_QUEUED_MS
        assert not playout.play(numbered(160), 8000)
        assert playout.queued_ms == MAX_QUEUED_MS
        run(playout, 100)
        assert playout.play(numbered(160), 8000)

    def test_at_a_rate_that_cannot_be_converted_is_rejected_at_once(self) -> None:
        """Raised in a tick, it would end the audio of the leg instead of the app's call."""

        def refuse(source: int, target: int) -> FakeConverter:
            raise ValueError(f"{source} to {target}")

        playout = Playout(refuse, 8000)
        with pytest.raises(ValueError, match="22051 to 8000"):
            playout.play(numbered(160), 22_051)
        assert not playout.speaking

    def test_is_counted_while_queued_and_when_sent(self) -> None:
        playout = started()
        playout.play(bytes(1000 * MS), 8000)
        run(playout, 200)
        assert (playout.queued_ms, playout.heard_ms) == (800, 200)
        run(playout, 2000, since=200)
        assert (playout.queued_ms, playout.heard_ms) == (0, 1000)

    def test_in_many_short_pieces_is_counted_to_the_millisecond(self) -> None:
        """An agent truncates the text of its model by this number; a millisecond lost per piece adds up."""
        playout = started()
        for n in range(100):
            playout.play(numbered(44), 8000)  # 5.5 ms
            playout.tick(20 * n)
        assert playout.heard_ms == 550

    def test_after_a_late_tick_makes_up_for_100_ms_at_most(self) -> None:
        playout = started()
        playout.tick(0)
        playout.play(numbered(8000), 8000)
        assert len(playout.tick(1000)) == (DEBT_MS + 20) // 20
        assert playout.skipped_ms == 1000 - 20 - DEBT_MS
        assert len(playout.tick(1020)) == 1

    def test_that_ends_without_a_mark_is_an_underrun(self) -> None:
        playout = started()
        playout.play(numbered(320), 8000)
        run(playout, 200)
        playout.play(numbered(100), 8000)
        run(playout, 400, since=200)
        assert playout.underruns == 2

    def test_that_ends_with_a_mark_is_no_underrun(self) -> None:
        playout = started()
        for n in range(3):
            playout.play(numbered(300), 8000)
            if n < 2:
                playout.mark("end")
            run(playout, 200 * n + 40, since=200 * n)
            if n == 2:
                playout.mark("said too late to be seen with the last frame")
            run(playout, 200 * n + 200, since=200 * n + 40)
        assert playout.underruns == 0


class TestMarks:
    def test_are_reached_with_the_last_sample_before_them(self) -> None:
        playout = started()
        playout.play(numbered(480), 8000)
        playout.mark("a")
        playout.play(numbered(10, 481), 8000)
        playout.mark("b")
        playout.mark("c")
        out = run(playout, 120)
        assert [item if isinstance(item, MarkReached) else item.source for item in out] == [
            *("spoken", "spoken", "spoken"),
            MarkReached("a", 60),
            "spoken",
            MarkReached("b", 61),
            MarkReached("c", 61),
            *("silence", "silence"),
        ]

    def test_with_nothing_before_them_are_reached_at_the_next_tick(self) -> None:
        playout = started()
        playout.mark("nothing")
        assert playout.tick(0) == [MarkReached("nothing", 0), Frame(8000, bytes(320), "silence")]

    def test_with_nothing_before_them_do_not_affect_an_echo(self) -> None:
        """A leg that echoes is always a little ahead: no other frame is due."""
        playout = started()
        out: list[Frame | MarkReached] = playout.tick(0)
        passed = 0
        for n in range(20):
            passed += playout.pass_on(20 * n + 1, numbered(160), 8000)
            if n == 10:
                playout.mark("aside")
            out += playout.tick(20 * n + 20)
        assert (passed, playout.dropped) == (20, 0)
        assert names(out) == ["aside"]

    def test_wait_for_what_a_converter_held_back(self) -> None:
        """Hanging up at a mark must not cut off the end of a converted sound."""
        for samples in range(300, 1000, 20):
            playout = started()
            playout.play(numbered(samples), 16_000)
            playout.mark("end")
            out = run(playout, 200)
            (at,) = [n for n, item in enumerate(out) if isinstance(item, MarkReached)]
            sound = numbered(samples)
            wanted = b"".join(sound[n : n + 2] for n in range(0, len(sound), 4))
            assert spoken(out[:at]).rstrip(b"\0") == wanted.rstrip(b"\0")
            assert spoken(out[at:]) == b""

    def test_do_not_restart_a_conversion(self) -> None:
        """A sound in pieces with a mark behind each is converted as one."""
        made: list[FakeConverter] = []

        def make(source: int, target: int) -> FakeConverter:
            made.append(FakeConverter(source, target))
            return made[-1]

        playout = Playout(make, 8000)
        playout.start(0)
        for n in range(10):
            playout.play(numbered(2400, 1 + 2400 * n), 24_000)
            playout.mark(str(n))
        out = run(playout, 1200)
        assert len([converter for converter in made if converter.taken]) == 1
        assert names(out) == [str(n) for n in range(10)]
        assert [item.heard_ms for item in out if isinstance(item, MarkReached)] == [100 * n for n in range(1, 11)]

    def test_are_reached_on_time_when_the_rate_changes_before_them(self) -> None:
        playout = started()
        playout.play(numbered(8000), 8000)
        playout.mark("middle")
        playout.play(numbered(8000), 8000)
        playout.mark("end")
        out = run(playout, 30)
        playout.set_rate(16_000)
        out += run(playout, 2100, since=30)
        assert [item for item in out if isinstance(item, MarkReached)] == [
            MarkReached("middle", 1000),
            MarkReached("end", 2000),
        ]


class TestRates:
    @pytest.mark.parametrize("make", [FakeConverter, StreamConverter])
    def test_sound_of_any_rate_keeps_its_duration(self, make: Callable[[int, int], Converter]) -> None:
        """A mark behind each tenth of a second is reached with its last sample."""
        for source, target in itertools.product(RATES.values(), (8000, 44_100, 48_000)):
            playout = Playout(make, target)
            playout.start(0)
            for n in range(3):
                playout.play(numbered(source // 10), source)
                playout.mark(str(n))
            out = run(playout, 400)
            marks = [(item.name, item.heard_ms) for item in out if isinstance(item, MarkReached)]
            assert marks == [("0", 100), ("1", 200), ("2", 300)], (source, target)
            assert {len(frame.pcm) for frame in frames(out)} == {frame_bytes(target)}

    def test_a_change_of_the_legs_rate_loses_no_queued_audio(self) -> None:
        """Neither staged audio nor what the converters held back."""
        playout = started()
        playout.play(numbered(24_000), 24_000)
        out: list[Frame | MarkReached] = []
        for n, rate in enumerate((8000, 16_000, 8000, 48_000, 12_000)):
            playout.set_rate(rate)
            out += run(playout, 100 * n + 100, since=100 * n)
        out += run(playout, 1200, since=500)
        assert playout.heard_ms == 1000
        assert [frame.rate for frame in frames(out)[::5][:5]] == [8000, 16_000, 8000, 48_000, 12_000]
        assert b"\0\0" not in [spoken(out)[n : n + 2] for n in range(0, len(spoken(out)), 2)]

    def test_a_change_with_an_empty_queue_changes_the_silence(self) -> None:
        playout = started()
        playout.tick(0)
        playout.set_rate(48_000)
        assert playout.tick(20) == [Frame(48_000, bytes(1920), "silence")]

    def test_the_same_rate_again_changes_nothing(self) -> None:
        def never(source: int, target: int) -> FakeConverter:
            raise AssertionError(f"a converter from {source} to {target}")

        playout = Playout(never, 8000)
        playout.start(0)
        playout.play(numbered(400), 8000)
        out = playout.tick(0)
        playout.set_rate(8000)
        out += run(playout, 100, since=20)
        assert spoken(out).rstrip(b"\0") == numbered(400).rstrip(b"\0")

    def test_pieces_of_several_rates_follow_each_other_complete(self) -> None:
        playout = started()
        for rate in (16_000, 8000, 24_000, 16_000):
            playout.play(numbered(rate // 10), rate)
        playout.mark("end")
        assert [item for item in run(playout, 600) if isinstance(item, MarkReached)] == [MarkReached("end", 400)]


class TestClear:
    def test_sends_silence_from_the_next_frame_on(self) -> None:
        playout = started()
        playout.play(numbered(80_000), 8000)
        playout.mark("never")
        run(playout, 200)
        assert playout.clear() == 9800
        out = run(playout, 12_000, since=200)
        assert (spoken(out), names(out)) == (b"", [])
        assert (playout.queued_ms, playout.heard_ms, playout.underruns) == (0, 200, 0)

    def test_drops_what_a_converter_held_back(self) -> None:
        playout = started()
        playout.play(numbered(16_000), 16_000)
        out = playout.tick(0)
        playout.clear()
        assert not playout.speaking
        playout.play(numbered(160), 8000)
        out = run(playout, 100, since=20)
        assert spoken(out) == numbered(160)

    def test_drops_waiting_passed_frames(self) -> None:
        playout = started()
        for _ in range(20):
            playout.pass_on(0, numbered(160), 8000)
        playout.clear()
        assert [frame.source for frame in frames(run(playout, 300))] == ["silence"] * 10

    def test_of_an_empty_queue_returns_zero(self) -> None:
        assert started().clear() == 0


class TestPassing:
    def test_a_frame_is_sent_at_once_and_unchanged(self) -> None:
        playout = started()
        playout.tick(0)
        assert playout.pass_on(1, b"odd", 16_000)

    def test_frames_beyond_100_ms_ahead_wait(self) -> None:
        playout = started()
        sent = [playout.pass_on(0, numbered(160, n), 8000) for n in range(10)]
        assert sent == [True] * (AHEAD_MS // 20) + [False] * 5
        out = frames(run(playout, 300))
        assert [frame.pcm for frame in out[:5]] == [numbered(160, n) for n in range(5, 10)]
        assert {frame.source for frame in out[5:]} == {"silence"}

    def test_a_frame_does_not_overtake_waiting_ones(self) -> None:
        playout = started()
        for n in range(6):
            playout.pass_on(0, numbered(160, n), 8000)
        assert not playout.pass_on(99, numbered(160, 6), 8000)
        out = frames(playout.tick(100) + playout.tick(120))
        assert [frame.pcm for frame in out] == [numbered(160, 5), numbered(160, 6)]

    def test_the_oldest_waiting_frames_are_dropped_for_newer_ones(self) -> None:
        playout = started()
        for n in range(200):
            playout.pass_on(0, numbered(160, n), 8000)
        kept = MAX_PASSED_MS // 20
        assert playout.dropped == 200 - AHEAD_MS // 20 - kept
        playout.tick(0)
        out = frames(run(playout, 100 + MAX_PASSED_MS, since=100))
        assert [frame.pcm for frame in out] == [numbered(160, n) for n in range(200 - kept, 200)]

    def test_the_limit_of_waiting_frames_can_be_lowered(self) -> None:
        playout = started()
        for n in range(50):
            playout.pass_on(0, numbered(160, n), 8000, at_most_ms=200)
        assert playout.dropped == 50 - AHEAD_MS // 20 - 10
        playout.tick(0)
        out = frames(run(playout, 300, since=100))
        assert [frame.pcm for frame in out if frame.source == "passed"] == [
            numbered(160, n) for n in range(40, 50)
        ]

    def test_a_frame_longer_than_the_limit_is_not_dropped(self) -> None:
        playout = started()
        assert not playout.pass_on(0, numbered(8000), 8000, at_most_ms=200)
        assert next(frame.pcm for frame in frames(run(playout, 100))) == numbered(8000)
        assert playout.dropped == 0

    def test_at_most_two_seconds_wait(self) -> None:
        playout = started()
        for n in range(200):
            playout.pass_on(0, numbered(160, n), 8000, at_most_ms=60_000)
        assert playout.dropped == 200 - (AHEAD_MS + MAX_PASSED_MS) // 20

    def test_a_frame_is_dropped_while_the_leg_speaks(self) -> None:
        playout = started()
        playout.play(numbered(480), 8000)
        assert not playout.pass_on(0, b"..", 8000)
        out = run(playout, 60)
        assert playout.dropped == 1
        assert playout.pass_on(60, b"..", 8000)
        assert b".." not in spoken(out)

    def test_a_frame_is_not_sent_between_a_sound_and_its_end(self) -> None:
        """The last frame is complete, and 5 ms are still in the converter."""
        playout = started()
        playout.play(numbered(16 * 25), 16_000)
        out = playout.tick(0)
        assert not playout.pass_on(1, b"..", 8000)
        out += playout.tick(20)
        assert playout.heard_ms == 25
        assert playout.pass_on(21, b"..", 8000)

    def test_frames_passed_after_a_late_tick_reduce_the_debt(self) -> None:
        playout = started()
        playout.tick(0)
        assert playout.pass_on(2000, numbered(160), 8000)
        assert playout.skipped_ms == 2000 - 20 - DEBT_MS
        assert playout.tick(2000) == []  # what came during the stall is about to be read
        assert len(playout.tick(2020)) == 2

    def test_ticks_on_time_are_not_late_though_the_caller_runs_behind(self) -> None:
        playout = started()
        for n in range(100):
            now = 20 * n + 60  # what is passed is that far behind real time
            assert playout.pass_on(now, numbered(160, n), 8000)
            for tick in range(4):
                playout.tick(now + 5 * tick)
        assert playout.late == 0

    def test_silence_waits_for_a_slightly_late_frame(self) -> None:
        """Sending both would delay everything after it by 20 ms, each time."""
        playout, passed, filled = started(), 0, 0
        for n in range(500):
            late = 55 if n % 10 == 3 else 0
            now = 20 * n + 1
            if late:
                filled += len(frames(playout.tick(now))) + len(frames(playout.tick(now + 20)))
            passed += playout.pass_on(now + late, numbered(160, n), 8000)
            filled += len(frames(playout.tick(now + late + 4)))
        assert (passed, playout.dropped) == (500, 0)
        assert filled <= 1

    def test_silence_begins_80_ms_after_the_last_passed_frame_and_fills_the_gap(self) -> None:
        playout = started()
        for n in range(50):
            assert playout.pass_on(20 * n, numbered(160, n), 8000)
            playout.tick(20 * n + 5)
        out = [(now, frames(playout.tick(now))) for now in range(1_000, 2_000, 20)]
        first = next(now for now, sent in out if sent)
        assert GAP_MS <= first - 980 <= GAP_MS + 20
        sent = sum(len(frames) for _, frames in out)
        assert sent == pytest.approx(50, abs=2)

    def test_waiting_frames_are_sent_as_soon_as_the_limit_allows(self) -> None:
        playout = started()
        for n in range(7):
            playout.pass_on(0, numbered(160, n), 8000)
        assert [frame.pcm for frame in frames(playout.tick(20))] == [numbered(160, 5)]
        assert [frame.pcm for frame in frames(playout.tick(40))] == [numbered(160, 6)]

    def test_a_late_tick_does_not_delay_an_echo_permanently(self) -> None:
        """A second of frames at once, after a second without a tick: all are sent within another second."""
        playout = started()
        playout.tick(0)
        out = [
            Frame(8000, pcm, "passed") for n in range(50) if playout.pass_on(1000, pcm := numbered(160, n), 8000)
        ]
        assert len(out) <= (DEBT_MS + AHEAD_MS) // 20
        for tick in range(50):
            now = 1000 + tick * 20
            sent = [frame for frame in frames(playout.tick(now)) if frame.source == "passed"]
            assert len(sent) <= 2
            out += sent
            pcm = numbered(160, 50 + tick)
            out += [Frame(8000, pcm, "passed")] if playout.pass_on(now, pcm, 8000) else []
        assert [frame.pcm for frame in out] == [numbered(160, n) for n in range(len(out))]
        assert len(out) >= 95


class TestStart:
    def test_again_has_no_debt_for_the_time_between(self) -> None:
        """A leg that resumes on a new connection continues where it was."""
        playout = started()
        playout.play(numbered(16_000), 8000)
        out = run(playout, 100)
        playout.start(5000)
        out += run(playout, 7000, since=5000)
        assert spoken(out) == numbered(16_000)
        assert playout.skipped_ms == 0


SIZES = st.integers(1, 900)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("play"), SIZES),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("tick"), st.integers(0, 90)),
        st.tuples(st.just("pass"), st.sampled_from((80, 160, 320, 480))),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_spoken_audio_is_sent_once_in_order_with_its_marks(steps: list[tuple[str, int]]) -> None:
    playout = started()
    now, said, expected = 0.0, b"", []
    out: list[Frame | MarkReached] = []
    for n, (what, size) in enumerate(steps):
        if what == "play":
            playout.play(numbered(size, 1 + len(said) // 2), 8000)
            said += numbered(size, 1 + len(said) // 2)
        elif what == "mark":
            playout.mark(str(n))
            expected.append((str(n), len(said)))
        elif what == "pass":
            playout.pass_on(now, b"\1\1" * size, 8000)
        else:
            now += size
            out += playout.tick(now)
    for _ in range(2 + playout.queued_ms // 20 + MAX_PASSED_MS // 20):
        now += 20
        out += playout.tick(now)
    heard, marks = b"", []
    for item in out:
        if isinstance(item, MarkReached):
            marks.append((item.name, len(heard)))
        elif item.source == "spoken":
            heard += item.pcm.rstrip(b"\0") + b"\0" * (len(item.pcm.rstrip(b"\0")) % 2)
    assert heard == said
    assert [name for name, _ in marks] == [name for name, _ in expected]
    for (_, at), (_, due) in zip(marks, expected, strict=True):
        assert at >= due
    assert playout.heard_ms == round(len(said) / MS)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("play"), SIZES),
            st.tuples(st.just("tick"), st.integers(0, 400)),
            st.tuples(st.just("pass"), st.sampled_from((80, 160, 320, 480))),
            st.tuples(st.just("clear"), st.just(0)),
            st.tuples(st.just("rate"), st.sampled_from((8000, 16_000, 24_000, 48_000))),
            st.tuples(st.just("mark"), st.just(0)),
        ),
        max_size=80,
    ),
    st.sampled_from((8000, 24_000)),
)
@settings(max_examples=80, deadline=None)
def test_a_leg_keeps_time_for_any_sequence_of_steps(steps: list[tuple[str, int]], source: int) -> None:
    """It is at most 100 ms ahead, no further behind than is made up for, and every frame is complete."""
    playout = started()
    now = sent = 0.0

    def send(items: list[Frame | MarkReached]) -> None:
        nonlocal sent
        for frame in frames(items):
            assert frame.source == "passed" or len(frame.pcm) == frame_bytes(playout.rate)
            sent += len(frame.pcm) / 2 / frame.rate * 1000

    for what, size in steps:
        if what == "play":
            playout.play(numbered(size), source)
        elif what == "clear":
            playout.clear()
            assert (playout.queued_ms, playout.speaking) == (0, False)
        elif what == "rate":
            playout.set_rate(size)
        elif what == "mark":
            playout.mark("x")
        elif what == "pass":
            pcm = bytes(2 * size)
            send([Frame(8000, pcm, "passed")] if playout.pass_on(now, pcm, 8000) else [])
        else:
            now += size
            send(playout.tick(now))
            assert sent + playout.skipped_ms >= now - DEBT_MS - 20
        assert sent + playout.skipped_ms <= now + AHEAD_MS + 0.001
        assert playout.queued_ms >= 0
    for _ in range(playout.queued_ms // 20 + MAX_PASSED_MS // 20 + 2):
        now += 20
        send(playout.tick(now))
    assert (playout.queued_ms, playout.speaking) == (0, False)


# live audio: whole frames leave at once


def test_live_audio_leaves_at_once_and_only_a_little_ahead() -> None:
    playout = started()
    playout.play(numbered(8 * 200), 8000)
    taken = playout.take_live(0)
    assert [frame.source for frame in taken] == ["spoken"] * (LIVE_AHEAD_MS // 20)
    assert playout.take_live(0) == []
    assert playout.ahead_ms(0) == LIVE_AHEAD_MS // 20 * 20
    assert playout.queued_ms == 200 - LIVE_AHEAD_MS // 20 * 20


def test_nothing_live_is_taken_before_anything_was_played() -> None:
    assert started().take_live(0) == []


def test_live_audio_waits_behind_frames_that_were_passed_on() -> None:
    playout = started()
    while playout.pass_on(0, numbered(160), 8000):
        pass
    playout.play(numbered(160), 8000)
    assert playout.take_live(0) == []


def test_paused_audio_is_not_taken() -> None:
    playout = started()
    playout.play(numbered(8 * 100), 8000)
    playout.pause(True)
    assert playout.take_live(0) == []
    assert playout.queued_ms == 100


def test_live_audio_after_a_long_stall_owes_no_more_than_the_debt() -> None:
    playout = started()
    playout.play(numbered(8 * 2_000), 8000)
    taken = playout.take_live(1_000)
    assert len(taken) * 20 <= DEBT_MS + LIVE_AHEAD_MS
    assert playout.skipped_ms > 0


def live_stream(
    late_ms: Callable[[int], float], count: int, first: float, piece_ms: int = 20
) -> tuple[list[float], list[str]]:
    """Return how many milliseconds each frame of a bot waited, and the sources of all frames since its first one.

    Every ``piece_ms`` the bot sends as much audio, each piece ``late_ms`` of its number after its time.
    """
    playout = started()
    arrivals = sorted((first + n * piece_ms + late_ms(n), n) for n in range(count))
    events = [(when, "piece") for when, _ in arrivals] + [
        (5.0 * n, "tick") for n in range(count * piece_ms // 5 + 100)
    ]
    arrived: list[float] = []
    waited: list[float] = []
    sources: list[str] = []
    for now, what in sorted(events):
        if what == "piece":
            playout.play(numbered(8 * piece_ms), 8000)
            arrived += [now + 20 * n for n in range(piece_ms // 20)]  # when it would be heard without a wait
            out = playout.take_live(now)
        else:
            out = frames(playout.tick(now)) if now % 20 == 0 and playout.due_ms <= now + 5 else []
        for frame in out:
            if frame.source == "spoken":
                waited.append(now - arrived[len(waited)])
            if arrived:
                sources.append(frame.source)
    return waited, sources


@pytest.mark.parametrize("first", [100.0 + phase for phase in range(0, 20, 3)])
def test_a_late_frame_of_live_audio_does_not_delay_the_later_ones(first: float) -> None:
    """A bot that sends at the pace of speech, each tenth frame 70 ms late and the others up to 20."""
    waited, sources = live_stream(lambda n: 70 if n % 10 == 9 else n * 7 % 20, 500, first)
    assert len(waited) == 500
    assert max(waited) <= 20
    assert "silence" not in sources[: sources.index("spoken") + 500]


@pytest.mark.parametrize("first", [100.0, 104.9, 105.0, 111.0, 119.9])
def test_frames_of_live_audio_do_not_wait_for_their_tick(first: float) -> None:
    waited, _ = live_stream(lambda n: 0, 100, first)
    assert max(waited) == 0


@pytest.mark.parametrize("piece_ms", [40, 60, 200])
def test_larger_pieces_of_live_audio_that_are_late_do_not_delay_the_later_ones(piece_ms: int) -> None:
    waited, sources = live_stream(lambda n: 50 if n % 4 == 3 else 0, 50, 107.0, piece_ms)
    assert len(waited) == 50 * piece_ms // 20
    assert "silence" not in sources[: len(waited)]
    assert max(waited) <= 50
    assert min(waited[-piece_ms // 20 :]) == 0


def test_silence_follows_when_live_audio_stays_away_and_counts_as_one_underrun() -> None:
    playout = started()
    playout.play(numbered(160), 8000)
    playout.take_live(0)
    out = frames(run(playout, 1_000))
    assert [frame.source for frame in out] == ["silence"] * len(out)
    assert 48 <= len(out) <= 50
    assert playout.underruns == 1


def test_silence_does_not_wait_after_a_clear_or_while_paused() -> None:
    for stop in (lambda playout: playout.clear(), lambda playout: playout.pause(True)):
        playout = started()
        playout.play(numbered(320), 8000)
        playout.take_live(0)
        stop(playout)
        assert [frame.source for frame in frames(playout.tick(40))] == ["silence"]
