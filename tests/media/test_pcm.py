"""Slin arithmetic and G.711."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.media import pcm as audio

EVERY_SAMPLE = struct.pack("<65536h", *range(-32768, 32768))
EVERY_CODE = bytes(range(256))
Codec = Callable[[bytes], bytes]
LAWS = [
    pytest.param(audio.slin_to_ulaw, audio.ulaw_to_slin, id="u-law"),
    pytest.param(audio.slin_to_alaw, audio.alaw_to_slin, id="A-law"),
]


def values(pcm: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(pcm) // 2}h", pcm))


def test_silence_has_the_right_length() -> None:
    assert audio.silence(8000, 20) == bytes(320)
    assert len(audio.silence(44100, 20)) == 1764


@pytest.mark.parametrize(
    ("size", "rate", "ms"), [(320, 8000, 20.0), (321, 8000, 20.0), (882, 44100, 10.0), (0, 8000, 0)]
)
def test_duration(size: int, rate: int, ms: float) -> None:
    assert audio.duration_ms(bytes(size), rate) == ms


@pytest.mark.parametrize("level", [-3.1, -20.0, -40.0])
def test_a_tone_has_the_given_level(level: float) -> None:
    assert audio.level(audio.tone(8000, 1000, 1000, level)) == pytest.approx(level, abs=0.02)


def test_a_tone_has_the_given_frequency() -> None:
    samples = values(audio.tone(8000, 440, 1000))
    rising = sum(1 for a, b in pairwise(samples) if a < 0 <= b)
    assert rising == pytest.approx(440, abs=1)


def test_a_tone_too_loud_is_clipped() -> None:
    samples = values(audio.tone(8000, 1000, 20, 6))
    assert (max(samples), min(samples)) == (32767, -32768)


def test_level_of_the_extremes() -> None:
    assert audio.level(b"") == audio.SILENT_DBFS
    assert audio.level(b"\x01") == audio.SILENT_DBFS
    assert audio.level(bytes(320)) == audio.SILENT_DBFS
    assert audio.level(struct.pack("<h", -32768) * 160) == 0
    assert audio.level(struct.pack("<h", 1) + bytes(2)) == pytest.approx(-93.3, abs=0.1)
    assert audio.level(struct.pack("<h", 1)) > audio.SILENT_DBFS


@given(st.binary(max_size=2000), st.sampled_from([8000, 11025, 44100]), st.integers(1, 60))
def test_chunks_are_complete_and_equally_long(pcm: bytes, rate: int, ms: int) -> None:
    pieces = list(audio.chunks(pcm, rate, ms))
    size = rate * ms // 1000 * 2
    assert all(len(piece) == size for piece in pieces)
    assert len(pieces) == -(-len(pcm) // size)
    whole = b"".join(pieces)
    assert whole[: len(pcm)] == pcm
    assert not any(whole[len(pcm) :])


def test_chunks_without_a_sample_are_rejected() -> None:
    with pytest.raises(ValueError, match="less than one sample"):
        list(audio.chunks(b"12", 8000, 0))


def test_known_values() -> None:
    """From G.711 tables 1 and 2, scaled to 16 bit."""
    assert values(audio.ulaw_to_slin(b"\xff\x7f\x00\x80\xfe\x7e\x8f\x0f\xef")) == [
        *(0, 0, -32124, 32124, 8, -8, 16764, -16764, 132),
    ]
    assert values(audio.alaw_to_slin(b"\xd5\x55\xaa\x2a\xd4\x54\x85\xc5")) == [
        *(8, -8, 32256, -32256, 24, -24, 4224, 264)
    ]
    assert audio.slin_to_ulaw(struct.pack("<6h", 0, 32767, -32768, 8, -8, 32635)) == b"\xff\x80\x00\xfe\x7e\x80"
    assert audio.slin_to_alaw(struct.pack("<6h", 0, 32767, -32768, -1, 24, 264)) == b"\xd5\xaa\x2a\x55\xd4\xc5"


def test_decision_values() -> None:
    """The first samples of a new interval, G.711 tables 1 and 2: 1, 31 and 95 of 8159, 1 and 32 of 4096."""
    edges = struct.pack("<8h", 3, 4, 123, 124, 379, 380, -3, -4)
    assert audio.slin_to_ulaw(edges) == b"\xff\xfe\xf0\xef\xe0\xdf\x7f\x7e"
    edges = struct.pack("<8h", 15, 16, 511, 512, -1, -16, -17, -513)
    assert audio.slin_to_alaw(edges) == b"\xd5\xd4\xca\xf5\x55\x55\x54\x75"


@pytest.mark.parametrize(("encode", "decode"), LAWS)
def test_every_code_is_the_same_after_decoding_and_encoding(encode: Codec, decode: Codec) -> None:
    pcm = decode(EVERY_CODE)
    assert decode(encode(pcm)) == pcm
    changed = [code for code in EVERY_CODE if encode(pcm)[code] != code]
    assert changed in ([], [0x7F])  # u-law has two zeros


@pytest.mark.parametrize(("encode", "decode"), LAWS)
def test_encoding_is_monotonic_and_stays_in_the_interval(encode: Codec, decode: Codec) -> None:
    once = values(decode(encode(EVERY_SAMPLE)))
    assert once == sorted(once)
    steps = sorted(set(once))
    for sample, coded in zip(range(-32768, 32768), once, strict=True):
        above = min(bisect_right(steps, sample), len(steps) - 1)
        assert coded in steps[max(0, above - 1) : above + 1]


@pytest.mark.parametrize(("encode", "decode"), LAWS)
def test_speech_level_noise_of_the_law_is_38_db_down(encode: Codec, decode: Codec) -> None:
    pcm = audio.tone(8000, 1004, 1000, -15)
    error = [a - b for a, b in zip(values(pcm), values(decode(encode(pcm))), strict=True)]
    assert audio.level(struct.pack(f"<{len(error)}h", *error)) < -15 - 36


def test_half_a_sample_is_not_encoded() -> None:
    assert audio.slin_to_ulaw(b"\0\0\0") == b"\xff"
    assert audio.slin_to_alaw(b"") == b""


def test_converted_samples_round_halves_up() -> None:
    assert audio.converted_samples(160, 8000, 16000) == 320
    assert audio.converted_samples(1, 16000, 8000) == 1
    assert audio.converted_samples(1, 24000, 8000) == 0
    assert audio.converted_samples(2, 24000, 8000) == 1
