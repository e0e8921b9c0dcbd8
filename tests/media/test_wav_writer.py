"""`StereoWavWriter`: a file that is valid whenever the process dies."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiosocket.media.pcm import tone
from audiosocket.media.resample import StreamConverter
from audiosocket.media.soundfile import read_wav
from audiosocket.media.stereo_alignment import StereoAligner
from audiosocket.media.wav import wav_header
from audiosocket.media.wav_writer import MAX_DATA_BYTES, StereoWavWriter, open_recording

ROOT = Path(__file__).parents[2]


def read(path: Path) -> bytes:
    """Return the samples as the standard library reads them, which relies on the header."""
    with wave.open(str(path)) as source:
        assert (source.getnchannels(), source.getsampwidth()) == (2, 2)
        frames: bytes = source.readframes(source.getnframes())
        return frames


def numbered(first: int, count: int) -> bytes:
    """Return numbered frames: left counts up, right down."""
    return b"".join(struct.pack("<hh", n % 32768, -(n % 32768)) for n in range(first, first + count))


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[StereoWavWriter]:
    wav = StereoWavWriter(tmp_path / "call.wav", 8000)
    yield wav
    wav.close()


def test_the_file_is_valid_after_each_step(recording: StereoWavWriter) -> None:
    assert read(recording.path) == b""
    for n in range(5):
        recording.append(numbered(n * 160, 160))
        assert read(recording.path) == numbered(0, n * 160 + 160)
        assert recording.duration_ms == (n + 1) * 20
    assert not recording.closed
    recording.close()
    recording.close()
    assert recording.closed
    assert recording.path.read_bytes() == wav_header(8000, 2, 3200) + numbered(0, 800)
    with pytest.raises(OSError, match="Bad file descriptor"):
        recording.append(numbered(0, 1))


def test_only_the_owner_can_read_it(recording: StereoWavWriter) -> None:
    assert stat.S_IMODE(recording.path.stat().st_mode) == 0o600


def test_no_file_is_overwritten_and_no_link_followed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"mine")
    (tmp_path / "a-2.wav").symlink_to(tmp_path / "elsewhere")
    wav = open_recording(tmp_path, "a", 16000)
    wav.close()
    assert wav.path == tmp_path / "a-3.wav"
    assert (tmp_path / "a.wav").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(FileExistsError):
        StereoWavWriter(tmp_path / "a-2.wav", 16000)


def test_the_directory_is_created(tmp_path: Path) -> None:
    wav = open_recording(tmp_path / "2026" / "01", "call", 8000)
    wav.close()
    assert read(tmp_path / "2026/01/call.wav") == b""


def test_a_stem_is_a_name_and_not_a_path(tmp_path: Path) -> None:
    for stem in ("", ".", "..", "../x", "a/b", "/x", "x\0y", ".hidden"):
        with pytest.raises(ValueError, match="not a file name"):
            open_recording(tmp_path, stem, 8000)
    assert not list(tmp_path.iterdir())


def test_a_missing_directory_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        open_recording(tmp_path / "file", "call", 8000)


def test_an_incomplete_frame_is_a_value_error(recording: StereoWavWriter) -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        recording.append(b"12345")
    assert read(recording.path) == b""


def test_it_stops_at_the_limit(tmp_path: Path) -> None:
    wav = StereoWavWriter(tmp_path / "call.wav", 8000, limit_bytes=1002)
    wav.append(numbered(0, 200))
    assert not wav.full
    wav.append(numbered(200, 200))
    wav.append(numbered(400, 200))
    assert wav.full
    wav.close()
    assert read(wav.path) == numbered(0, 250)


def test_the_limit_fits_the_header() -> None:
    riff, data = struct.unpack("<4xI32xI", wav_header(8000, 2, MAX_DATA_BYTES))
    assert data == MAX_DATA_BYTES
    assert riff == data + 36
    with pytest.raises(struct.error):
        wav_header(8000, 2, 0x1_0000_0000)


def test_a_full_disk_leaves_the_file_unchanged(
    recording: StereoWavWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.append(numbered(0, 100))
    pwrite, room = os.pwrite, [250]

    def nearly_full(descriptor: int, data: bytes, offset: int) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = pwrite(descriptor, data[: room[0]], offset)
        room[0] -= written
        return written

    monkeypatch.setattr(os, "pwrite", nearly_full)
    with pytest.raises(OSError, match="No space left"):
        recording.append(numbered(100, 100))
    assert read(recording.path) == numbered(0, 100)
    room[0] = 1_000_000
    recording.append(numbered(100, 100))
    assert read(recording.path) == numbered(0, 200)


def test_a_truncated_file_is_still_a_wav(recording: StereoWavWriter, tmp_path: Path) -> None:
    recording.append(numbered(0, 160))
    whole = recording.path.read_bytes()
    cut = tmp_path / "cut.wav"
    for end in [*range(44, 52), *range(100, len(whole), 97), len(whole) - 1]:
        cut.write_bytes(whole[:end])
        assert read(cut) == whole[44:end]


CHILD = """
import struct, sys
from pathlib import Path
from audiosocket.media.wav_writer import StereoWavWriter
wav, n = StereoWavWriter(Path(sys.argv[1]), 8000), 0
while True:
    wav.append(b"".join(struct.pack("<hh", k % 32768, -(k % 32768)) for k in range(n, n + 999)))
    n += 999
    print(n, flush=True)
"""


def test_the_file_of_a_killed_process_is_a_wav(tmp_path: Path) -> None:
    dice = random.Random(4)
    for attempt in range(8):
        path = tmp_path / f"{attempt}.wav"
        command = [sys.executable, "-c", CHILD, str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
            assert child.stdout is not None
            said = 0
            for _ in range(dice.randrange(1, 60)):
                said = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        frames = read(path)
        assert len(frames) // 4 >= said
        assert frames == numbered(0, len(frames) // 4)


def test_a_recorded_call_can_be_read_as_a_sound(tmp_path: Path) -> None:
    wav, aligner = open_recording(tmp_path, "call", 8000), StereoAligner(8000, StreamConverter)
    for n in range(100):
        aligner.add_received(n * 20 + 20, tone(8000, 400, 20), 8000)
        aligner.add_sent(n * 20 + 20, tone(8000, 400, 20), 8000)
        wav.append(aligner.take(n * 20 + 20))
    wav.append(aligner.take(2000, final=True))
    wav.close()
    assert read_wav(wav.path, 8000) == tone(8000, 400, 20) * 100


def test_a_file_that_was_written_before_goes_on_at_its_end(recording: StereoWavWriter) -> None:
    recording.append(numbered(0, 10))
    again = StereoWavWriter.reopen(recording.path)
    assert (again.rate, again.duration_ms) == (recording.rate, recording.duration_ms)
    again.append(numbered(10, 5))
    again.close()
    assert read(recording.path) == numbered(0, 15)


@pytest.mark.parametrize("content", [b"", b"RIFF", bytes(44), b"RIFF" + bytes(100)])
def test_another_file_is_not_gone_on_with(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no recording of this server"):
        StereoWavWriter.reopen(path)
    assert path.read_bytes() == content
