"""Sample-rate conversion: lengths, quality, delay, and streams split anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audiosocket.media.pcm import converted_samples, tone
from audiosocket.media.resample import StreamConverter, convert
from audiosocket.wire import RATES

ALL_RATES = sorted(RATES.values())
PAIRS = list(itertools.product(ALL_RATES, ALL_RATES))
AMPLITUDE = 16_000.0
Way = Callable[[bytes, int, int], bytes]


def streamed(pcm: bytes, source: int, target: int) -> bytes:
    converter = StreamConverter(source, target)
    return converter.feed(pcm) + converter.flush()


WAYS = [pytest.param(convert, id="whole"), pytest.param(streamed, id="stream")]


def noise(samples: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype("<i2").tobytes()


def as_floats(pcm: bytes) -> NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def converted_sine(way: Way, hz: float, source: int, target: int) -> NDArray[np.float64]:
    """Return 150 ms of a converted sine, without its two ends."""
    n = np.arange(int(source * 0.2))
    pcm = np.rint(AMPLITUDE * np.sin(2 * np.pi * hz * n / source)).astype("<i2").tobytes()
    samples = as_floats(way(pcm, source, target))
    edge = int(0.025 * target)
    return samples[edge:-edge]


def fitted(samples: NDArray[np.float64], hz: float, rate: int) -> tuple[float, NDArray[np.float64]]:
    """Return the amplitude of the sine of ``hz`` in the samples, and the residual."""
    angle = 2 * np.pi * hz * np.arange(len(samples)) / rate
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    parts, *_ = np.linalg.lstsq(waves, samples, rcond=None)
    return float(np.hypot(*parts)), samples - waves @ parts


def decibels(value: float) -> float:
    return 20 * float(np.log10(value / AMPLITUDE + 1e-12))


def rms_decibels(samples: NDArray[np.float64]) -> float:
    return decibels(float(np.sqrt(2 * np.mean(samples**2))))


@pytest.mark.parametrize("way", WAYS)
def test_the_length_is_exact(way: Way) -> None:
    for (source, target), samples in itertools.product(PAIRS, (0, 1, 2, 3, 17, 160, 1001, 6300)):
        out = way(noise(samples), source, target)
        assert len(out) == 2 * converted_samples(samples, source, target), (source, target, samples)


def test_a_stream_may_be_split_anywhere() -> None:
    for source, target in PAIRS:
        pcm = noise(source // 20 + 3)
        cuts = np.random.default_rng(source + target)
        converter, out, position = StreamConverter(source, target), b"", 0
        while position < len(pcm):
            size = int(cuts.integers(1, source // 20))
            out += converter.feed(pcm[position : position + size])
            position += size
        assert out + converter.flush() == streamed(pcm, source, target), (source, target)


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(
        [(8000, 16000), (24000, 8000), (44100, 8000), (8000, 44100), (8000, 8000), (22050, 16000)]
    ),
    pcm=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
)
def test_any_split_gives_the_same_bytes(pair: tuple[int, int], pcm: bytes, cuts: list[int]) -> None:
    converter = StreamConverter(*pair)
    edges = [0, *sorted(cuts), len(pcm)]
    pieces = [converter.feed(pcm[a:b]) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) + converter.flush() == streamed(pcm, *pair)


@pytest.mark.parametrize("way", WAYS)
def test_a_tone_of_1_khz_is_preserved(way: Way) -> None:
    for source, target in PAIRS:
        amplitude, rest = fitted(converted_sine(way, 1000, source, target), 1000, target)
        assert abs(decibels(amplitude)) < 0.01, (source, target)
        assert rms_decibels(rest) < -75, (source, target)


def test_a_stream_preserves_the_telephone_band() -> None:
    for source, target in PAIRS:
        hz = 0.85 * min(source, target) / 2
        amplitude, _ = fitted(converted_sine(streamed, hz, source, target), hz, target)
        assert abs(decibels(amplitude)) < 0.1, (source, target)


@pytest.mark.parametrize("way", WAYS)
def test_images_are_rejected(way: Way) -> None:
    for (source, target), part in itertools.product(PAIRS, (0.85, 0.95, 0.99)):
        if target > source:
            hz = part * source / 2
            _, rest = fitted(converted_sine(way, hz, source, target), hz, target)
            assert rms_decibels(rest) < -72, (source, target, hz)


@pytest.mark.parametrize("way", WAYS)
def test_aliases_are_rejected(way: Way) -> None:
    for (source, target), part in itertools.product(PAIRS, (1.01, 1.15, 1.5, 1.9)):
        hz = part * target / 2
        if hz < source / 2:
            assert rms_decibels(converted_sine(way, hz, source, target)) < -72, (source, target, hz)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("source", "target"), [(8000, 16000), (24000, 8000), (44100, 8000), (8000, 48000)])
def test_conversion_does_not_shift_the_time(way: Way, source: int, target: int) -> None:
    """A short pulse is at the same time in the output."""
    middle, width = 0.1, 0.001
    t = np.arange(int(source * 0.2)) / source
    pcm = np.rint(20_000 * np.exp(-(((t - middle) / width) ** 2))).astype("<i2").tobytes()
    out = as_floats(way(pcm, source, target))
    found = np.sum(np.arange(len(out)) / target * out) / np.sum(out)
    assert found == pytest.approx(middle, abs=0.00001)


def test_silence_and_constants_are_preserved() -> None:
    for (source, target), value in itertools.product(PAIRS, (0, 12_345, 32_767, -32_768)):
        pcm = np.full(source // 10, value, "<i2").tobytes()
        inner = as_floats(streamed(pcm, source, target))[target // 50 : -target // 50]
        assert set(inner) == {float(value)}, (source, target)


@pytest.mark.parametrize("way", WAYS)
def test_full_scale_is_clipped_and_does_not_wrap(way: Way) -> None:
    square = np.where(np.arange(8000) // 40 % 2, 32767, -32768).astype("<i2").tobytes()
    out = as_floats(way(square, 8000, 16000))
    halves = out.reshape(-1, 80)[1:-1, 30:50]
    assert (np.abs(halves) > 29_000).all()
    assert out.max() == 32767
    assert out.min() == -32768


@pytest.mark.parametrize(
    ("source", "target", "limit"),
    [
        (8000, 16000, 3.5),
        (16000, 8000, 3.5),
        (44100, 8000, 3.6),
        (16000, 24000, 1.75),
        (48000, 44100, 0.7),
        (8000, 8000, 0),
    ],
)
def test_the_delay_of_a_stream_is_bounded(source: int, target: int, limit: float) -> None:
    converter = StreamConverter(source, target)
    given_out = sum(len(converter.feed(bytes(source // 50 * 2))) for _ in range(10)) / 2 / target * 1000
    assert 200 - given_out <= limit + 1000 / target
    assert converter.delay_ms <= limit


def test_frames_come_out_evenly_after_the_first() -> None:
    converter = StreamConverter(8000, 16000)
    sizes = [len(converter.feed(tone(8000, 440, 20))) for _ in range(10)]
    assert sizes == [640 - 112] + [640] * 9


def test_after_a_flush_a_new_stream_begins() -> None:
    converter = StreamConverter(8000, 24000)
    first = converter.feed(noise(500)) + converter.flush()
    assert converter.feed(noise(500)) + converter.flush() == first
    assert converter.flush() == b""


@pytest.mark.parametrize(("source", "target"), [(8000, 8000), (8000, 16000)])
def test_an_odd_byte_waits_for_the_next_piece(source: int, target: int) -> None:
    pcm = noise(400)
    converter = StreamConverter(source, target)
    out = b"".join(converter.feed(bytes([byte])) for byte in pcm)
    assert out + converter.flush() == streamed(pcm, source, target)
    converter.feed(b"\x55")
    assert converter.flush() == b""
    assert converter.feed(pcm) + converter.flush() == streamed(pcm, source, target)


def test_equal_rates_change_nothing() -> None:
    assert convert(noise(100), 16000, 16000) == noise(100)
    assert convert(noise(100) + b"\1", 16000, 16000) == noise(100)
    assert streamed(noise(100), 16000, 16000) == noise(100)


def test_rates_without_a_common_divisor_are_rejected_for_streams_only() -> None:
    with pytest.raises(ValueError, match="from 8000 to 44101 Hz"):
        StreamConverter(8000, 44101)
    assert len(convert(noise(8000), 8000, 44101)) == 2 * 44101


def test_a_sound_longer_than_a_block_is_converted_without_gaps() -> None:
    pcm = tone(8000, 440, 20_000)
    samples = as_floats(convert(pcm, 8000, 16000))
    assert len(samples) == 320_000
    amplitude, rest = fitted(samples[4000:-4000], 440, 16000)
    assert amplitude == pytest.approx(np.sqrt(2) * 3276.8, rel=0.001)
    assert np.abs(rest).max() < 2
