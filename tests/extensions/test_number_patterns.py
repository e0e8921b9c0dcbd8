"""Numbers and patterns as in a dialplan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.extensions.number_patterns import is_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("0", ["0"], ["", "00", "10", "O"]),
        ("302", ["302"], ["3020", "302 ", "302\n", "30"]),
        ("1.5", ["1.5"], ["105"]),
        ("_3XX", ["300", "399"], ["3XX", "30", "3000", "_3XX", "3a0", "3\u0661\u0661"]),
        ("_ZN", ["12", "99"], ["02", "11"]),
        ("_zn", ["12"], ["zn"]),
        ("_[13-5*]0", ["10", "30", "40", "50", "*0"], ["20", "-0", "60"]),
        ("_9.", ["91", "9*#", "9ab.c"], ["9", "9 1", "9,1", "9/1", "9@x"]),
        ("_9!", ["9", "91"], ["8"]),
        ("_X+1", ["5+1"], ["51"]),
        ("sala-2", ["sala-2"], ["sala2"]),
    ],
)
def test_what_a_pattern_means(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    assert is_pattern(pattern)
    for number in meant:
        assert matches([pattern], number), number
    for number in not_meant:
        assert not matches([pattern], number), number


@pytest.mark.parametrize(
    "text", ["", "_", "_.1", "_[]", "_[9-1]", "_[1", "a b", "1,2", "*'", "_X X", "(.*)", "1" * 41]
)
def test_what_is_no_pattern_means_nothing(text: str) -> None:
    assert not is_pattern(text)
    assert not matches([text], text)
    assert matches([text, "_X"], "7")


def test_nothing_is_meant_by_an_empty_list() -> None:
    assert not matches([], "0")


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_text_is_a_pattern_or_not(text: str, number: str) -> None:
    if matches([text], number):
        assert is_pattern(text)
        assert not set(number) & set(" ,/@&\n")
