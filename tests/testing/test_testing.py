"""What authors of apps are given for their tests, used as they would use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audiosocket.interfaces import App, AppContext, Leg
from audiosocket.testing import leg_for, loopback_call
from tests.support.reactor import reactor

VOICE = b"\x21\x43" * 160


class Parrot(App):
    def audio(self, leg: Leg, pcm: bytes, rate: int) -> None:
        leg.play(pcm, rate)


class Greeter(App):
    def __init__(self, context: AppContext) -> None:
        super().__init__(context)

    @staticmethod
    def parse_parameters(given: dict[str, Any], directory: Path) -> str:
        return str(given["word"])

    async def joined(self, leg: Leg) -> None:
        assert self.context is not None
        leg.note("app.note", word=self.context.parameters)


class Failing(App):
    async def joined(self, leg: Leg) -> None:
        raise ZeroDivisionError


def test_an_app_is_tested_in_three_lines() -> None:
    leg = leg_for(Parrot)
    leg.run(100, lambda turn: VOICE)
    assert leg.sent_pcm().startswith(VOICE * 4)


def test_parameters_are_those_of_the_apps_table() -> None:
    leg = leg_for(Greeter, parameters={"word": "bom dia"})
    assert leg.notes == [("app.note", {"word": "bom dia"})]


def test_a_coroutine_that_fails_ends_the_leg_and_can_be_looked_at() -> None:
    leg = leg_for(Failing)
    assert leg.outcome == "app_failed"
    assert [failure.type for failure in leg.failures] == [ZeroDivisionError]


def test_what_is_no_app_is_refused() -> None:
    factory: Any = lambda context: None  # noqa: E731
    with pytest.raises(TypeError, match="no App"):
        leg_for(factory)


async def test_a_real_call_over_loopback() -> None:
    async with loopback_call(reactor, Parrot) as caller:
        caller.say(VOICE * 10)
        await caller.until_heard(lambda heard: VOICE * 10 in heard)
