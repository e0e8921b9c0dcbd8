"""Encoding by lookup gives the same bytes as the arithmetic in ``media.pcm``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audiosocket.media.g711 import encode_alaw, encode_ulaw
from audiosocket.media.pcm import slin_to_alaw, slin_to_ulaw


@given(st.binary(max_size=700))
def test_the_lookup_agrees_with_the_arithmetic(pcm: bytes) -> None:
    assert encode_ulaw(pcm) == slin_to_ulaw(pcm)
    assert encode_alaw(pcm) == slin_to_alaw(pcm)
