"""Events that come late or in an unusual order in the door-keeper's conversation."""

from __future__ import annotations

import pytest

from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import Found, GateAnswered, SpeechStarted, Stage
from audiosocket.extensions.model import Role
from tests.support.porteiro_dialogue import Staged, visit_to_menu

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT


def test_the_concierge_key_ends_the_recording_of_the_name() -> None:
    staged = Staged("9000")
    staged.come()
    staged.send(SpeechStarted())
    assert staged.recording
    staged.press("0")
    assert not staged.recording
    assert staged.dialogue.visit.concierge


def test_a_number_during_the_greeting_is_already_the_apartment() -> None:
    staged = Staged()
    staged.prompt_ends = False
    staged.come()
    assert staged.dialogue.visit.stage is Stage.NAME
    staged.press("101#")
    assert staged.rung == ["1001"] or staged.dialogue.visit.stage is Stage.CALLING


def test_numbers_that_are_found_after_the_question_is_over_ring_nobody() -> None:
    staged = Staged()
    staged.come()
    staged.send(Found(("1001",)))
    assert staged.rung == []


@pytest.mark.parametrize("gone", [VISITOR, RESIDENT])
def test_who_leaves_before_anything_was_decided_leaves_no_authorisation(gone: Role) -> None:
    staged = visit_to_menu()
    staged.leave(gone)
    staged.pass_time(60)
    assert staged.opened == []
    assert "authorised" not in staged.decided


def test_an_answer_of_the_gate_that_nobody_waits_for_decides_nothing() -> None:
    staged = visit_to_menu()
    staged.send(GateAnswered(True))
    assert "authorised" not in staged.decided


def test_a_visit_that_is_read_back_with_a_wrong_list_is_an_error() -> None:
    state = {**Visit("visit-1").to_json(), "waiting": [1, 2]}
    with pytest.raises(ValueError, match="numbers or the farewell"):
        Visit.from_json(state)


def restarted_in(stage: Stage) -> Staged:
    """A visitor whose visit was kept in ``stage`` before the server was restarted."""
    staged = Staged("9000")
    staged.prompt_ends = stage is not Stage.CALLING
    staged.come()
    if stage is Stage.BLOCK:
        staged.press("#7#")
    elif stage is Stage.CALLING:
        staged.press("0")
    elif stage is Stage.RINGING:
        staged.press("#101#")
    assert staged.dialogue.visit.stage is stage
    staged.restart()
    return staged


def test_the_block_is_asked_again_after_a_restart() -> None:
    staged = restarted_in(Stage.BLOCK)
    staged.come_back(VISITOR)
    assert staged.dialogue.visit.stage is Stage.BLOCK
    assert "ask_block" in staged.said[-1][1]


def test_the_call_to_the_concierge_is_announced_again_after_a_restart() -> None:
    staged = restarted_in(Stage.CALLING)
    staged.come_back(VISITOR)
    assert "calling_concierge" in staged.said[-1][1]


def test_a_resident_who_answered_during_the_restart_gets_the_menu_when_the_visitor_is_back() -> None:
    staged = restarted_in(Stage.RINGING)
    staged.come_back(RESIDENT)
    staged.come_back(VISITOR)
    assert staged.opened == []
    assert staged.decided == []


def test_the_concierge_key_before_the_name_is_recorded_and_while_a_number_is_announced() -> None:
    staged = Staged("9000")
    staged.prompt_ends = False
    staged.come()
    staged.press("0")
    assert staged.dialogue.visit.concierge
    assert staged.dialogue.visit.stage is Stage.CALLING
    staged = Staged("9000")
    staged.come()
    staged.press("#")
    staged.prompt_ends = False
    staged.press("101#")
    if staged.dialogue.visit.stage is Stage.CALLING:
        staged.press("0")
    assert staged.opened == []


def test_a_key_of_a_resident_after_the_gate_has_failed_ends_that_leg() -> None:
    staged = visit_to_menu("9000")
    staged.press("1", RESIDENT)
    staged.prompt_ends = False
    staged.gate(opened=False)
    assert staged.dialogue.visit.stage is Stage.CALLING
    staged.press("5", RESIDENT)
    assert RESIDENT in staged.hung_up
