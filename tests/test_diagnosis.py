"""G.711 under the name of slin: recognised, and honest slin never accused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from audiosocket.audio import slin_to_alaw, slin_to_ulaw, tone
from audiosocket.diagnosis import PROBE_FRAMES, CodecProbe
from audiosocket.wire import Audio, Parser

CAPTURES = Path(__file__).parent / "captures"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data) - size + 1, size)]


def judge(frames: list[bytes], every_ms: float) -> str | None:
    probe = CodecProbe()
    verdict = None
    for number, frame in enumerate(frames):
        verdict = probe.look(number * every_ms, frame)
    return verdict


def speech(seconds: float = 1.0) -> bytes:
    """Something like a voice: harmonics that come and go, and a little noise."""
    made = bytearray()
    for number in range(int(seconds * 10)):
        made += tone(8000, 120 + 40 * (number % 5), 60, -18.0) + tone(8000, 440 + 90 * (number % 3), 40, -30.0)
    return bytes(made)


def test_a_recorded_ulaw_call_of_a_real_asterisk_is_recognised() -> None:
    events = Parser().receive((CAPTURES / "chan-ulaw-labelled-slin-2s.bin").read_bytes())
    frames = [event.pcm for event in events if isinstance(event, Audio)]
    assert judge(frames, 20.0) == "ulaw"


def test_a_recorded_slin_call_of_a_real_asterisk_is_left_alone() -> None:
    events = Parser().receive((CAPTURES / "sip-app-speech-pt.bin").read_bytes())
    frames = [event.pcm for event in events if isinstance(event, Audio)]
    assert judge(frames, 20.0) == "slin"


@pytest.mark.parametrize(("name", "encode"), [("ulaw", slin_to_ulaw), ("alaw", slin_to_alaw)])
def test_each_law_is_told_from_the_other(name: str, encode: object) -> None:
    assert callable(encode)
    assert judge(pieces(encode(speech()), 160), 20.0) == name
    assert judge(pieces(encode(tone(8000, 1004, 1000, -20.0)), 160), 20.0) == name
    assert judge(pieces(encode(bytes(16_000)), 160), 20.0) == name


def test_slin_in_packets_of_10_ms_is_slin() -> None:
    assert judge(pieces(speech(), 160), 10.0) == "slin"


def test_what_neither_law_explains_is_unknown() -> None:
    assert judge(pieces(random.Random(1).randbytes(8000), 160), 20.0) == "unknown"


def test_the_verdict_comes_within_a_second_and_stays() -> None:
    probe = CodecProbe()
    frame = slin_to_ulaw(tone(8000, 1004, 20, -20.0))
    verdicts = [probe.look(number * 20.0, frame) for number in range(PROBE_FRAMES + 5)]
    assert verdicts[: PROBE_FRAMES - 1] == [None] * (PROBE_FRAMES - 1)
    assert set(verdicts[PROBE_FRAMES - 1 :]) == {"ulaw"}
    assert PROBE_FRAMES * 20 <= 1000


def test_frames_that_came_in_a_lump_are_judged_by_the_time_between() -> None:
    """The kernel may hold frames back: what counts is how long all of them took."""
    frames = pieces(slin_to_ulaw(speech()), 160)
    probe = CodecProbe()
    verdict = None
    for number, frame in enumerate(frames):
        verdict = probe.look((number // 5) * 100.0, frame)
    assert verdict == "ulaw"
