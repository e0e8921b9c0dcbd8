"""`read_wav`: every kind of sound file, and every way in which one can be wrong."""

from __future__ import annotations

import os
import runpy
import struct
import wave
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiosocket.errors import InvalidSound
from audiosocket.media import soundfile
from audiosocket.media.pcm import alaw_to_slin, level, slin_to_alaw, slin_to_ulaw, tone, ulaw_to_slin
from audiosocket.media.soundfile import read_wav
from audiosocket.media.wav import wav_header
from tests.support.wav_files import TONE, chunk, extensible, fmt, plain, riff

FLOATS = np.frombuffer(TONE, "<i2") / 32768


def int24(values: Any) -> bytes:
    return b"".join(int(value).to_bytes(3, "little", signed=True) for value in values)


SAMPLES = np.frombuffer(TONE, "<i2").astype(np.int64)
STEREO = np.repeat(SAMPLES, 2)
EXACT = {
    "16 bit": plain(TONE),
    "24 bit": plain(int24(SAMPLES * 256), bits=24),
    "32 bit": plain((SAMPLES * 65536).astype("<i4").tobytes(), bits=32),
    "float32": plain(FLOATS.astype("<f4").tobytes(), tag=3, bits=32),
    "float64": plain(FLOATS.astype("<f8").tobytes(), tag=3, bits=64),
    "stereo": plain(STEREO.astype("<i2").tobytes(), channels=2),
    "8 channels float": plain(np.repeat(FLOATS, 8).astype("<f4").tobytes(), tag=3, channels=8, bits=32),
    "extensible 16": riff(extensible(1, 1, 8000, 16, 16), chunk(b"data", TONE)),
    "extensible 24 in 32": riff(
        extensible(1, 2, 8000, 32, 24), chunk(b"data", (STEREO * 65536).astype("<i4").tobytes())
    ),
    "extensible float": riff(extensible(3, 1, 8000, 32, 32), chunk(b"data", FLOATS.astype("<f4").tobytes())),
    "20 bit in 3 bytes": riff(fmt(1, 1, 8000, 20, block=3), chunk(b"data", int24(SAMPLES * 256))),
    "chunks of odd size around": riff(
        chunk(b"bext", b"x" * 603),
        chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0"),
        fmt(1, 1, 8000, 16, extra=b"\0\0"),
        chunk(b"fact", struct.pack("<I", len(SAMPLES))),
        chunk(b"data", TONE),
        chunk(b"id3 ", b"after"),
    ),
    "odd chunk without its pad byte": riff(
        chunk(b"LIST", b"INFO1")[:-1], fmt(1, 1, 8000, 16), chunk(b"data", TONE)
    ),
    "streamed, size 0": riff(fmt(1, 1, 8000, 16), chunk(b"data", TONE, 0)),
    "streamed, size -1": b"RIFF\xff\xff\xff\xffWAVE" + fmt(1, 1, 8000, 16) + chunk(b"data", TONE, 0xFFFFFFFF),
    "made-up size": riff(fmt(1, 1, 8000, 16), chunk(b"data", TONE, 0x7FFFF000)),
    "half a sample at the end": riff(fmt(1, 1, 8000, 16), chunk(b"data", TONE + b"\x7f")),
    **{
        f"16 bits with a block align of {block}": riff(fmt(1, 1, 8000, 16, block=block), chunk(b"data", TONE))
        for block in (1, 3, 4, 6, 8)
    },
    "16 bits in stereo with the block align of one channel": riff(
        fmt(1, 2, 8000, 16, block=2), chunk(b"data", STEREO.astype("<i2").tobytes())
    ),
    "32 bits with a block align of 2": riff(
        fmt(1, 1, 8000, 32, block=2), chunk(b"data", (SAMPLES * 65536).astype("<i4").tobytes())
    ),
    "24 bits with a block align of 2": riff(fmt(1, 1, 8000, 24, block=2), chunk(b"data", int24(SAMPLES * 256))),
    "24 bits in 4 bytes": riff(
        fmt(1, 1, 8000, 24, block=4), chunk(b"data", (SAMPLES * 65536).astype("<i4").tobytes())
    ),
    "20 bits in 4 bytes": riff(
        fmt(1, 1, 8000, 20, block=4), chunk(b"data", (SAMPLES * 65536).astype("<i4").tobytes())
    ),
    "float with a block align of 1": riff(
        fmt(3, 1, 8000, 32, block=1), chunk(b"data", FLOATS.astype("<f4").tobytes())
    ),
    "after an ID3 tag": b"ID3\x03\0\0\0\0\x01\x05" + bytes(133) + plain(TONE),
    "after an ID3 tag with a footer": b"ID3\x04\0\x10\0\0\0\x05title3DI\x04\0\x10\0\0\0\x05" + plain(TONE),
    **{
        f"odd LIST without its pad byte before {name!r}": riff(
            fmt(1, 1, 8000, 16), chunk(b"LIST", b"INFO1")[:-1], chunk(name, b"some"), chunk(b"data", TONE)
        )
        for name in (b"LIST", b"id3 ", b"bext", b"JUNK", b"PEAK", b"abcd")
    },
    "odd LIST with a pad byte that is not zero": riff(
        fmt(1, 1, 8000, 16), chunk(b"LIST", b"INFO1")[:-1] + b"X", chunk(b"data", TONE)
    ),
    "size 0 and a LIST behind": riff(
        fmt(1, 1, 8000, 16), chunk(b"data", TONE, 0), chunk(b"LIST", b"INFOISFT\x04\0\0\0Lavf")
    ),
    "size -1 and two chunks behind": riff(
        fmt(1, 1, 8000, 16), chunk(b"data", TONE, 0xFFFFFFFF), chunk(b"LIST", b"INFO1"), chunk(b"id3 ", b"ID3")
    ),
    "empty data and LIST before the samples": riff(
        fmt(1, 1, 8000, 16), chunk(b"data", b""), chunk(b"LIST", b"INFO"), chunk(b"data", TONE)
    ),
    "no block size": riff(fmt(1, 1, 8000, 16, block=0), chunk(b"data", TONE)),
    "RF64": b"RF64\xff\xff\xff\xffWAVE"
    + chunk(b"ds64", struct.pack("<QQQI", 0, len(TONE), len(SAMPLES), 0))
    + fmt(1, 1, 8000, 16)
    + chunk(b"data", TONE, 0xFFFFFFFF)
    + chunk(b"LIST", b"INFO"),
}


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(content: bytes, name: str = "sound.wav") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_every_format_with_16_bits_or_more_is_read_exactly(save: Callable[..., Path]) -> None:
    for kind, content in EXACT.items():
        assert read_wav(save(content), 8000) == TONE, kind


def test_the_name_of_a_chunk_among_samples_of_unknown_size_ends_nothing(save: Callable[..., Path]) -> None:
    samples = TONE[:800] + b"LIST" + bytes(4) + TONE[:800]
    content = riff(fmt(1, 1, 8000, 16), chunk(b"data", samples, 0), chunk(b"LIST", b"INFO"))
    assert read_wav(save(content), 8000) == samples


def test_coarser_samples(save: Callable[..., Path]) -> None:
    eight = (SAMPLES // 256 + 128).astype(np.uint8).tobytes()
    assert read_wav(save(plain(eight, bits=8)), 8000) == (SAMPLES // 256 * 256).astype("<i2").tobytes()
    ulaw, alaw = slin_to_ulaw(TONE), slin_to_alaw(TONE)
    assert read_wav(save(plain(ulaw, tag=7, bits=8)), 8000) == ulaw_to_slin(ulaw)
    assert read_wav(save(ulaw, "x.ulaw"), 8000) == ulaw_to_slin(ulaw)
    assert read_wav(save(plain(alaw, tag=6, bits=8)), 8000) == alaw_to_slin(alaw)
    assert read_wav(save(alaw, "x.AL"), 8000) == alaw_to_slin(alaw)


def test_channels_are_averaged(save: Callable[..., Path]) -> None:
    left_and_right = np.stack([SAMPLES, np.zeros_like(SAMPLES)], axis=1).astype("<i2").tobytes()
    assert level(read_wav(save(plain(left_and_right, channels=2)), 8000)) == pytest.approx(-26.02, abs=0.02)


def test_any_rate_is_converted(save: Callable[..., Path]) -> None:
    for rate, target in product((4000, 11025, 22050, 44100, 48000, 384000), (8000, 16000, 48000)):
        pcm = read_wav(save(plain(tone(rate, 1000, 520), rate=rate)), target)
        assert len(pcm) == target * 52 // 100 * 2, (rate, target)
        assert level(pcm) == pytest.approx(-20, abs=0.05), (rate, target)


def test_asterisks_files_without_a_header(save: Callable[..., Path]) -> None:
    for suffix, rate in [
        ("sln", 8000),
        ("raw", 8000),
        ("sln12", 12000),
        ("sln16", 16000),
        ("sln44", 44100),
        ("sln192", 192000),
        ("SLN", 8000),
    ]:
        pcm = tone(rate, 1000, 100)
        assert read_wav(save(pcm, f"x.{suffix}"), rate) == pcm
        assert len(read_wav(save(pcm, f"x.{suffix}"), 8000)) == 1600


def test_asterisks_names_for_files_of_either_law(save: Callable[..., Path]) -> None:
    """``.pcm`` is u-law in Asterisk."""
    for suffix in ("pcm", "ulaw", "ul", "mu", "ulw"):
        assert read_wav(save(slin_to_ulaw(TONE), f"x.{suffix}"), 8000) == ulaw_to_slin(slin_to_ulaw(TONE))
    for suffix in ("alaw", "al", "alw"):
        assert read_wav(save(slin_to_alaw(TONE), f"x.{suffix}"), 8000) == alaw_to_slin(slin_to_alaw(TONE))


def test_a_wav_under_any_name_is_read_as_a_wav(save: Callable[..., Path]) -> None:
    for name in ("x.wav16", "x.sln", "x.pcm", "x.gsm", "x"):
        assert read_wav(save(plain(TONE), name), 8000) == TONE


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("hello.gsm", "sox {dir}/hello.gsm -e signed-integer -b 16 -c 1 {dir}/hello.wav"),
        ("a b.mp3", "sox '{dir}/a b.mp3' -e signed-integer -b 16 -c 1 '{dir}/a b.wav'"),
        ("hello.g722", "ffmpeg -f g722 -i {dir}/hello.g722 -c:a pcm_s16le -ac 1 {dir}/hello.wav"),
        ("hello.g729", "ffmpeg -f g729 -i {dir}/hello.g729 -c:a pcm_s16le -ac 1 {dir}/hello.wav"),
        ("hello.ilbc", "asterisk -rx 'file convert {dir}/hello.ilbc {dir}/hello.wav'"),
    ],
)
def test_a_format_that_is_not_read_comes_with_the_command_that_converts_it(
    save: Callable[..., Path], name: str, command: str
) -> None:
    path = save(bytes(range(1, 200)), name)
    with pytest.raises(InvalidSound, match="which is not read") as caught:
        read_wav(path, 8000)
    assert str(caught.value).endswith(f"; convert it: {command.format(dir=path.parent)}")


def test_a_compressed_wav_is_converted_into_another_file(save: Callable[..., Path]) -> None:
    path = save(plain(bytes(65), tag=0x31, bits=0), "hello.wav")
    with pytest.raises(InvalidSound, match=r"GSM 6.10 .*hello.wav -e signed.*hello.converted.wav"):
        read_wav(path, 8000)


def test_a_file_longer_than_a_block(save: Callable[..., Path]) -> None:
    pcm = tone(8000, 400, 5000)
    wide = np.repeat(np.frombuffer(pcm, "<i2"), 2).tobytes()
    assert read_wav(save(plain(wide, channels=2)), 8000) == pcm


def test_floats_out_of_range_are_clipped(save: Callable[..., Path]) -> None:
    values = [float("nan"), float("inf"), float("-inf"), 3.0e38, -5.0, 0.5]
    expected = struct.pack("<6h", 0, 32767, -32768, 32767, -32768, 16384)
    assert read_wav(save(plain(struct.pack("<6f", *values), tag=3, bits=32)), 8000) == expected
    values[3] = 1e308
    assert read_wav(save(plain(struct.pack("<6d", *values), tag=3, bits=64)), 8000) == expected


def test_a_truncated_file_gives_the_samples_it_has(save: Callable[..., Path]) -> None:
    whole = plain(TONE)
    for end in (46, 47, 1000, 1001, len(whole) - 1):
        pcm = read_wav(save(whole[:end]), 8000)
        assert pcm == TONE[: (end - 44) // 2 * 2]


WRONG = {
    "empty": (b"", "the file is empty"),
    "text": (b"Hello, this is no sound", "not a WAV file.*b'Hell'"),
    "mp3": (b"ID3\x04" + bytes(100), "it is MP3"),
    "mp3 without a tag": (b"\xff\xfb\x90\x64" + bytes(100), "it is MP3"),
    "ogg": (b"OggS\0\2" + bytes(100), "it is Ogg"),
    "m4a": (b"\0\0\0\x20ftypM4A " + bytes(100), "it is MPEG-4 audio.*ffmpeg"),
    "big endian": (b"RIFX" + plain(TONE)[4:], "it is a big-endian WAV file"),
    "a damaged WAV after an ID3 tag": (b"ID3\x03\0\0\0\0\0\0" + riff(), "no samples"),
    "empty data and a LIST": (riff(fmt(1, 1, 8000, 16), chunk(b"data", b""), chunk(b"LIST", b"INFO")), "no audio"),
    "short": (b"RIFF\0\0", "not a WAV file"),
    "another RIFF": (b"RIFF\x04\0\0\0AVI ", "not a WAV file"),
    "no chunks": (riff(), "no samples"),
    "no data": (riff(fmt(1, 1, 8000, 16)), "no samples"),
    "no fmt": (riff(chunk(b"data", TONE)), "fmt chunk"),
    "short fmt": (riff(chunk(b"fmt ", bytes(14)), chunk(b"data", TONE)), "14 bytes"),
    "no audio": (plain(b""), "no audio"),
    "half a sample": (plain(b"1"), "no audio"),
    "GSM": (plain(bytes(65), tag=0x31, bits=0), r"GSM 6.10 \(format 0x0031\)"),
    "ADPCM": (plain(bytes(65), tag=2, bits=4), r"Microsoft ADPCM \(format 0x0002\)"),
    "unknown codec": (plain(bytes(65), tag=0x7777, bits=4), "unknown codec.*0x7777"),
    "extensible cut short": (plain(bytes(65), tag=0xFFFE), "0xfffe"),
    "extensible MP3": (riff(extensible(0x55, 1, 8000, 16, 16), chunk(b"data", TONE)), "MP3"),
    "no channels": (plain(TONE, channels=0), "0 channels"),
    "nine channels": (plain(TONE, channels=9), "9 channels"),
    "no rate": (plain(TONE, rate=0), "sample rate is 0 Hz"),
    "too slow": (plain(TONE, rate=3999), "3999 Hz"),
    "too fast": (plain(TONE, rate=400_000), "400000 Hz"),
    "no bits": (plain(TONE, bits=0), "0 bits"),
    "64 bit integers": (plain(bytes(64), bits=64), "64 bits"),
    "half float": (plain(bytes(64), tag=3, bits=16), "16 bits.*float"),
}


def test_errors_name_the_file_and_the_cause(save: Callable[..., Path]) -> None:
    for kind, (content, cause) in WRONG.items():
        path = save(content, f"{kind}.wav")
        with pytest.raises(InvalidSound, match=f"{kind}.wav: .*{cause}"):
            read_wav(path, 8000)


def test_paths_that_are_not_readable_files(tmp_path: Path, save: Callable[..., Path]) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    cases = {
        tmp_path / "missing.wav": "No such file",
        tmp_path: "directory",
        save(plain(TONE)) / "below.wav": "Not a directory",
        pipe: "not a plain file",
        Path("/dev/null"): "not a plain file",
        tmp_path / "nul\0.wav": "NUL",
        save(b"", "empty.sln"): "no audio",
        tmp_path / ("x" * 300): "name too long",
    }
    for path, cause in cases.items():
        with pytest.raises(InvalidSound, match=cause) as caught:
            read_wav(path, 8000)
        assert path.name.replace("\0", "\\x00") in str(caught.value)


def test_too_large_files_and_results_are_rejected(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(plain(TONE))
    os.truncate(path, soundfile.MAX_SOUND_BYTES + 1)
    with pytest.raises(InvalidSound, match="200000001 bytes; at most 200000000"):
        read_wav(path, 8000)
    monkeypatch.setattr(soundfile, "MAX_SOUND_BYTES", len(TONE) + 44)
    path = save(plain(TONE))
    assert read_wav(path, 8000) == TONE
    with pytest.raises(InvalidSound, match="becomes 16000 bytes at 16000 Hz"):
        read_wav(path, 16000)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(EXACT)), st.integers(0, 120), st.integers(0, 255), st.integers(0, 200))
def test_a_damaged_header_is_read_or_rejected(
    tmp_path: Path, kind: str, position: int, value: int, length: int
) -> None:
    content = bytearray(EXACT[kind][:1500])
    content[position] = value
    path = tmp_path / "damaged.wav"
    path.write_bytes(content[: len(content) - length])
    try:
        assert read_wav(path, 8000)
    except InvalidSound as why:
        assert "damaged.wav: " in str(why)  # noqa: PT017


def test_a_file_of_the_wave_module_is_read(tmp_path: Path) -> None:
    path = tmp_path / "w.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(TONE)
    assert read_wav(path, 8000) == TONE
    assert wav_header(8000, 1, len(TONE)) + TONE == path.read_bytes()


def test_the_shipped_chime_is_the_output_of_its_script() -> None:
    root = Path(__file__).parents[2]
    made = np.frombuffer(runpy.run_path(str(root / "examples/make_chime.py"))["chime"](), "<i2").astype(int)
    shipped = read_wav(root / "audiosocket/apps/sounds/welcome.wav", 16000)
    # The last bit of math.sin may differ between C libraries.
    assert np.abs(np.frombuffer(shipped, "<i2") - made).max() <= 1
    assert -35 < level(shipped) < -15
