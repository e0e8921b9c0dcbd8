"""How evenly the frames of a peer arrive."""

from __future__ import annotations

import pytest

from audiosocket.calls.protocol.pace import PAUSE_SECONDS, Pace


def paid(at: float, to_come: int) -> Pace:
    pace = Pace()
    pace.measure(at, 0, to_come)
    return pace


@pytest.mark.parametrize(("seconds", "difference"), [(0.32, 0.0), (0.35, 0.03), (0.30, 0.02)])
def test_16_frames_of_20_ms_take_as_long_as_their_audio(seconds: float, difference: float) -> None:
    assert paid(1000.0, 16).measure(1000.0 + seconds, 0, 15) == pytest.approx(difference)


def test_frames_that_were_paid_and_have_not_come_are_not_expected() -> None:
    assert paid(1000.0, 15).measure(1000.2, 5, 15) == pytest.approx(0.0)


def test_the_time_counts_from_the_last_payment() -> None:
    pace = paid(1000.0, 15)
    pace.measure(1000.5, 0, 10)
    assert pace.measure(1000.7, 0, 15) == pytest.approx(0.0)


def test_a_pause_of_the_caller_is_no_jitter() -> None:
    assert paid(1000.0, 0).measure(1000.0 + PAUSE_SECONDS, 0, 15) is None
