"""The silence app: the leg stays open and quiet."""

from __future__ import annotations

from twisted.internet.task import Clock

from audiosocket.apps.silence import Silence
from tests.support.fake_leg import FakeLeg, app_context


def test_sends_silence_without_a_gap_whatever_the_caller_does() -> None:
    clock = Clock()
    leg = FakeLeg(clock, Silence(app_context(clock)))
    leg.join()
    leg.run(500, lambda turn: b"\1\1" * 160)
    leg.press("5")
    leg.resume()
    leg.run(500)
    assert set(leg.sources()) == {"silence"}
    assert 50 <= len(leg.sent) <= 52
    assert leg.outcome is None
