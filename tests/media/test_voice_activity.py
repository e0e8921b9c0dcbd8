"""`VoiceActivity`: when speech starts and stops, in the time of the leg."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import pytest

from audiosocket.media.pcm import silence, tone
from audiosocket.media.resample import StreamConverter
from audiosocket.media.soundfile import read_wav
from audiosocket.media.voice_activity import NoInput, SpeechStarted, SpeechStopped, VoiceActivity, VoiceEvent
from audiosocket.prompts.library import SHIPPED

#: "Olá! Aqui é a portaria.": speech from 30 ms after its beginning to 30 ms before its end.
SPEECH = SHIPPED / "pt_BR" / "greeting.wav"


def speech(rate: int, path: Path = SPEECH) -> bytes:
    return read_wav(path, rate)


def listen(voice: VoiceActivity, pcm: bytes, rate: int, since_ms: float = 0) -> list[VoiceEvent]:
    """Feed frames of 20 ms, each at the time of its end."""
    size = rate // 50 * 2
    events: list[VoiceEvent] = []
    for number, at in enumerate(range(0, len(pcm), size), 1):
        events += voice.feed(since_ms + 20 * number, pcm[at : at + size], rate)
    return events


def voice(**options: float | None) -> VoiceActivity:
    return VoiceActivity(0.0, make_converter=StreamConverter, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 24_000, 48_000, 192_000])
def test_speech_starts_and_stops_on_time(rate: int) -> None:
    pcm = silence(rate, 1_000) + speech(rate) + silence(rate, 2_000)
    ends = 1_000 + len(speech(rate)) / 2 / rate * 1_000
    started, stopped = listen(voice(quiet_ms=1_500), pcm, rate)
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert 950 <= started.at_ms <= 1_200
    assert stopped.began_ms == started.at_ms
    assert abs(stopped.at_ms - ends) < 350  # the detector holds on to speech for a moment


def test_a_pause_shorter_than_quiet_ms_does_not_stop_speech() -> None:
    pcm = speech(8_000) + silence(8_000, 700) + speech(8_000) + silence(8_000, 2_500)
    kinds = [type(event) for event in listen(voice(quiet_ms=1_500), pcm, 8_000)]
    assert kinds == [SpeechStarted, SpeechStopped]
    kinds = [type(event) for event in listen(voice(quiet_ms=300), pcm, 8_000)]
    assert kinds[:4] == [SpeechStarted, SpeechStopped] * 2


def test_no_input_is_returned_once() -> None:
    (event,) = listen(voice(no_input_ms=1_000), silence(8_000, 3_000), 8_000)
    assert isinstance(event, NoInput)
    assert event.at_ms == 1_000


def test_speech_in_time_prevents_no_input() -> None:
    events = listen(voice(no_input_ms=1_000, quiet_ms=500), speech(8_000) + silence(8_000, 5_000), 8_000)
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped]


@pytest.mark.parametrize(
    "sound",
    [
        silence(8_000, 2_000),
        tone(8_000, 1_000, 40) + silence(8_000, 1_900),  # a click
        array("h", (random.Random(1).randint(-30, 30) for _ in range(16_000))).tobytes(),  # a quiet line
    ],
)
def test_silence_clicks_and_line_noise_are_not_speech(sound: bytes) -> None:
    assert listen(voice(), sound, 8_000) == []


def test_speech_stops_without_frames() -> None:
    heard = voice(quiet_ms=1_000, no_input_ms=500)
    assert heard.elapsed(499) == []
    (started,) = listen(heard, speech(8_000), 8_000, since_ms=0)
    assert isinstance(started, SpeechStarted)
    assert heard.speaking
    assert heard.elapsed(1_500) == []
    (stopped,) = heard.elapsed(60_000)
    assert isinstance(stopped, SpeechStopped)
    assert not heard.speaking


def test_frames_of_any_length_and_rate_can_be_fed() -> None:
    heard = voice(quiet_ms=500)
    pcm = speech(8_000)
    events: list[VoiceEvent] = []
    for at in range(0, len(pcm), 333):
        piece = pcm[at : at + 333]
        events += heard.feed((at + len(piece)) / 16, piece, 8_000)
    assert [type(event) for event in events] == [SpeechStarted]
    kinds = [type(event) for event in listen(heard, silence(16_000, 1_500), 16_000, since_ms=len(pcm) / 16)]
    assert kinds == [SpeechStopped]
