"""The door-keeper's conversation as a pure state machine."""

from __future__ import annotations

from typing import Any

import pytest

from audiosocket.apps.porteiro.asking import NAME_TRIES
from audiosocket.apps.porteiro.dialogue import MAX_KEYS
from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import NAME, TONE, SpeechEnded, SpeechStarted, Stage
from audiosocket.extensions.model import Role
from tests.support.porteiro_dialogue import Staged, visit_to_menu

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT


def named() -> Staged:
    """A visitor whose name is being recorded."""
    staged = Staged()
    staged.come()
    return staged


class TestName:
    def test_the_visitor_is_greeted_and_asked_for_a_name(self) -> None:
        staged = named()
        assert staged.said == [(VISITOR, ("greeting", "ask_name", TONE))]
        assert staged.recording

    def test_only_who_is_to_be_told_of_the_recording_is_told(self) -> None:
        staged = Staged(notice=frozenset({RESIDENT}))
        staged.come()
        assert staged.said == [(VISITOR, ("greeting", "ask_name", TONE))]
        staged.press("101#")
        staged.answer()
        assert (RESIDENT, ("recording_notice", "resident_greeting", "no_name")) in staged.said
        staged = Staged(notice=frozenset({VISITOR}))
        staged.come()
        assert staged.said == [(VISITOR, ("recording_notice", "greeting", "ask_name", TONE))]

    def test_the_name_ends_with_silence(self) -> None:
        staged = named()
        staged.send(SpeechStarted())
        staged.send(SpeechEnded())
        assert not staged.recording
        assert staged.said[-1] == (VISITOR, ("ask_apartment",))
        assert staged.dialogue.visit.name == "heard"

    def test_the_name_ends_after_ten_seconds(self) -> None:
        staged = named()
        staged.send(SpeechStarted())
        staged.pass_time(9.9)
        assert staged.recording
        staged.pass_time(0.2)
        assert not staged.recording

    def test_the_name_ends_with_the_hash_key(self) -> None:
        staged = named()
        staged.send(SpeechStarted())
        staged.press("#")
        assert (staged.dialogue.visit.stage, staged.dialogue.visit.name) == (Stage.APARTMENT, "heard")

    def test_a_visitor_who_says_nothing_is_asked_once_more(self) -> None:
        staged = named()
        staged.pass_time(5.1)
        assert staged.said[-1] == (VISITOR, ("not_heard", TONE))
        staged.pass_time(5.1)
        assert staged.said[-1] == (VISITOR, ("ask_apartment",))
        assert (staged.dialogue.visit.asked, staged.dialogue.visit.name) == (NAME_TRIES, "")

    def test_a_number_is_the_apartment_already(self) -> None:
        staged = named()
        staged.press("101#")
        assert staged.rung == ["1001"]

    def test_a_key_in_the_greeting_cuts_it(self) -> None:
        staged = Staged()
        staged.prompt_ends = False
        staged.come()
        staged.press("#")
        assert staged.said[-1] == (VISITOR, (TONE,))


class TestApartment:
    def test_an_apartment_is_typed_and_rung(self) -> None:
        staged = named()
        staged.press("#101#")
        assert staged.rung == ["1001"]
        assert staged.said[-1] == (VISITOR, ("calling",))
        assert staged.heard[VISITOR].hold

    def test_the_hash_key_may_be_left_out(self) -> None:
        staged = named()
        staged.press("#101")
        assert staged.rung == []
        staged.pass_time(5.1)
        assert staged.rung == ["1001"]

    def test_a_star_takes_back_what_was_typed(self) -> None:
        staged = named()
        staged.press("#9*101#")
        assert staged.rung == ["1001"]

    def test_an_unknown_apartment_may_be_typed_three_times(self) -> None:
        staged = named()
        staged.press("#9#9#")
        assert staged.said[-1] == (VISITOR, ("unknown_apartment", "ask_apartment"))
        staged.press("9#")
        assert staged.outcome == "unknown_apartment"
        assert staged.said[-1] == (VISITOR, ("failed", "goodbye"))
        assert staged.hung_up == [VISITOR]

    def test_silence_counts_as_a_try(self) -> None:
        staged = named()
        staged.press("#")
        staged.pass_time(8.1)
        assert staged.said[-1] == (VISITOR, ("not_heard", "ask_apartment"))
        staged.pass_time(17)
        assert staged.outcome == "unknown_apartment"

    def test_a_block_is_asked_for_where_several_have_the_apartment(self) -> None:
        staged = named()
        staged.press("#7#")
        assert staged.said[-1] == (VISITOR, ("ask_block",))
        staged.press("9#")
        assert staged.said[-1] == (VISITOR, ("unknown_apartment", "ask_block"))
        staged.press("1#")
        assert staged.rung == ["1071"]

    def test_endless_keys_end(self) -> None:
        staged = named()
        staged.press("#" + "9" * 36)
        assert staged.outcome == "unknown_apartment"


class TestRinging:
    def test_the_next_number_is_rung_after_a_pause_in_which_nobody_may_join(self) -> None:
        staged = named()
        staged.press("#102#")
        staged.ring_out()
        assert staged.said[-1] == (VISITOR, ("next_number",))
        staged.come(RESIDENT)
        assert staged.hung_up == [RESIDENT]
        staged.hung_up.clear()
        staged.pass_time(2.1)
        assert staged.rung == ["1021", "1022"]
        staged.answer()
        assert staged.dialogue.visit.stage is Stage.MENU

    def test_nobody_answers(self) -> None:
        staged = named()
        staged.press("#101#")
        staged.ring_out()
        assert staged.outcome == "no_answer"
        assert staged.said[-1] == (VISITOR, ("no_answer", "goodbye"))

    def test_nobody_could_be_rung(self) -> None:
        staged = named()
        staged.press("#101#")
        staged.ring_out(rang=False)
        assert staged.outcome == "failed"

    def test_then_the_concierge(self) -> None:
        staged = Staged("9")
        staged.come()
        staged.press("#101#")
        staged.ring_out()
        assert staged.said[-1] == (VISITOR, ("calling_concierge",))
        staged.pass_time(2.1)
        staged.answer()
        staged.press("1", RESIDENT)
        (opened,) = staged.opened
        assert (opened.number, opened.concierge) == ("9", True)

    def test_key_0_rings_the_concierge_at_once(self) -> None:
        for typed in ("0", "#0", "#0#", "#101#0"):
            staged = Staged("9")
            staged.come()
            staged.press(typed)
            staged.pass_time(4.1)
            assert staged.rung[-1] == "9", typed
            assert staged.dialogue.visit.stage is Stage.RINGING

    def test_a_zero_before_a_number_is_part_of_it(self) -> None:
        staged = Staged("9")
        staged.come()
        staged.press("#0101#")
        assert staged.rung == []
        assert staged.said[-1][1] == ("unknown_apartment", "ask_apartment")  # the directory drops zeros, not we

    def test_a_backend_that_says_nothing_is_not_waited_for(self) -> None:
        staged = named()
        staged.press("#101#")
        staged.pass_time(46)
        assert staged.outcome == "failed"
        assert staged.ringing == ""

    def test_the_end_of_another_number_changes_nothing(self) -> None:
        staged = named()
        staged.press("#102#")
        staged.ringing = "1022"
        staged.ring_out()
        assert staged.dialogue.visit.number == "1021"


class TestResident:
    def test_hears_who_it_is_and_the_menu(self) -> None:
        staged = named()
        staged.send(SpeechStarted())
        staged.press("#101#")
        staged.answer()
        said = [prompts for role, prompts in staged.said if role is RESIDENT]
        assert said == [("resident_greeting", "visitor_said", NAME), ("resident_menu",)]

    def test_key_1_opens_the_gate_and_its_answer_authorises(self) -> None:
        staged = visit_to_menu()
        staged.press("1", RESIDENT)
        assert staged.decided == []
        assert staged.presumed == "failed"
        staged.gate()
        assert staged.decided == ["authorised"]
        assert (VISITOR, ("authorised",)) in staged.said
        assert (RESIDENT, ("resident_authorised",)) in staged.said
        assert set(staged.hung_up) == {VISITOR, RESIDENT}

    def test_key_2_denies(self) -> None:
        staged = visit_to_menu()
        staged.press("2", RESIDENT)
        assert staged.decided == ["denied"]
        assert (VISITOR, ("denied", "goodbye")) in staged.said
        assert staged.opened == []

    def test_key_3_connects_and_1_still_counts(self) -> None:
        staged = visit_to_menu()
        staged.press("3", RESIDENT)
        assert staged.connected
        staged.press("1", VISITOR)
        assert staged.opened == []
        staged.press("1", RESIDENT)
        assert not staged.connected
        assert len(staged.opened) == 1

    def test_key_4_repeats(self) -> None:
        staged = visit_to_menu()
        staged.press("4", RESIDENT)
        assert staged.said[-1] == (RESIDENT, ("no_name", "resident_menu"))

    def test_another_key_is_none(self) -> None:
        staged = visit_to_menu()
        staged.press("9", RESIDENT)
        assert staged.said[-1] == (RESIDENT, ("invalid_key", "resident_menu"))
        staged.press("5" * MAX_KEYS, RESIDENT)
        assert staged.outcome == "no_choice"

    def test_three_rounds_without_a_key(self) -> None:
        staged = visit_to_menu()
        staged.pass_time(14.9)
        assert staged.decided == []
        staged.pass_time(0.2)
        assert staged.outcome == "no_choice"
        assert (VISITOR, ("no_choice", "goodbye")) in staged.said

    def test_a_hangup_without_a_choice(self) -> None:
        staged = visit_to_menu()
        staged.leave(RESIDENT)
        assert staged.outcome == "no_choice"
        assert (VISITOR, ("resident_left", "goodbye")) in staged.said

    def test_a_key_in_the_greeting_decides_nothing(self) -> None:
        staged = named()
        staged.press("#101#")
        staged.prompt_ends = False
        staged.answer()
        staged.press("111", RESIDENT)
        assert staged.opened == []
        staged.pass_time(0.6)
        staged.press("1", RESIDENT)  # asked for, not heard yet
        assert staged.opened == []
        staged.pass_time(0.6)
        staged.finish_prompt(RESIDENT)
        staged.press("1", RESIDENT)
        assert len(staged.opened) == 1

    def test_a_conversation_has_an_end(self) -> None:
        staged = visit_to_menu()
        for _ in range(3):
            staged.press("3", RESIDENT)
            staged.pass_time(300)
        assert not staged.connected
        staged.press("3", RESIDENT)
        assert not staged.connected
        staged.pass_time(60)
        assert staged.outcome == "no_choice"

    def test_the_visitor_leaves(self) -> None:
        staged = visit_to_menu()
        staged.leave(VISITOR)
        assert staged.decided == []
        assert staged.said[-1] == (RESIDENT, ("visitor_left",))
        assert staged.hung_up == [RESIDENT]

    @pytest.mark.parametrize("role", list(Role))
    def test_a_broken_connection_may_come_back(self, role: Role) -> None:
        staged = visit_to_menu()
        staged.leave(role, broken=True)
        staged.pass_time(4)
        staged.come(role)
        staged.pass_time(2)
        staged.press("1", RESIDENT)
        assert len(staged.opened) == 1

    def test_a_resident_who_does_not_come_back(self) -> None:
        staged = visit_to_menu()
        staged.leave(RESIDENT, broken=True)
        staged.pass_time(5.1)
        assert staged.outcome == "no_choice"


class TestGate:
    def test_a_gate_that_does_not_confirm(self) -> None:
        staged = visit_to_menu()
        staged.press("1", RESIDENT)
        staged.gate(opened=False)
        assert staged.decided == ["failed"]
        assert (VISITOR, ("failed", "goodbye")) in staged.said
        assert (RESIDENT, ("failed",)) in staged.said

    def test_then_the_concierge_may_talk_but_not_authorise(self) -> None:
        staged = visit_to_menu("9")
        staged.press("1", RESIDENT)
        staged.gate(opened=False)
        assert staged.hung_up == [RESIDENT]
        staged.hung_up.clear()
        staged.pass_time(2.1)
        assert staged.rung == ["1001", "9"]
        staged.answer()
        staged.press("3", RESIDENT)
        assert staged.connected
        staged.press("1", RESIDENT)
        assert len(staged.opened) == 1
        assert set(staged.decided) == {"failed"}
        assert set(staged.hung_up) == {VISITOR, RESIDENT}

    def test_a_gate_that_says_nothing(self) -> None:
        staged = visit_to_menu()
        staged.press("1", RESIDENT)
        staged.pass_time(46)
        assert staged.outcome == "failed"
        staged.gate()
        assert set(staged.decided) == {"failed"}

    def test_who_pressed_1_may_hang_up(self) -> None:
        staged = visit_to_menu()
        staged.press("1", RESIDENT)
        staged.leave(RESIDENT)
        staged.gate()
        assert staged.decided == ["authorised"]

    def test_keys_while_the_gate_opens_change_nothing(self) -> None:
        staged = visit_to_menu()
        staged.press("12123", RESIDENT)
        staged.press("2", VISITOR)
        assert len(staged.opened) == 1
        staged.gate()
        assert staged.decided == ["authorised"]


class TestRestart:
    @pytest.mark.parametrize("order", [(VISITOR, RESIDENT), (RESIDENT, VISITOR)])
    def test_in_the_menu(self, order: tuple[Role, Role]) -> None:
        staged = visit_to_menu()
        staged.restart()
        staged.come_back(order[0])
        staged.come_back(order[1])
        assert staged.dialogue.visit.stage is Stage.MENU
        assert staged.opened == []
        staged.press("1", RESIDENT)
        assert len(staged.opened) == 1

    @pytest.mark.parametrize("order", [(VISITOR, RESIDENT), (RESIDENT, VISITOR)])
    def test_a_decision_that_was_made_stays_made(self, order: tuple[Role, Role]) -> None:
        staged = visit_to_menu()
        staged.press("1", RESIDENT)
        staged.restart()
        staged.come_back(order[0])
        staged.come_back(order[1])
        assert staged.opened[0] == staged.opened[1]  # the gate itself knows that it was asked
        staged.gate()
        assert staged.decided == ["authorised"]

    @pytest.mark.parametrize("role", list(Role))
    def test_the_farewell_is_said_again(self, role: Role) -> None:
        staged = visit_to_menu()
        staged.prompt_ends = False
        staged.press("2", RESIDENT)
        staged.restart()
        staged.come_back(role)
        assert staged.said[-1] == (role, ("denied", "goodbye") if role is VISITOR else ("resident_denied",))

    def test_while_a_number_rings(self) -> None:
        staged = named()
        staged.press("#102#")
        staged.restart()
        staged.come_back(VISITOR)
        assert staged.heard[VISITOR].hold
        assert staged.rung == ["1021"]
        staged.pass_time(1.6)
        assert staged.rung == ["1021", "1021"]  # the app leaves one that still rings alone
        staged.answer()
        assert staged.dialogue.visit.stage is Stage.MENU

    def test_who_answers_before_the_visitor_is_back_waits(self) -> None:
        staged = named()
        staged.press("#101#")
        staged.restart()
        staged.come(RESIDENT)
        staged.press("1", RESIDENT)
        assert staged.opened == []
        staged.come_back(VISITOR)
        assert staged.dialogue.visit.stage is Stage.MENU

    def test_the_name_is_lost(self) -> None:
        staged = named()
        staged.send(SpeechStarted())
        staged.press("#101#")
        staged.restart()
        staged.come_back(VISITOR)
        staged.answer()
        assert (RESIDENT, ("resident_greeting",)) in staged.said  # neither a name nor that there was none


@pytest.mark.parametrize(
    "state", [None, {}, [], {"visit": 1}, {**Visit("x").to_json(), "stage": "elsewhere"}, "menu", 7]
)
def test_what_is_no_visit_is_refused(state: Any) -> None:
    with pytest.raises(ValueError):
        Visit.from_json(state)


def test_a_visit_survives_json() -> None:
    staged = visit_to_menu("9")
    staged.press("2", RESIDENT)
    assert Visit.from_json(staged.dialogue.visit.to_json()) == staged.dialogue.visit


class TestResidentWithoutVisitor:
    def test_it_waits_is_told_and_is_hung_up(self) -> None:
        staged = Staged()
        staged.come(RESIDENT)
        assert staged.said == [(RESIDENT, ())]
        staged.pass_time(staged.dialogue.timing.return_of_visitor)
        assert staged.said[-1] == (RESIDENT, ("visitor_left",))
        staged.pass_time(staged.dialogue.timing.prompt)
        assert staged.hung_up == [RESIDENT]
        assert staged.opened == []

    def test_it_is_rejected_when_the_visitor_comes_who_rang_nobody(self) -> None:
        staged = Staged()
        staged.come(RESIDENT)
        staged.come(VISITOR)
        assert "unexpected_resident" in staged.notes
        assert staged.hung_up == [RESIDENT]
        assert staged.recording
