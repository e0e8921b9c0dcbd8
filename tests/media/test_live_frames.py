"""A frame of live audio that need not be queued: the same frames at the same times as through the queue."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.media.playout import Playout
from audiosocket.media.playout_queue import Frame, MarkReached
from audiosocket.media.resample import StreamConverter

RATES = (8000, 16_000)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 5, 15, 19, 20, 21, 40, 130, 500]),
        st.one_of(
            st.tuples(st.just("live"), st.sampled_from([1, 19, 20, 20, 20, 40]), st.sampled_from(RATES)),
            st.tuples(st.just("pass"), st.just(20), st.just(8000)),
            st.tuples(
                st.sampled_from(["tick", "mark", "clear", "pause", "resume", "rate"]), st.just(0), st.just(0)
            ),
        ),
    ),
    max_size=60,
)


def act(
    playout: Playout, now: float, what: str, ms: int, rate: int, *, at_once: bool
) -> list[Frame | MarkReached]:
    """Do one step; return what is to be sent or reported."""
    pcm = bytes([ms + 1]) * (rate // 1000 * ms * 2)
    if what == "live":
        if at_once and playout.speak_at_once(now, pcm, rate):
            return [Frame(playout.rate, pcm, "spoken")]
        playout.play(pcm, rate)
        return list(playout.take_live(now))
    if what == "tick":
        return playout.tick(now)
    if what == "pass":
        playout.pass_on(now, pcm, rate)
    elif what == "mark":
        playout.mark("m")
    elif what == "clear":
        playout.clear()
    elif what == "rate":
        playout.set_rate(RATES[playout.rate == RATES[0]])
    else:
        playout.pause(what == "pause")
    return []


def state(playout: Playout) -> tuple[Any, ...]:
    return (
        playout.queued_ms,
        playout.heard_ms,
        playout.due_ms,
        playout.underruns,
        playout.skipped_ms,
        playout.speaking,
        playout.ahead_ms(0),
    )


@given(STEPS)
def test_a_frame_that_is_not_queued_is_sent_and_counted_as_one_that_is(steps: list[Any]) -> None:
    queued, direct = Playout(StreamConverter), Playout(StreamConverter)
    queued.start(0)
    direct.start(0)
    now = 0.0
    for passed_ms, (what, ms, rate) in steps:
        now += passed_ms
        expected = act(queued, now, what, ms, rate, at_once=False)
        assert act(direct, now, what, ms, rate, at_once=True) == expected
        assert state(direct) == state(queued)


def test_the_second_frame_at_the_pace_of_speech_need_not_be_queued() -> None:
    playout = Playout(StreamConverter)
    playout.start(0)
    frame = bytes(320)
    assert not playout.speak_at_once(0, frame, 8000), "the queue is made when something is played"
    playout.play(frame, 8000)
    playout.take_live(0)
    assert playout.speak_at_once(20, frame, 8000)
    assert playout.heard_ms == 40
