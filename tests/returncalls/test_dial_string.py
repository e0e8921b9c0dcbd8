"""What may become part of a call, and what would leave its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.returncalls.dial_string import MAX_RING_SECONDS, Route, check_landing, checked_number


@pytest.mark.parametrize(
    "number",
    ["1", "101", "*72101", "#9", "+5511987654321", "101-2", "101.b", "2" * 40, "resident", "morador101", "apto-12",
     "Bloco_B.12", "hi", "a1"],
)  # fmt: skip
def test_numbers_that_can_be_called(number: str) -> None:
    assert checked_number(number) == number
    assert Route("PJSIP/{number}@trunk").dialled(number) == f"PJSIP/{number}@trunk"


@pytest.mark.parametrize(
    "number",
    ["", " 1", "1 ", "1\n", "1\r\nAction: x", "1/n", "1@evil", "1&2", "1,2", "1|2", "${X}", "-1", "_1", "1+1",
     ".x", "(1)", "apto 12", "１", "1\0", "{number}", "1;2", "2" * 41],
)  # fmt: skip
def test_numbers_that_cannot(number: str) -> None:
    with pytest.raises(LocalProtocolError, match="not a number that can be called"):
        Route().dialled(number)


@pytest.mark.parametrize("special", ["h", "i", "s", "t", "o", "e", "T", "a", "x", "Z"])
def test_a_single_letter_is_an_extension_of_asterisks_own(special: str) -> None:
    with pytest.raises(LocalProtocolError, match="not a number that can be called"):
        Route("Local/{number}@from-internal/n").dialled(special)


LIKE_NUMBERS = st.text("0aT*#+._-/@&,;|${}()\\\"' \r\n\0é１", max_size=6)


@given(st.text() | LIKE_NUMBERS)
def test_no_number_changes_the_dial_string_around_it(number: str) -> None:
    try:
        channel = Route("Local/{number}@from-internal/n").dialled(number)
    except LocalProtocolError:
        return
    assert channel == f"Local/{number}@from-internal/n"
    assert not set(number) & set("/@&,;|${}()\\\" '\r\n\0")
    assert number.isascii()
    assert number[0].isalnum() or number[0] in "*#+"
    assert len(number) > 1 or not number.isalpha()


def test_a_setting_can_narrow_the_numbers() -> None:
    route = Route(number=re.compile(r"1[0-9]{2}"))
    assert route.dialled("101") == "PJSIP/101"
    with pytest.raises(LocalProtocolError):
        route.dialled("5511987654321")


@pytest.mark.parametrize(
    "template",
    ["", "PJSIP", "PJSIP/101", "{number}", "PJSIP/{number} x", "PJSIP/{number}\n", "PJSIP/{number}@{trunk}",
     "PJSIP/{number}&PJSIP/1", "/{number}", "PJSIP/{ramal}", "PJSIP/{number}@${TRUNK}"],
)  # fmt: skip
def test_templates_that_cannot_be_used_are_named(template: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Route(template)
    assert str(refused.value).startswith(f"RETURN_CHANNEL: {template!r} ")


@pytest.mark.parametrize("context", ["", "a b", "a,b", "a\n", "{condominium}", "cond {condominio}", "a{"])
def test_a_context_is_a_name(context: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Route(context=context)
    assert str(refused.value).startswith(f"RETURN_CONTEXT: {context!r} ")


ROW = {"ramal": "1000", "retorno": "1001", "condominio": "7"}


def test_a_route_may_depend_on_the_extension_of_the_call() -> None:
    route = Route("Local/{number}@cond-{condominio}/n", "return-{ramal}")
    assert route.dialled("101", ROW) == "Local/101@cond-7/n"
    assert route.return_context("101", ROW) == "return-1000"
    assert Route("PJSIP/{number}/sip:{number}@10.0.0.1").dialled("101") == "PJSIP/101/sip:101@10.0.0.1"


@pytest.mark.parametrize("ramal", ["", "1000@evil", "10,1", "1000/n", "*1000"])
def test_a_row_whose_values_do_not_make_a_context_is_no_route(ramal: str) -> None:
    with pytest.raises(LocalProtocolError):
        Route(context="return-{ramal}").return_context("101", {**ROW, "ramal": ramal})


def test_an_ordinary_request_is_accepted() -> None:
    check_landing("1001", 30, '"Portão 1" <1000>', {"AUDIOSOCKET_CALL_ID": "x", "__GATE": "a, b; ${c}"})
    check_landing("1001", MAX_RING_SECONDS, "", {})


@pytest.mark.parametrize(
    ("landing", "what"),
    [
        (("", 30, "", {}), "return extension"),
        (("1001,1", 30, "", {}), "return extension"),
        (("1001", 0, "", {}), "ring time"),
        (("1001", -1, "", {}), "ring time"),
        (("1001", float("nan"), "", {}), "ring time"),
        (("1001", MAX_RING_SECONDS + 1, "", {}), "ring time"),
        (("1001", 30, "a\r\nb", {}), "the caller id"),
        (("1001", 30, "a" * 901, {}), "the caller id"),
        (("1001", 30, "", {"SHELL(id)": ""}), "not the name of a channel variable"),
        (("1001", 30, "", {"": ""}), "not the name of a channel variable"),
        (("1001", 30, "", {"A": "x\ny"}), "the variable A"),
        (("1001", 30, "", {"A": "x\udc80"}), "the variable A"),
        (("1001", 30, "", {f"A{i}": "" for i in range(65)}), "65 channel variables"),
    ],
)
def test_values_that_must_not_reach_asterisk_are_named(
    landing: tuple[str, float, str, dict[str, str]], what: str
) -> None:
    with pytest.raises(LocalProtocolError, match=what):
        check_landing(*landing)


def test_the_value_of_a_variable_is_not_shown() -> None:
    with pytest.raises(LocalProtocolError) as refused:
        check_landing("1001", 30, "", {"PIN": "1234\n"})
    assert "1234" not in str(refused.value)


@pytest.mark.parametrize("wrong", ["http://door:segredo@pbx", "host=pbx password=segredo"])
def test_what_may_be_a_secret_in_the_wrong_setting_is_not_repeated(wrong: str) -> None:
    for make in (lambda: Route(wrong), lambda: Route(context=wrong), lambda: checked_number(wrong)):
        with pytest.raises((InvalidSetting, LocalProtocolError)) as refused:
            make()
        assert "(not shown)" in str(refused.value)
        assert "segredo" not in str(refused.value)
