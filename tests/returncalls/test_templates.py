"""Templates of settings: which places they may have, and that nothing put there leaves its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.returncalls.templates import check_template, filled

ROW = {"number": "101", "ramal": "1000", "retorno": "1001", "condominio": "7"}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("PJSIP/{number}", "PJSIP/101"),
        ("PJSIP/{number}/sip:{number}@10.0.0.1", "PJSIP/101/sip:101@10.0.0.1"),
        ("Local/{number}@cond-{condominio}/n", "Local/101@cond-7/n"),
        ('"Portão {ramal}" <{retorno}>', '"Portão 1000" <1001>'),
    ],
)
def test_places_are_filled(template: str, text: str) -> None:
    check_template(template, "RETURN_CALLER_ID")
    assert filled(template, ROW) == text


@pytest.mark.parametrize(
    "template",
    [
        "PJSIP/{number}@{trunk}",
        "{}",
        "{",
        "}",
        "{{number}}",
        "{Number}",
        "{ number}",
        "${EXTEN}",
        "{number",
        "number}",
    ],
)
def test_an_unknown_place_is_rejected_by_name(template: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        check_template(template, "RETURN_CALLER_ID")
    assert str(refused.value).startswith(f"RETURN_CALLER_ID: {template!r} ")
    assert "{number}, {ramal}, {retorno}, {condominio}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(LocalProtocolError, match=r"the call has no {retorno}, which 'x{retorno}' needs"):
        filled("x{retorno}", {**ROW, "retorno": ""})
    with pytest.raises(LocalProtocolError, match=r"no {ramal}"):
        filled("x{ramal}", {})


@pytest.mark.parametrize(
    "value", ["1/n", "1@evil", "1&PJSIP/2", "1,2", "1 2", "1\r\nX: y", "${X}", "{number}", "-1", "١"]
)
def test_an_impossible_value_is_named(value: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"{ramal} is .* which cannot be used in"):
        filled("Local/{number}@{ramal}/n", {**ROW, "ramal": value})


@given(st.text() | st.text("01aT*#+._-/@&,;|${}()\\\"' \r\n\0", max_size=6))
def test_no_value_changes_the_text_around_it(value: str) -> None:
    try:
        text = filled('"{ramal}" <{condominio}>', {**ROW, "ramal": value})
    except LocalProtocolError:
        return
    assert text == f'"{value}" <7>'
    assert value.isascii()
    assert not set(value) & set("/@&,;|${}()<>\\\"' \r\n\0")
