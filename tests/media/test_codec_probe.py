"""`CodecProbe`: G.711 labelled as slin is detected within a second, and slin is never taken for G.711."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.media.codec_probe import EVALUATION_MS, MAX_EVALUATED_BYTES, MAX_UNCLEAR_WINDOWS, CodecProbe
from audiosocket.media.pcm import from_samples, slin_to_alaw, slin_to_ulaw, to_samples, tone
from audiosocket.wire import Audio, Parser

CAPTURES = Path(__file__).parents[1] / "captures"
LAWS: dict[str, Callable[[bytes], bytes]] = {"ulaw": slin_to_ulaw, "alaw": slin_to_alaw}
#: Milliseconds of the caller's packets, and so of the frames.
PACKETS = (10, 20, 30, 40, 60)
Timed = list[tuple[float, bytes]]


# signals, as slin at 8 kHz


def noise(amplitude: float, *, seed: int = 1, samples: int = 8_000) -> bytes:
    drawn = random.Random(seed)
    return from_samples(max(-32_768, min(32_767, round(drawn.gauss(0, amplitude)))) for _ in range(samples))


def mixed(*parts: bytes) -> bytes:
    return from_samples(
        max(-32_768, min(32_767, sum(samples))) for samples in zip(*map(to_samples, parts), strict=True)
    )


def dtmf(low: int, high: int, level: float) -> bytes:
    return mixed(tone(8000, low, 1000, level), tone(8000, high, 1000, level))


@cache
def capture(name: str) -> bytes:
    return b"".join(payload for _, payload in recorded(name))


def recorded(name: str) -> Timed:
    """Return the audio frames of a recorded stream, each with the time of the read that completed it."""
    parser, data, at, frames = Parser(), (CAPTURES / f"{name}.bin").read_bytes(), 0, []
    for ms, size in json.loads((CAPTURES / f"{name}.reads.json").read_text()):
        frames += [
            (float(ms), event.pcm) for event in parser.receive(data[at : at + size]) if isinstance(event, Audio)
        ]
        at += size
    return frames


def louder(pcm: bytes, gain: float) -> bytes:
    return from_samples(max(-32_768, min(32_767, round(v * gain))) for v in to_samples(pcm))


def clicking(*, between: int) -> bytes:
    """Return digital silence with a loud click in every ``between`` samples, as from a bad connector."""
    drawn = random.Random(between)
    return from_samples(drawn.randint(-20_000, 20_000) if n % between == 7 else 0 for n in range(8_000))


ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
#: Audio that callers send. The speech is recorded.
SIGNALS: dict[str, Callable[[], bytes]] = {
    "speech": lambda: capture("sip-app-speech-pt"),
    "quiet speech": lambda: louder(capture("sip-app-speech-pt"), 0.05),
    "clipped speech": lambda: louder(capture("sip-app-speech-pt"), 8),
    "a recorded tone": lambda: capture("app-tone-3s"),
    "silence": lambda: bytes(16_000),
    "quiet dither": lambda: noise(2),
    "a voice in noise": lambda: mixed(tone(8000, 440, 1000, -20), noise(300)),
    "hum": lambda: mixed(tone(8000, 60, 1000, -30), noise(5)),
    "a clipped tone": lambda: tone(8000, 440, 1000, 0),
    **{f"noise of {n}": lambda n=n: noise(n) for n in (0.5, 1, 5, 10, 30, 100, 300, 1000, 3000)},  # type: ignore[misc]
    **{
        f"{hz} Hz at {level} dB": lambda hz=hz, level=level: tone(8000, hz, 1000, level)  # type: ignore[misc]
        for hz in (400, 697, 1000, 1004, 1400, 1633, 2000, 2500, 3000)
        for level in (-3.01, -10, -30, -50)
    },
    **{
        f"DTMF {low}+{high} at {level} dB": lambda low=low, high=high, level=level: dtmf(low, high, level)  # type: ignore[misc]
        for low in ROWS
        for high in COLUMNS
        for level in (-8, -30)
    },
}
#: Audio that no codec of the telephone network transmits, but slin may contain.
ONLY_SLIN: dict[str, Callable[[], bytes]] = {
    "a square wave": lambda: from_samples(([20_000] * 9 + [-20_000] * 9) * 444),
    "clicks in silence": lambda: clicking(between=40),
    "full-scale noise": lambda: noise(20_000),
    **{
        f"a constant {n}": lambda n=n: from_samples([n] * 8_000)  # type: ignore[misc]
        for n in (1, -2, 8, -8, 300, -132, 0x2C2C, 0x7F7E)
    },
    **{
        f"dither around {n}": lambda n=n: from_samples(v + n for v in to_samples(noise(0.4)))  # type: ignore[misc]
        for n in (-131, 8, 300, -3000)
    },
}


# streams


def cut(data: bytes, size: int, *, ms: int, min_ms: int = 0) -> Timed:
    """Return ``data`` in frames of ``size`` bytes every ``ms`` milliseconds, repeated for ``min_ms`` at least."""
    count = max(len(data) // size, -(-min_ms // ms))
    data *= -(-count * size // len(data))
    return [(float(n * ms), data[n * size : (n + 1) * size]) for n in range(count)]


def g711(data: bytes, ms: int) -> Timed:
    return cut(data, 8 * ms, ms=ms, min_ms=1_000)


def slin(data: bytes, ms: int, *, min_ms: int = 4_000) -> Timed:
    return cut(data, 16 * ms, ms=ms, min_ms=min_ms)


def verdicts(frames: Iterable[tuple[float, bytes]]) -> list[tuple[float, str]]:
    """Return the verdicts with the times of their frames, up to the first final one."""
    probe, found = CodecProbe(), list[tuple[float, str]]()
    for now, payload in frames:
        verdict = probe.add(now, payload)
        if verdict is not None:
            assert probe.verdict == verdict
            found.append((now, verdict))
            if verdict != "unknown":
                break
    return found


def names(frames: Iterable[tuple[float, bytes]]) -> list[str]:
    return [verdict for _, verdict in verdicts(frames)]


def in_bursts(frames: Timed, every_ms: float) -> Timed:
    return [(now // every_ms * every_ms, payload) for now, payload in frames]


def jittered(frames: Timed, ms: float, seed: int = 3) -> Timed:
    drawn = random.Random(seed)
    return [(now + drawn.uniform(0, ms), payload) for now, payload in frames]


def with_losses(frames: Timed, share: float, seed: int = 4) -> Timed:
    drawn = random.Random(seed)
    return [frame for frame in frames if drawn.random() >= share]


# G.711 is detected


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_each_law_is_detected_within_a_second_in_packets_of_any_length(signal: str, law: str) -> None:
    data = LAWS[law](SIGNALS[signal]())
    for ms in PACKETS:
        [(when, verdict)] = verdicts(g711(data, ms))
        assert (ms, verdict) == (ms, law)
        assert when <= 1_000


def test_a_recorded_ulaw_call_of_asterisk_is_detected() -> None:
    frames = recorded("chan-ulaw-labelled-slin-2s")
    [(when, verdict)] = verdicts(frames)
    assert verdict == "ulaw"
    assert when - frames[0][0] <= 1_000


@pytest.mark.parametrize("law", LAWS)
def test_frames_read_on_ticks_in_bursts_or_with_jitter_are_detected(law: str) -> None:
    for signal in ("speech", "silence", "noise of 300"):
        data = LAWS[law](SIGNALS[signal]())
        for ms in PACKETS:
            frames = cut(data, 8 * ms, ms=ms, min_ms=2_000)
            for arriving in (in_bursts(frames, 5), in_bursts(frames, 100), jittered(frames, 30)):
                assert names(arriving) == [law], (signal, ms)


@pytest.mark.parametrize("law", LAWS)
def test_a_burst_after_a_stall_only_delays_the_verdict(law: str) -> None:
    """The first second arrives at once, faster than G.711, the rest regularly."""
    for signal in ("speech", "silence", "noise of 300"):
        frames = cut(LAWS[law](SIGNALS[signal]()), 160, ms=20, min_ms=4_000)
        [(when, verdict)] = verdicts((max(now, 1_000.0), payload) for now, payload in frames)
        assert verdict == law
        assert when <= 3_000


@pytest.mark.parametrize("law", LAWS)
def test_a_caller_that_pauses_is_detected(law: str) -> None:
    """Silence suppression and digits: no frames for a while."""
    frames = cut(LAWS[law](SIGNALS["speech"]()), 160, ms=20, min_ms=6_000)
    assert names(frame for frame in frames if frame[0] % 500 < 300) == [law]


@given(
    amplitude=st.floats(0.1, 8_000),
    colour=st.floats(-0.9, 0.98),
    law=st.sampled_from(sorted(LAWS)),
    ms=st.sampled_from(PACKETS),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=60, deadline=None)
def test_noise_of_any_level_and_colour_is_detected(
    amplitude: float, colour: float, law: str, ms: int, seed: int
) -> None:
    assert names(g711(LAWS[law](coloured(amplitude, colour, seed)), ms)) == [law]


def coloured(amplitude: float, colour: float, seed: int) -> bytes:
    drawn, now, samples = random.Random(seed), 0.0, array("h")
    for _ in range(8_000):
        now = colour * now + drawn.gauss(0, amplitude) * (1 - colour**2) ** 0.5
        samples.append(max(-32_768, min(32_767, round(now))))
    return samples.tobytes()


# honest slin is left alone


@pytest.mark.parametrize("signal", [*SIGNALS, *ONLY_SLIN])
def test_slin_is_slin_in_packets_of_any_length(signal: str) -> None:
    data = {**SIGNALS, **ONLY_SLIN}[signal]()
    for ms in PACKETS:
        frames = slin(data, ms)
        assert names(frames) == ["slin"], ms
        assert names(jittered(frames, ms)) == ["slin"], ms


@pytest.mark.parametrize("signal", [*SIGNALS, *ONLY_SLIN])
def test_slow_slin_is_never_taken_for_g711(signal: str) -> None:
    """With lost packets, pauses or half of the frames missing, slin has the pace of G.711."""
    data = {**SIGNALS, **ONLY_SLIN}[signal]()
    for ms in PACKETS:
        frames = slin(data, ms)
        for arriving in (
            frames[::2],
            with_losses(frames, 0.4),
            with_losses(frames, 0.6),
            [frame for frame in frames if frame[0] % 360 < 180],
        ):
            assert not set(names(arriving)) & set(LAWS), ms


@pytest.mark.parametrize("name", ["app-tone-3s", "sip-app-speech-pt", "chan-slin16-tone-2s"])
def test_a_recorded_slin_call_of_asterisk_is_slin(name: str) -> None:
    """Also one of 16 kHz, as if it had come under kind 0x10."""
    assert names(recorded(name)) == ["slin"]


def test_a_constant_that_looks_like_the_silence_of_ulaw_is_slin_by_its_pace() -> None:
    """-1 is two bytes of 0xff, so only the pace distinguishes it."""
    for ms in PACKETS:
        assert names(slin(b"\xff" * 16_000, ms)) == ["slin"], ms


@given(
    amplitude=st.floats(0.1, 30_000),
    colour=st.floats(-0.9, 0.98),
    middle=st.integers(-2_000, 2_000),
    ms=st.sampled_from(PACKETS),
    lost=st.sampled_from([0.0, 0.3, 0.5]),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=60, deadline=None)
def test_no_noise_of_slin_is_taken_for_g711(
    amplitude: float, colour: float, middle: int, ms: int, lost: float, seed: int
) -> None:
    data = from_samples(
        max(-32_768, min(32_767, v + middle)) for v in to_samples(coloured(amplitude, colour, seed))
    )
    assert not set(names(with_losses(slin(data, ms, min_ms=3_000), lost, seed))) & set(LAWS)


# neither


def test_audio_without_a_likely_codec_is_unknown_until_one_is_likely() -> None:
    drawn = random.Random(1)
    senseless = [(n * 20.0, drawn.randbytes(160)) for n in range(500)]
    [(when, verdict)] = verdicts(senseless)
    assert verdict == "unknown"
    assert 3_000 <= when <= 6_000
    voice = [(10_000 + now, payload) for now, payload in cut(slin_to_alaw(SIGNALS["speech"]()), 160, ms=20)]
    assert names(senseless + voice + [(6_000 + now, payload) for now, payload in voice]) == ["unknown", "alaw"]


#: Bytes and milliseconds of the packets of speech codecs.
SMALL = {
    "G.729, 10 ms": (10, 10),
    "G.729, 20 ms": (20, 20),
    "G.729, 60 ms": (60, 60),
    "G.729, 80 ms": (80, 80),
    "G.723.1 at 6.3 kbit/s": (24, 30),
    "G.723.1 at 5.3 kbit/s": (20, 30),
    "GSM, 20 ms": (33, 20),
    "GSM, 60 ms": (99, 60),
    "iLBC, 20 ms": (38, 20),
    "iLBC, 30 ms": (50, 30),
    "AMR at 12.2 kbit/s": (32, 20),
    "Speex at 8 kbit/s": (20, 20),
    "G.726 at 16 kbit/s": (40, 20),
    "G.726 at 32 kbit/s": (80, 20),
    "Codec 2": (6, 20),
    "Opus at 16 kbit/s": (40, 20),
}


@pytest.mark.parametrize("codec", SMALL)
def test_a_codec_with_small_packets_is_unknown_within_6_s(codec: str) -> None:
    size, ms = SMALL[codec]
    drawn = random.Random(5)
    frames = [(float(n * ms), drawn.randbytes(size)) for n in range(8_000 // ms)]
    for arriving in (frames, jittered(frames, 15), in_bursts(frames, 5), with_losses(frames, 0.02)):
        [(when, verdict)] = verdicts(arriving)
        assert verdict == "unknown"
        assert when <= 6_000


def test_small_packets_that_are_all_equal_are_unknown_too() -> None:
    assert names((n * 20.0, b"\x78\x52\x80\xa0\0" * 4) for n in range(400)) == ["unknown"]


def test_the_speech_of_a_caller_of_g729_with_silence_suppression_is_enough_for_the_verdict() -> None:
    drawn = random.Random(6)
    frames = [(n * 20.0, drawn.randbytes(20)) for n in range(1_000)]
    assert names(frame for frame in frames if frame[0] % 4_000 < 2_000) == ["unknown"]


@pytest.mark.parametrize("signal", ["silence", "a constant 1", "speech"])
def test_slin_of_which_most_is_lost_is_not_reported(signal: str) -> None:
    data = {**SIGNALS, **ONLY_SLIN}[signal]()
    for ms in PACKETS:
        frames = slin(data, ms, min_ms=12_000)
        assert not names(with_losses(frames, 0.7)), ms
        assert not names(frame for n, frame in enumerate(frames) if n % 12 == 0), ms


def test_after_small_packets_a_call_in_g711_is_still_detected() -> None:
    small = [(n * 20.0, bytes([n % 251]) * 20) for n in range(400)]
    voice = [(8_000 + now, payload) for now, payload in cut(slin_to_ulaw(SIGNALS["speech"]()), 160, ms=20)]
    assert names(small + voice + [(6_000 + now, payload) for now, payload in voice]) == ["unknown", "ulaw"]


def test_random_bytes_at_the_pace_of_slin_are_slin() -> None:
    drawn = random.Random(2)
    assert names((n * 20.0, drawn.randbytes(320)) for n in range(500)) == ["slin"]


@given(st.lists(st.tuples(st.floats(0, 300), st.binary(min_size=1, max_size=700)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_frames_are_accepted(frames: Sequence[tuple[float, bytes]]) -> None:
    now, probe = 0.0, CodecProbe()
    for gap, payload in frames:
        now += gap
        assert probe.add(now, payload) in {None, "slin", "ulaw", "alaw", "unknown"}


def test_frames_at_the_pace_of_slin_are_not_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluating a frame costs as much as echoing four."""
    monkeypatch.setattr("audiosocket.media.codec_probe.bits_per_byte", lambda payload: pytest.fail("weighed"))
    for ms in PACKETS:
        [(when, verdict)] = verdicts(jittered(slin(SIGNALS["clipped speech"](), ms), 15))
        assert verdict == "slin"
        assert when <= 2_000


def test_only_a_part_of_a_flood_of_frames_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is that of a few frames per second, however many arrive."""
    weighed: list[int] = []

    def count(payload: bytes) -> tuple[float, float, float]:
        weighed.append(len(payload))
        return (8.0, 8.0, 8.0)

    monkeypatch.setattr("audiosocket.media.codec_probe.bits_per_byte", count)
    probe = CodecProbe()
    payload = random.Random(3).randbytes(160)
    for n in range(10_000):
        probe.add(n * 2.0, payload if n < 200 else payload[:20])
    windows = MAX_UNCLEAR_WINDOWS + 20_000 / (EVALUATION_MS * MAX_UNCLEAR_WINDOWS)
    assert sum(weighed) <= MAX_EVALUATED_BYTES * (windows + 1)
