"""JSON from a bot that is not what it should be."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audiosocket.bots.json_text import decode_base64, decode_plain_base64, inner, read_object, text_of


@pytest.mark.parametrize("message", [b"{}", "", "{", "[]", "1", "[" * 100_000])
def test_what_is_no_object_in_a_text_is_none(message: bytes | str) -> None:
    assert read_object(message) is None


@pytest.mark.parametrize("text", [None, 1, {}, "a", "not base64"])
def test_what_is_no_base64_is_none(text: Any) -> None:
    assert decode_base64(text) is None


def test_base64_is_decoded() -> None:
    assert decode_base64("AQI=") == b"\x01\x02"


_PLAIN = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII)


@given(
    st.one_of(
        st.text(alphabet='AQgw+/=="\\\n é', max_size=24),
        st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()),
    )
)
@example("A===")
@example("AA=A")
@example("=AAA")
@example('AQ="')
@example("AA==AAA=")
@example("AA==AA==")
@example("AAA=AAAA")
def test_plain_base64_is_decoded_and_no_other_text(text: str) -> None:
    expected = base64.b64decode(text) if _PLAIN.fullmatch(text) else None
    assert decode_plain_base64(text) == expected


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (7, "7"), (True, ""), (None, ""), ([], ""), (1.5, "")])
def test_texts_and_whole_numbers_are_text(value: Any, text: str) -> None:
    assert text_of({"k": value}, "k") == text


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_an_inner_object_that_is_none_is_empty(value: Any) -> None:
    assert inner({"k": value}, "k") == {}
