"""What voice activity costs for each frame of 20 ms, in this process."""

from __future__ import annotations

import time

from audiosocket.media.resample import StreamConverter
from audiosocket.media.soundfile import read_wav
from audiosocket.media.voice_activity import VoiceActivity
from audiosocket.prompts.library import SHIPPED
from bench.statistics import Sample

FRAMES = 20_000


def voice_activity() -> Sample:
    """Return the microseconds of a frame of speech at these rates."""
    return {"us_8k": _cost(8_000), "us_16k": _cost(16_000), "us_48k": _cost(48_000)}


def _cost(rate: int) -> float:
    pcm = read_wav(SHIPPED / "pt_BR" / "resident_menu.wav", rate)
    size = rate // 50 * 2
    frames = [pcm[at : at + size] for at in range(0, len(pcm) - size, size)]
    voice = VoiceActivity(0.0, make_converter=StreamConverter)
    began = time.perf_counter()
    for number in range(FRAMES):
        voice.feed(20.0 * number, frames[number % len(frames)], rate)
    return (time.perf_counter() - began) / FRAMES * 1e6
