"""What is handed over comes back as it was, and what is damaged is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.upgrade.codec import UnreadableHandOver, decode, encode
from tests.support.loopback_server import no_deadline

#: No key of ours has control characters.
TEXTS = st.text("abcxyz_ é", max_size=8)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40) | st.binary()
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=8)


@settings(no_deadline, max_examples=40)
@given(VALUES)
def test_a_value_comes_back(value: Any) -> None:
    assert decode(encode(value)) == value


@settings(no_deadline, max_examples=40)
@given(VALUES, st.data())
def test_what_was_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    whole = encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(UnreadableHandOver):
        decode(whole[:cut])


@no_deadline
@given(st.binary(max_size=60))
def test_other_bytes_are_refused(data: bytes) -> None:
    try:
        decode(data)
    except UnreadableHandOver:
        return
    assert data.startswith(b"\0\1"), "only what has the right format can be read"


def test_another_format_is_named() -> None:
    with pytest.raises(UnreadableHandOver, match="format 2, and this version reads 1"):
        decode(b"\0\2" + encode({})[2:])


def test_what_is_no_plain_value_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match="object cannot be handed over"):
        encode({"app": object()})


def test_bytes_are_not_written_as_text() -> None:
    audio = bytes(range(256)) * 100
    assert len(encode({"audio": [audio, audio]})) < 2 * len(audio) + 100
