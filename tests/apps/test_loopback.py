"""The loopback app: frames go back as fast as they come, and nothing else does."""

from __future__ import annotations

from twisted.internet.task import Clock

from audiosocket.apps.loopback import Loopback
from tests.support.fake_leg import FakeLeg, app_context


def test_makes_the_leg_return_its_frames_and_does_nothing_else() -> None:
    clock = Clock()
    leg = FakeLeg(clock, Loopback(app_context(clock)))
    leg.join()
    assert leg.looping
    leg.press("5")
    leg.resume()
    assert leg.looping
    assert leg.outcome is None
    assert leg.notes == []


def test_continues_after_a_restart_of_the_server() -> None:
    clock = Clock()
    leg = FakeLeg(clock, Loopback(app_context(clock)))
    leg.resume_after_restart()
    assert leg.looping
