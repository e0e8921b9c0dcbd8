"""Two hundred visits that must not let anybody in, over the dialogue alone."""

from __future__ import annotations

import pytest

from audiosocket.apps.porteiro.words import Began, Said
from audiosocket.extensions.model import Role
from tests.support.porteiro_dialogue import Staged
from tests.support.porteiro_variations import Variation, variations

VARIATIONS = list(variations())


class OnDialogue:
    """A `porteiro_variations.Driver` over `Staged`."""

    def __init__(self, concierge: str) -> None:
        self.staged = Staged(concierge)
        self._left: set[Role] = set()

    def join(self, role: Role) -> None:
        staged = self.staged
        staged.ringing = "" if role is Role.RESIDENT else staged.ringing
        if role in staged.hung_up:
            staged.hung_up.remove(role)
        staged.prompt_ends = role is Role.VISITOR  # the resident's greeting is heard by `hear_menu`
        staged.come(role)
        staged.prompt_ends = True

    def leave(self, role: Role, *, broken: bool = False) -> None:
        if role in self.staged.dialogue.present:
            self.staged.leave(role, broken=broken)

    def press(self, role: Role, keys: str) -> None:
        self.staged.press(keys, role)

    def speak(self, role: Role, sound: str) -> None:
        self.staged.pass_time(1)

    def hear_menu(self) -> None:
        say = self.staged.heard[Role.RESIDENT]
        self.staged.send(Began(Role.RESIDENT, say.token))
        self.staged.send(Said(Role.RESIDENT, say.token))

    def ring_out(self) -> None:
        self.staged.ring_out()

    def wait(self, seconds: float) -> None:
        self.staged.pass_time(seconds)

    def answer_gate(self, *, opened: bool) -> None:
        self.staged.gate(opened=opened)

    def kill(self, *back: Role) -> None:
        were = set(self.staged.dialogue.present)
        self.staged.restart()
        for role in back:
            if role in were or role not in self.staged.hung_up:
                self.staged.prompt_ends = role is Role.VISITOR
                self.staged.come_back(role)
                self.staged.prompt_ends = True


def test_there_are_two_hundred_and_each_is_another_one() -> None:
    assert len(VARIATIONS) >= 200
    assert len({variation.name for variation in VARIATIONS}) == len(VARIATIONS)
    assert "authorised" not in {variation.outcome for variation in VARIATIONS}


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda one: one.name)
def test_it_does_not_authorise(variation: Variation) -> None:
    driver = OnDialogue(variation.concierge)
    for step in variation.steps:
        step(driver)
    staged = driver.staged
    if not variation.name.endswith("nobody is back"):
        staged.pass_time(400)
        for _ in range(20):
            for role in list(staged.dialogue.present):
                staged.finish_prompt(role)
            staged.pass_time(60)
    assert (staged.outcome or None) == variation.outcome
    assert set(staged.decided) <= {variation.outcome}
    assert len(staged.opened) == variation.asked
