"""The apps of one leg: what is known of a hook that runs, and hooks that never end."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from twisted.internet.defer import Deferred

from audiosocket.calls.leg_apps import LegApps, purpose_of
from audiosocket.interfaces import App, Leg


class Call:
    call_id = "40325ec2-5efd-4bd3-805f-53576e581d13"


class HostLeg:
    """As much of a leg as `LegApps` needs."""

    call, over, caller = Call(), False, None

    def __init__(self) -> None:
        self.failed: list[str] = []

    def app_failed(self, name: str, failure: object = None) -> None:
        self.failed.append(name)


def purposes() -> list[str]:
    """Return what the frames of the caller's stack are for, where that is known."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        found.append(purpose_of(frame))
        frame = frame.f_back
    return [each for each in found if each]


class Blocking(App):
    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def joined(self, leg: Leg) -> None:
        self.seen.append(purposes())

    async def digit(self, leg: Leg, digit: str) -> None:
        self.seen.append(purposes())


def test_a_stack_says_which_app_works_for_which_call() -> None:
    app, leg = Blocking(), HostLeg()
    apps, host = LegApps([("oracle", app)]), _as_host(leg)
    apps.start(host)
    apps.call(host, "oracle", app.digit, host, "1")
    assert app.seen == [[f"the app oracle of call {Call.call_id}"]] * 2
    assert purposes() == []
    assert leg.failed == []


def test_a_coroutine_that_never_returns_ends_with_its_leg() -> None:
    ends: list[str] = []

    class Waiting(App):
        async def joined(self, leg: Leg) -> None:
            try:
                await Deferred()
            finally:
                ends.append("joined")

    leg = HostLeg()
    apps = LegApps([("oracle", Waiting())])
    apps.start(_as_host(leg))
    assert ends == []
    leg.over = True
    apps.cancel()
    assert ends == ["joined"]
    assert leg.failed == []


def _as_host(leg: HostLeg) -> Any:
    return leg
