"""Sounds that a test can recognise, and their recognition in received audio."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATES = (8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000)
FRAME_MS = 20


def codec_name(rate: int) -> str:
    """Return Asterisk's name of signed linear at this rate, for ``c(...)`` and ``Codecs:``."""
    return "slin" if rate == 8000 else f"slin{rate // 1000}"


def file_suffix(rate: int) -> str:
    """Return the suffix under which Asterisk stores raw signed linear of this rate."""
    return codec_name(rate).replace("slin", "sln")


def frame_bytes(rate: int) -> int:
    return rate * FRAME_MS // 1000 * 2


def tone(rate: int, hertz: float, ms: int, amplitude: int = 8000) -> bytes:
    """Return a sine in signed 16-bit little-endian mono."""
    times = np.arange(rate * ms // 1000) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * times)).astype("<i2").tobytes()


def numbered_noise(rate: int, ms: int, seed: int = 1) -> bytes:
    """Return noise in which each frame is unique and none is silent, to detect lost and repeated frames."""
    generator = np.random.default_rng(seed)
    return generator.integers(-8000, 8000, rate * ms // 1000).astype("<i2").tobytes()


def frames(audio: bytes, rate: int) -> list[bytes]:
    size = frame_bytes(rate)
    return [audio[at : at + size] for at in range(0, len(audio) - size + 1, size)]


def without_silence(audio: bytes, rate: int) -> list[bytes]:
    """Return the frames that are not all zero: a server fills gaps with silence."""
    return [frame for frame in frames(audio, rate) if any(frame)]


def strength(audio: bytes, rate: int, hertz: float) -> float:
    """Return the share of the sound's power within 30 Hz of one frequency, from 0 to 1 (0 for silence)."""
    samples = np.frombuffer(audio[: len(audio) // 2 * 2], "<i2").astype(float)
    if len(samples) < rate // 10 or not samples.any():
        return 0.0
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(samples), 1 / rate) - hertz) <= 30
    return float(power[near].sum() / power.sum())


def loudest(audio: bytes, rate: int) -> float:
    """Return the frequency with the most power, in hertz (0 for silence)."""
    samples = np.frombuffer(audio[: len(audio) // 2 * 2], "<i2").astype(float)
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[power.argmax()])


def to_ulaw(audio: bytes) -> bytes:
    """Return signed linear as G.711 mu-law (ITU-T G.711, the 14-bit form scaled to 16 bits)."""
    samples = np.frombuffer(audio, "<i2").astype(int)
    magnitude = np.minimum(np.abs(samples), 32_635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(int) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    return bytes((~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8))


def from_ulaw(audio: bytes) -> bytes:
    """Return 16-bit samples; the inverse of `to_ulaw`."""
    code = ~np.frombuffer(audio, np.uint8).astype(int) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 132) << ((code >> 4) & 7)) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2").tobytes()


def write_wav(path: Path, audio: bytes, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(audio)


def read_wav(path: Path) -> tuple[int, list[bytes]]:
    """Return the rate and the channels of a 16-bit WAV file."""
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return file.getframerate(), [channel.tobytes() for channel in samples.T.copy()]
