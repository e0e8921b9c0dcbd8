"""A playout goes on in another process: what it sends from there on is what it would have sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.media.playout import Playout
from audiosocket.media.playout_queue import Converter
from audiosocket.media.playout_state import load, save


class Every:
    """Stands for a converter: takes every other sample, and holds nothing back."""

    def __init__(self, source: int, target: int) -> None:
        if source != 2 * target:
            raise ValueError("not convertible")

    def feed(self, pcm: bytes) -> bytes:
        return b"".join(pcm[at : at + 2] for at in range(0, len(pcm), 4))

    def flush(self) -> bytes:
        return b""


def make(source: int, target: int) -> Converter:
    return Every(source, target)


def speech(first: int, milliseconds: int, rate: int = 8_000) -> bytes:
    """Audio that differs in every sample of a second."""
    return b"".join(((first + at) % 32_000 + 1).to_bytes(2, "little") for at in range(milliseconds * rate // 1000))


def moved(old: Playout, **kept: bool) -> Playout:
    new = Playout(make)
    load(new, save(old), **kept)
    return new


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.integers(1, 300), st.sampled_from([8_000, 16_000])),
        st.tuples(st.just("mark"), st.integers(0, 9), st.none()),
        st.tuples(st.just("pass"), st.integers(1, 4), st.none()),
        st.tuples(st.just("pause"), st.booleans(), st.none()),
        st.tuples(st.just("tick"), st.integers(1, 12), st.none()),
        st.tuples(st.just("clear"), st.none(), st.none()),
    ),
    max_size=12,
)


def act(playout: Playout, now: float, steps: list[tuple[str, Any, Any]]) -> tuple[float, list[Any]]:
    out: list[Any] = []
    for number, (what, value, rate) in enumerate(steps):
        if what == "play":
            playout.play(speech(1_000 * number, value, rate), rate)
        elif what == "mark":
            playout.mark(f"mark-{value}")
        elif what == "pause":
            playout.pause(value)
        elif what == "clear":
            playout.clear()
        elif what == "pass":
            for frame in range(value):
                out.append(playout.pass_on(now, speech(20_000 + frame, 20), 8_000))
        else:
            for _ in range(value):
                now += 20
                out.extend(playout.tick(now))
    return now, out


@settings(max_examples=60, deadline=None)
@given(STEPS, STEPS)
def test_a_moved_playout_sends_what_the_old_one_would_have_sent(
    before: list[tuple[str, Any, Any]], after: list[tuple[str, Any, Any]]
) -> None:
    old = Playout(make)
    old.start(1_000.0)
    now, _ = act(old, 1_000.0, before)
    new = moved(old)
    after = [*after, ("tick", 60, None)]
    assert act(new, now, after) == act(old, now, after)
    assert (new.heard_ms, new.queued_ms, new.underruns) == (old.heard_ms, old.queued_ms, old.underruns)
    assert (new.dropped, new.late, new.skipped_ms) == (old.dropped, old.late, old.skipped_ms)


def test_without_speech_silence_follows_and_the_time_goes_on() -> None:
    old = Playout(make)
    old.start(0.0)
    old.play(speech(0, 500), 8_000)
    old.mark("end")
    for now in range(20, 120, 20):
        old.tick(float(now))
    heard = old.heard_ms
    new = moved(old, speech=False)
    assert (new.queued_ms, new.heard_ms) == (0, heard)
    sent = [item for now in range(120, 400, 20) for item in new.tick(float(now))]
    assert {getattr(item, "source", "mark") for item in sent} == {"silence"}


def test_a_playout_that_never_spoke_has_no_queue() -> None:
    old = Playout(make)
    old.start(0.0)
    assert save(old)["queue"] is None
    assert not moved(old).speaking


@pytest.mark.parametrize("late_ms", [30, 90, 400])
def test_the_time_of_the_hand_over_counts_as_lateness(late_ms: int) -> None:
    old = Playout(make)
    old.start(0.0)
    old.play(speech(0, 2_000), 8_000)
    for now in range(20, 120, 20):
        old.tick(float(now))
    new = moved(old)
    sent = [item for item in new.tick(100.0 + late_ms) if not isinstance(item, str)]
    assert 1 <= len(sent) <= 7, "at most 100 ms are made up for"
