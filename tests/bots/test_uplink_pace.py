"""The pace of the caller's audio towards the bot: real time, whatever the caller's frames do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.bots.uplink_pace import AHEAD_MS, GAP_MS, UplinkPace


def run(arrivals: list[int], ms: int) -> tuple[int, int]:
    """How many frames and pieces of silence are sent; ``arrivals`` are times of frames, in turns of 20 ms."""
    pace = UplinkPace()
    pace.start(0)
    frames = silence = 0
    for turn in range(1, ms // 20 + 1):
        frames += sum(pace.take(turn * 20, 20) for _ in range(arrivals.count(turn)))
        silence += pace.fill(turn * 20)
    return frames, silence


def test_frames_in_time_are_all_sent() -> None:
    assert run(list(range(1, 101)), 2000) == (100, 0)


def test_a_caller_who_sends_nothing_is_silent() -> None:
    frames, silence = run([], 2000)
    assert frames == 0
    assert silence == (2000 - GAP_MS) // 20


def test_frames_that_come_in_a_lump_after_a_gap_are_not_sent_besides_the_silence() -> None:
    arrivals = [*range(1, 11), *[35] * 25, *range(36, 101)]
    frames, silence = run(arrivals, 2000)
    assert silence > 15
    assert abs((frames + silence) * 20 - 2000) <= GAP_MS + AHEAD_MS


def test_a_caller_who_speaks_again_after_a_pause_loses_nothing() -> None:
    frames, silence = run(list(range(100, 201)), 4000)
    assert frames == 101
    assert abs((frames + silence) * 20 - 4000) <= GAP_MS


def test_a_clock_that_is_a_little_fast_loses_nothing() -> None:
    pace = UplinkPace()
    pace.start(0)
    assert all(pace.take(number * 19.98, 20) for number in range(1, 20_000))


@given(st.lists(st.integers(1, 100), max_size=150))
def test_the_stream_is_never_far_from_real_time(arrivals: list[int]) -> None:
    frames, silence = run(sorted(arrivals), 2000)
    ahead = max(0, len(arrivals) * 20 - 2000)
    assert (frames + silence) * 20 >= 2000 - GAP_MS - 20
    assert frames * 20 <= 2000 + AHEAD_MS + ahead
