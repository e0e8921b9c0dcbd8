"""Audio between a leg and a bot: rates, encodings, aliasing, delay, whole frames."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.bots.audio_path import Downlink, Uplink, duration_ms
from audiosocket.bots.events import AudioFormat
from audiosocket.media.pcm import chunks, level, slin_to_ulaw, to_samples, tone, ulaw_to_slin
from audiosocket.media.resample import StreamConverter

PCMU = AudioFormat("pcmu", 8000)


def slin(rate: int) -> AudioFormat:
    return AudioFormat("slin", rate)


def down(pcm: bytes, format: AudioFormat, rate: int, ms: int = 20) -> bytes:
    path = Downlink(StreamConverter)
    pieces = [path.feed(piece, format, rate) for piece in chunks(pcm, format.rate, ms)]
    for piece in pieces:
        assert len(piece) % (rate // 50 * 2) == 0, "whole frames only"
    return b"".join(pieces) + path.flush()


def up(pcm: bytes, rate: int, format: AudioFormat) -> bytes:
    path = Uplink(format, StreamConverter)
    return b"".join(path.feed(piece, rate) for piece in chunks(pcm, rate))


@pytest.mark.parametrize("leg", [8000, 16_000])
@pytest.mark.parametrize("bot", [8000, 16_000, 24_000, 48_000])
def test_a_tone_is_the_same_tone_on_the_other_side(bot: int, leg: int) -> None:
    heard = down(tone(bot, 1000, 1000), slin(bot), leg)
    assert len(heard) == leg * 2
    assert level(heard) == pytest.approx(-20, abs=0.2)
    sent = up(tone(leg, 1000, 1000), leg, slin(bot))
    assert level(sent[: bot // 2 * 2]) == pytest.approx(-20, abs=0.2)


@pytest.mark.parametrize("bot", [16_000, 24_000, 48_000])
def test_a_tone_of_5500_hz_is_not_audible_at_8_khz(bot: int) -> None:
    heard = down(tone(bot, 5500, 1000, -6), slin(bot), 8000)
    assert level(heard[800:-800]) < -75


@pytest.mark.parametrize("bot", [8000, 16_000, 24_000, 48_000])
def test_a_caller_at_16_khz_has_no_false_tones_at_the_bots_rate(bot: int) -> None:
    sent = up(tone(16_000, 5500, 1000, -6), 16_000, slin(bot))
    heard = level(sent[bot // 10 * 2 : bot // 2 * 2])
    assert heard < -75 if bot == 8000 else heard == pytest.approx(-6, abs=0.5)


@pytest.mark.parametrize("source", [8000, 16_000])
@pytest.mark.parametrize("target", [8000, 16_000, 24_000, 48_000])
def test_the_callers_audio_is_held_back_for_at_most_3_5_ms(source: int, target: int) -> None:
    path = Uplink(slin(target), StreamConverter)
    given_ms, taken = 0.0, 0
    for piece in chunks(tone(source, 440, 400), source, 20):
        given_ms += 20
        taken += len(path.feed(piece, source))
        assert given_ms - taken * 500 / target <= 3.6


@pytest.mark.parametrize("target", [8000, 16_000])
@pytest.mark.parametrize("source", [8000, 16_000, 24_000, 48_000])
def test_the_converter_holds_back_at_most_3_5_ms(source: int, target: int) -> None:
    path = Downlink(StreamConverter)
    given_ms = 0.0
    taken = 0
    for piece in chunks(tone(source, 440, 400), source, 20):
        given_ms += 20
        taken += len(path.feed(piece, slin(source), target)) + len(path.take())
        assert given_ms - taken * 500 / target <= 3.6


def test_nothing_is_shifted_in_time() -> None:
    """A click comes out where it went in: the converter delays the stream, not the samples."""
    click = bytearray(24_000 * 2)
    click[12_000 * 2 : 12_000 * 2 + 48] = b"\xff\x7f" * 24
    samples = to_samples(down(bytes(click), slin(24_000), 8000))
    loudest = max(range(len(samples)), key=lambda at: abs(samples[at]))
    assert loudest == pytest.approx(4004, abs=4)


def test_u_law_needs_no_conversion_at_8_khz() -> None:
    pcm = tone(8000, 440, 200)
    assert up(pcm, 8000, PCMU) == slin_to_ulaw(pcm)
    assert down_ulaw(slin_to_ulaw(pcm)) == ulaw_to_slin(slin_to_ulaw(pcm))


def down_ulaw(encoded: bytes) -> bytes:
    path = Downlink(StreamConverter)
    return path.feed(encoded, PCMU, 8000) + path.flush()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4000), max_size=12),
    st.sampled_from([8000, 16_000, 24_000, 48_000]),
    st.sampled_from([8000, 16_000]),
)
def test_messages_of_any_length_give_the_same_audio(lengths: list[int], bot: int, leg: int) -> None:
    pcm = tone(bot, 300, math.ceil(sum(lengths) * 500 / bot) + 1)[: sum(lengths)]
    path, at, pieces = Downlink(StreamConverter), 0, []
    for length in lengths:
        pieces.append(path.feed(pcm[at : at + length], slin(bot), leg))
        at += length
    pieces.append(path.flush())
    whole = Downlink(StreamConverter)
    assert b"".join(pieces) == whole.feed(pcm, slin(bot), leg) + whole.flush()


def test_a_change_of_the_legs_rate_goes_on() -> None:
    path = Downlink(StreamConverter)
    assert path.feed(b"\1\1" * 330, slin(8000), 8000) == b"\1\1" * 320
    assert len(path.feed(bytes(16_000), slin(8000), 16_000) + path.flush()) == 32_000
    assert not path.pending


def test_cleared_audio_does_not_come_back() -> None:
    path = Downlink(StreamConverter)
    path.feed(b"\xff" * 1001, slin(24_000), 8000)
    path.clear()
    assert not path.pending
    assert set(path.feed(bytes(2000), slin(24_000), 8000) + path.flush()) == {0}


def test_durations() -> None:
    assert duration_ms(bytes(160), PCMU) == 20
    assert duration_ms(bytes(960), slin(24_000)) == 20
