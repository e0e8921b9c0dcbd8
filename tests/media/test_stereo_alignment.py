"""`StereoAligner`: both directions of a leg at their true time, whatever the jitter."""

from __future__ import annotations

import random
from array import array
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.media import stereo_alignment
from audiosocket.media.pcm import silence, tone
from audiosocket.media.resample import StreamConverter
from audiosocket.media.stereo_alignment import StereoAligner

FRAME = 160


def ramp(first: int, count: int = FRAME) -> bytes:
    """Return counting samples, none of them zero."""
    return array("h", (n % 32000 + 1 for n in range(first, first + count))).tobytes()


def channels(stereo: bytes) -> tuple[array[int], array[int]]:
    samples = array("h", stereo)
    return samples[0::2], samples[1::2]


def spans(track: array[int]) -> list[tuple[int, int]]:
    """Return start and end of each run of samples that are not zero."""
    found: list[tuple[int, int]] = []
    for position, value in enumerate(track):
        if value and found and found[-1][1] == position:
            found[-1] = (found[-1][0], position + 1)
        elif value:
            found.append((position, position + 1))
    return found


def align(arrivals: list[tuple[float, bytes]], end: float, every: int) -> tuple[array[int], array[int]]:
    """Return both channels after these arrivals, when the recording is taken every ``every`` ms."""
    aligner, stereo, taken = StereoAligner(8000, StreamConverter), b"", 0
    for now, pcm in arrivals:
        while taken + every < now:
            taken += every
            stereo += aligner.take(taken)
        aligner.add_received(now, pcm, 8000)
    return channels(stereo + aligner.take(end, final=True))


def regular(count: int, start: float = 20.0, first: int = 0) -> list[tuple[float, bytes]]:
    return [(start + n * 20, ramp(first + n * FRAME)) for n in range(count)]


#: Intervals at which the recording is taken, in ms; the result must not depend on them.
EVERY = (20, 90, 1000, 1_000_000)


def test_regular_frames_are_at_their_true_time() -> None:
    for every in EVERY:
        left, right = align(regular(100, start=520), 2600, every)
        assert spans(left) == [(4000, 4000 + 100 * FRAME)]
        assert len(left) == len(right) == 2600 * 8
        assert not any(right)


def test_jitter_of_40_ms_for_10_s_changes_no_sample() -> None:
    for every in EVERY:
        for seed in range(4):
            dice, now, arrivals = random.Random(seed), 0.0, []
            for due, pcm in regular(500, start=220):
                now = max(now, due + dice.uniform(-40, 40))
                arrivals.append((now, pcm))
            left, _ = align(arrivals, 10_400, every)
            ((first, end),) = spans(left)
            assert left[first:end].tobytes() == ramp(0, 500 * FRAME)
            assert abs(first - 1600) <= 40 * 8


def test_a_late_last_frame_with_jitter_is_no_pause() -> None:
    for every in EVERY:
        now, arrivals = 0.0, []
        for n, (due, pcm) in enumerate(regular(100, start=220)):
            now = max(now, due + (40 if n % 10 == 9 else -40))
            arrivals.append((now, pcm))
        left, _ = align(arrivals, 3000, every)
        assert spans(left) == [(1600 - 320, 1600 - 320 + 100 * FRAME)]


def test_a_pause_of_a_second_lasts_a_second() -> None:
    for every, jitter in product(EVERY, (0, 8)):
        dice, now, arrivals = random.Random(7), 0.0, []
        for due, pcm in regular(50) + regular(50, start=2020, first=50 * FRAME):
            now = max(now, due + dice.uniform(-jitter, jitter))
            arrivals.append((now, pcm))
        left, _ = align(arrivals, 3100, every)
        (_, end), (start, _) = spans(left)
        assert (start - end) / 8 == pytest.approx(1000, abs=20 if jitter else 0)
        assert array("h", (value for value in left if value)).tobytes() == ramp(0, 100 * FRAME)


def test_a_stall_shorter_than_the_settle_time_changes_nothing() -> None:
    for every in EVERY:
        late = [(1180.0 if 1000 <= now < 1180 else now, pcm) for now, pcm in regular(100)]
        left, _ = align(late, 2100, every)
        assert spans(left) == [(0, 100 * FRAME)]


def test_a_stall_longer_than_the_settle_time_loses_nothing() -> None:
    late = [(1500.0 if 1000 <= now < 1500 else now, pcm) for now, pcm in regular(100)]
    left, _ = align(late, 2100, 20)
    (_, end), (start, _) = spans(left)
    assert end == 980 * 8
    assert start == 1280 * 8  # up to here it had been returned when the burst arrived
    assert array("h", (value for value in left if value)).tobytes() == ramp(0, 100 * FRAME)


def test_a_stall_taken_for_a_pause_only_affects_what_was_already_returned() -> None:
    """One frame arrives 150 ms late and alone; the rest, which shows that there was no pause, later."""
    frames = [pcm for _, pcm in regular(100)]
    aligner = StereoAligner(8000, StreamConverter)
    for n in range(50):
        aligner.add_received(n * 20 + 20, frames[n], 8000)
    aligner.add_received(1170, frames[50], 8000)
    stereo = aligner.take(1210)
    for n in range(51, 61):
        aligner.add_received(1220, frames[n], 8000)
    for n in range(61, 100):
        aligner.add_received(n * 20 + 20, frames[n], 8000)
    left, _ = channels(stereo + aligner.take(2010, final=True))
    assert spans(left) == [(0, 50 * FRAME), (1010 * 8, 2010 * 8)]


def test_gaps_up_to_60_ms_are_jitter() -> None:
    for every, (gap, kept) in product(EVERY, ((50, 0), (61, 61), (100, 100), (2000, 2000))):
        arrivals = regular(50) + regular(50, start=1020 + gap, first=50 * FRAME)
        left, _ = align(arrivals, 5000, every)
        pieces = spans(left)
        assert sum(b[0] - a[1] for a, b in pairwise(pieces)) == kept * 8


def test_a_burst_is_appended() -> None:
    """Half a second at once, as when an app plays a sound."""
    burst = [(100.0, ramp(n * FRAME)) for n in range(25)]
    left, _ = align(burst, 200, 20)
    assert spans(left) == [(0, 25 * FRAME)]
    assert len(left) == 25 * FRAME


def test_both_channels_are_independent_and_equally_long() -> None:
    aligner, stereo = StereoAligner(8000, StreamConverter), b""
    for n in range(1, 101):
        if n <= 50:
            aligner.add_received(n * 20, ramp(0), 8000)
        if n > 40:
            aligner.add_sent(n * 20, ramp(5), 8000)
        stereo += aligner.take(n * 20)
    assert len(stereo) == 1800 * 8 * 4
    left, right = channels(stereo + aligner.take(2040, final=True))
    assert spans(left) == [(0, 8000)]
    assert spans(right) == [(6400, 16000)]
    assert len(left) == len(right) == 2040 * 8


def test_an_empty_call_is_silence() -> None:
    aligner = StereoAligner(8000, StreamConverter, start_ms=5000)
    assert aligner.take(5100) == b""
    assert aligner.take(5300) == bytes(100 * 8 * 4)
    assert aligner.take(5250) == b""
    assert aligner.take(5300, final=True) == bytes(200 * 8 * 4)
    assert StereoAligner(8000, StreamConverter).take(0, final=True) == b""


def test_the_clock_may_start_anywhere() -> None:
    aligner = StereoAligner(8000, StreamConverter, start_ms=123_456.5)
    aligner.add_received(123_556.5, ramp(0), 8000)
    left, _ = channels(aligner.take(123_600, final=True))
    assert spans(left) == [(640, 800)]


@pytest.mark.parametrize("rate", [12_000, 16_000, 44_100, 192_000])
def test_other_rates_are_converted_without_gaps(rate: int) -> None:
    aligner, size = StereoAligner(8000, StreamConverter), rate // 50 * 2
    pcm = tone(rate, 1000, 1000)
    stereo = b""
    for n in range(50):
        aligner.add_received(520 + n * 20, pcm[n * size : n * size + size], rate)
        stereo += aligner.take(520 + n * 20)
    left, right = channels(stereo + aligner.take(2000, final=True))
    assert len(left) == len(right) == 16_000
    assert not any(left[:4000])
    assert not any(left[12_000:])
    expected = array("h", tone(8000, 1000, 1000))
    worst = max(abs(a - b) for a, b in zip(left[4100:11_900], expected[100:7900], strict=True))
    assert worst <= 2


def test_changes_of_rate_and_pauses_do_not_shift_the_time() -> None:
    aligner, rates = StereoAligner(8000, StreamConverter), (8000, 16_000, 8000, 44_100, 16_000)
    for second, rate in enumerate(rates):
        block = array("h", [9000]) * (rate // 50)
        for n in range(25):
            aligner.add_received(second * 1000 + n * 20 + 20, block.tobytes(), rate)
    left, _ = channels(aligner.take(5000, final=True))
    assert len(left) == 40_000
    for second in range(5):
        assert set(left[second * 8000 + 100 : second * 8000 + 3900]) == {9000}
        assert not any(left[second * 8000 + 4000 : second * 8000 + 8000])


def test_a_flood_is_bounded() -> None:
    aligner = StereoAligner(8000, StreamConverter)
    for _ in range(3000):
        aligner.add_received(10, silence(8000, 20), 8000)
    assert aligner.dropped_ms == pytest.approx(60_000 - stereo_alignment.MAX_AHEAD_MS, abs=20)
    assert len(aligner.take(20, final=True)) == pytest.approx(stereo_alignment.MAX_AHEAD_MS * 8 * 4, abs=160 * 4)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 400), st.integers(0, 400), st.sampled_from([8000, 16_000, 24_000]), st.booleans()),
        max_size=40,
    )
)
def test_channels_are_equally_long_and_final_for_any_frames(
    steps: list[tuple[float, int, int, bool]],
) -> None:
    aligner, now, taken, added = StereoAligner(8000, StreamConverter), 0.0, 0, {True: 0.0, False: 0.0}
    for wait, samples, rate, received in steps:
        now += wait
        (aligner.add_received if received else aligner.add_sent)(now, bytes(samples * 2), rate)
        added[received] += samples * 8000 / rate
        piece = aligner.take(now)
        taken += len(piece) // 4
        assert len(piece) % 4 == 0
        assert taken == max(0, round(now * 8) - 1600) or not piece
    taken += len(aligner.take(now, final=True)) // 4
    assert taken >= max(round(now * 8), int(max(added.values())) - len(steps))
    assert aligner.take(now, final=True) == b""
