"""How loud a direction of a leg is, and when there was sound in it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.calls.sound import JOIN_SECONDS, LEVEL_SECONDS, MAX_SPANS, Sound, Spans
from audiosocket.media.pcm import SILENT_DBFS, from_samples, silence, tone


def test_the_level_is_that_of_the_latest_frame() -> None:
    sound = Sound()
    assert sound.level(0.0) is None
    sound.sample(1.0, tone(8000, 440, 20, -20))
    sound.sample(1.1, tone(8000, 400, 20, -30))
    assert sound.level(1.2) == pytest.approx(-30, abs=0.3)


@pytest.mark.parametrize("rate", [8000, 12000, 16000, 44100, 48000, 192000])
def test_the_level_is_the_same_at_every_rate(rate: int) -> None:
    sound = Sound()
    sound.sample(1.0, tone(rate, 400, 20, -20))
    assert sound.level(1.0) == pytest.approx(-20, abs=0.3)


def test_digital_silence_has_the_lowest_level() -> None:
    sound = Sound()
    sound.sample(1.0, silence(8000, 20))
    assert sound.level(1.0) == SILENT_DBFS


def test_an_old_or_forgotten_frame_has_no_level() -> None:
    sound = Sound()
    sound.sample(1.0, tone(8000, 440, 20))
    assert sound.level(1.0 + LEVEL_SECONDS) is not None
    assert sound.level(1.1 + LEVEL_SECONDS) is None
    sound.forget()
    assert sound.level(1.0) is None


def test_of_a_large_frame_only_the_end_is_looked_at() -> None:
    sound = Sound()
    sound.sample(1.0, tone(8000, 400, 400, -10) + tone(8000, 400, 120, -40))
    assert sound.level(1.0) == pytest.approx(-40, abs=0.3)


@pytest.mark.parametrize(
    ("pcm", "level"), [(b"", None), (b"\x00", SILENT_DBFS), (b"\x01", SILENT_DBFS), (b"\x00\x7f\x01", -0.1)]
)
def test_a_frame_with_half_a_sample_harms_nothing(pcm: bytes, level: float | None) -> None:
    sound = Sound()
    sound.sample(1.0, pcm)
    assert sound.level(1.0) == level


def test_sound_with_short_pauses_is_one_span() -> None:
    sound = Sound()
    loud, quiet = tone(8000, 440, 20, -20), tone(8000, 440, 20, -50)
    for tenth in range(60):
        at = tenth / 10
        speaking = 1.0 <= at <= 2.0 or 2.0 + JOIN_SECONDS - 0.15 <= at <= 3.0 or 4.5 <= at <= 5.0
        sound.sample(at, loud if speaking else quiet)
    assert sound.spans.to_json() == [[1.0, 3.0], [4.5, 5.0]]


def test_noise_and_clicks_are_no_sound() -> None:
    sound = Sound()
    sound.sample(1.0, from_samples([*[511] * 80, *[-512] * 80]))
    sound.sample(2.0, from_samples([30_000, *[0] * 159]))
    assert sound.spans.to_json() == []
    sound.sample(3.0, from_samples([*[512] * 80, *[-513] * 80]))
    assert sound.spans.to_json() == [[3.0, 3.0]]


def test_of_too_many_spans_the_closest_become_one() -> None:
    spans = Spans()
    for second in range(MAX_SPANS):
        spans.add(second * 10.0, second * 10.0 + (8 if second == 50 else 1))
    spans.add(MAX_SPANS * 10.0, MAX_SPANS * 10.0)
    kept = spans.to_json()
    assert len(kept) == MAX_SPANS
    assert kept[49:52] == [[490.0, 491.0], [500.0, 511.0], [520.0, 521.0]]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=300))
def test_spans_are_bounded_in_order_and_cover_all_that_was_added(steps: list[tuple[float, float]]) -> None:
    spans, at, added = Spans(), 0.0, []
    for pause, length in steps:
        start, at = at + pause, at + pause + length
        spans.add(start, at)
        added.append((start, at))
    kept = spans.to_json()
    assert len(kept) <= MAX_SPANS
    assert all(end < start for (_, end), (start, _) in pairwise(kept))
    for start, end in added:
        assert any(one <= round(start, 3) and round(end, 3) <= other for one, other in kept)
