"""Recordings: files that are valid whenever the process dies, tracks that lie where they were heard."""

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
from array import array
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.media import stereo_alignment as timeline
from audiosocket.media.pcm import silence, tone
from audiosocket.media.resample import StreamConverter
from audiosocket.media.soundfile import read_wav
from audiosocket.media.stereo_alignment import StereoAligner
from audiosocket.media.wav import wav_header
from audiosocket.media.wav_writer import MAX_DATA_BYTES, StereoWavWriter, open_recording

ROOT = Path(__file__).parents[2]


def read(path: Path) -> bytes:
    """What the standard library finds in it, which believes the header."""
    with wave.open(str(path)) as source:
        assert (source.getnchannels(), source.getsampwidth()) == (2, 2)
        return source.readframes(source.getnframes())


def numbered(first: int, count: int) -> bytes:
    """Frames that say which they are: left counts up, right down."""
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


def test_only_the_owner_may_read(recording: StereoWavWriter) -> None:
    assert stat.S_IMODE(recording.path.stat().st_mode) == 0o600


def test_nothing_is_overwritten_and_no_link_followed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"mine")
    (tmp_path / "a-2.wav").symlink_to(tmp_path / "elsewhere")
    wav = open_recording(tmp_path, "a", 16000)
    wav.close()
    assert wav.path == tmp_path / "a-3.wav"
    assert (tmp_path / "a.wav").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(FileExistsError):
        StereoWavWriter(tmp_path / "a-2.wav", 16000)


def test_the_directory_is_made(tmp_path: Path) -> None:
    wav = open_recording(tmp_path / "2026" / "01", "call", 8000)
    wav.close()
    assert read(tmp_path / "2026/01/call.wav") == b""


def test_a_stem_is_a_name_and_not_a_path(tmp_path: Path) -> None:
    for stem in ("", ".", "..", "../x", "a/b", "/x", "x\0y", ".hidden"):
        with pytest.raises(ValueError, match="not a file name"):
            open_recording(tmp_path, stem, 8000)
    assert not list(tmp_path.iterdir())


def test_a_missing_place_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        open_recording(tmp_path / "file", "call", 8000)


def test_half_a_frame_is_our_own_mistake(recording: StereoWavWriter) -> None:
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


def test_a_full_disk_leaves_what_there_was(recording: StereoWavWriter, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_cut_anywhere_it_is_still_a_wav(recording: StereoWavWriter, tmp_path: Path) -> None:
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


def test_killed_in_the_middle_it_is_a_wav(tmp_path: Path) -> None:
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


# StereoAligner

FRAME = 160


def ramp(first: int, count: int = FRAME) -> bytes:
    """Samples that count, never zero."""
    return array("h", (n % 32000 + 1 for n in range(first, first + count))).tobytes()


def channels(stereo: bytes) -> tuple[array[int], array[int]]:
    samples = array("h", stereo)
    return samples[0::2], samples[1::2]


def spans(track: array[int]) -> list[tuple[int, int]]:
    """Where there is sound: first sample and end of each piece."""
    found: list[tuple[int, int]] = []
    for position, value in enumerate(track):
        if value and found and found[-1][1] == position:
            found[-1] = (found[-1][0], position + 1)
        elif value:
            found.append((position, position + 1))
    return found


def played(arrivals: list[tuple[float, bytes]], end: float, every: int) -> tuple[array[int], array[int]]:
    """The whole recording when the caller is heard like that and it is taken every so many ms."""
    line, stereo, taken = StereoAligner(8000, StreamConverter), b"", 0
    for now, pcm in arrivals:
        while taken + every < now:
            taken += every
            stereo += line.take(taken)
        line.hear(now, pcm, 8000)
    return channels(stereo + line.take(end, final=True))


def regular(count: int, start: float = 20.0, first: int = 0) -> list[tuple[float, bytes]]:
    return [(start + n * 20, ramp(first + n * FRAME)) for n in range(count)]


#: How often the recording is taken, in ms; it must not matter.
EVERY = (20, 90, 1000, 1_000_000)


def test_a_steady_caller_lies_at_true_time() -> None:
    for every in EVERY:
        left, right = played(regular(100, start=520), 2600, every)
        assert spans(left) == [(4000, 4000 + 100 * FRAME)]
        assert len(left) == len(right) == 2600 * 8
        assert not any(right)


def test_jitter_of_40_ms_for_10_s_changes_no_sample() -> None:
    for every in EVERY:
        for seed in range(4):
            dice, now, arrivals = random.Random(seed), 0.0, []
            for due, pcm in regular(500, start=220):
                now = max(now, due + dice.uniform(-40, 40))
                arrivals.append((now, pcm))
            left, _ = played(arrivals, 10_400, every)
            ((first, end),) = spans(left)
            assert left[first:end].tobytes() == ramp(0, 500 * FRAME)
            assert abs(first - 1600) <= 40 * 8


def test_a_late_last_frame_of_a_jittery_caller_is_no_pause() -> None:
    for every in EVERY:
        now, arrivals = 0.0, []
        for n, (due, pcm) in enumerate(regular(100, start=220)):
            now = max(now, due + (40 if n % 10 == 9 else -40))
            arrivals.append((now, pcm))
        left, _ = played(arrivals, 3000, every)
        assert spans(left) == [(1600 - 320, 1600 - 320 + 100 * FRAME)]


def test_a_pause_of_a_second_is_a_second() -> None:
    for every, jitter in product(EVERY, (0, 8)):
        dice, now, arrivals = random.Random(7), 0.0, []
        for due, pcm in regular(50) + regular(50, start=2020, first=50 * FRAME):
            now = max(now, due + dice.uniform(-jitter, jitter))
            arrivals.append((now, pcm))
        left, _ = played(arrivals, 3100, every)
        (_, end), (start, _) = spans(left)
        assert (start - end) / 8 == pytest.approx(1000, abs=20 if jitter else 0)
        assert array("h", (value for value in left if value)).tobytes() == ramp(0, 100 * FRAME)


def test_a_short_stall_that_is_made_up_for_leaves_no_trace() -> None:
    for every in EVERY:
        late = [(1180.0 if 1000 <= now < 1180 else now, pcm) for now, pcm in regular(100)]
        left, _ = played(late, 2100, every)
        assert spans(left) == [(0, 100 * FRAME)]


def test_a_stall_longer_than_the_settle_time_loses_nothing() -> None:
    late = [(1500.0 if 1000 <= now < 1500 else now, pcm) for now, pcm in regular(100)]
    left, _ = played(late, 2100, 20)
    (_, end), (start, _) = spans(left)
    assert end == 980 * 8
    assert start == 1280 * 8  # up to here it had been given out when the burst came
    assert array("h", (value for value in left if value)).tobytes() == ramp(0, 100 * FRAME)


def test_what_looked_like_a_pause_and_was_a_stall_costs_only_what_was_given_out() -> None:
    """One frame comes 150 ms late and alone; the rest, which shows that the caller never paused, later."""
    frames = [pcm for _, pcm in regular(100)]
    line = StereoAligner(8000, StreamConverter)
    for n in range(50):
        line.hear(n * 20 + 20, frames[n], 8000)
    line.hear(1170, frames[50], 8000)
    stereo = line.take(1210)
    for n in range(51, 61):
        line.hear(1220, frames[n], 8000)
    for n in range(61, 100):
        line.hear(n * 20 + 20, frames[n], 8000)
    left, _ = channels(stereo + line.take(2010, final=True))
    assert spans(left) == [(0, 50 * FRAME), (1010 * 8, 2010 * 8)]


def test_gaps_up_to_60_ms_are_jitter() -> None:
    for every, (gap, kept) in product(EVERY, ((50, 0), (61, 61), (100, 100), (2000, 2000))):
        arrivals = regular(50) + regular(50, start=1020 + gap, first=50 * FRAME)
        left, _ = played(arrivals, 5000, every)
        pieces = spans(left)
        assert sum(b[0] - a[1] for a, b in pairwise(pieces)) == kept * 8


def test_a_burst_is_appended() -> None:
    """Half a second handed over at once, as an app may do that says something."""
    burst = [(100.0, ramp(n * FRAME)) for n in range(25)]
    left, _ = played(burst, 200, 20)
    assert spans(left) == [(0, 25 * FRAME)]
    assert len(left) == 25 * FRAME


def test_both_channels_are_independent_and_equally_long() -> None:
    line, stereo = StereoAligner(8000, StreamConverter), b""
    for n in range(1, 101):
        if n <= 50:
            line.hear(n * 20, ramp(0), 8000)
        if n > 40:
            line.say(n * 20, ramp(5), 8000)
        stereo += line.take(n * 20)
    assert len(stereo) == 1800 * 8 * 4
    left, right = channels(stereo + line.take(2040, final=True))
    assert spans(left) == [(0, 8000)]
    assert spans(right) == [(6400, 16000)]
    assert len(left) == len(right) == 2040 * 8


def test_an_empty_call_is_silence() -> None:
    line = StereoAligner(8000, StreamConverter, start_ms=5000)
    assert line.take(5100) == b""
    assert line.take(5300) == bytes(100 * 8 * 4)
    assert line.take(5250) == b""
    assert line.take(5300, final=True) == bytes(200 * 8 * 4)
    assert StereoAligner(8000, StreamConverter).take(0, final=True) == b""


def test_the_clock_may_start_anywhere() -> None:
    line = StereoAligner(8000, StreamConverter, start_ms=123_456.5)
    line.hear(123_556.5, ramp(0), 8000)
    left, _ = channels(line.take(123_600, final=True))
    assert spans(left) == [(640, 800)]


@pytest.mark.parametrize("rate", [12_000, 16_000, 44_100, 192_000])
def test_other_rates_are_converted_without_a_seam(rate: int) -> None:
    line, size = StereoAligner(8000, StreamConverter), rate // 50 * 2
    pcm = tone(rate, 1000, 1000)
    stereo = b""
    for n in range(50):
        line.hear(520 + n * 20, pcm[n * size : n * size + size], rate)
        stereo += line.take(520 + n * 20)
    left, right = channels(stereo + line.take(2000, final=True))
    assert len(left) == len(right) == 16_000
    assert not any(left[:4000])
    assert not any(left[12_000:])
    expected = array("h", tone(8000, 1000, 1000))
    worst = max(abs(a - b) for a, b in zip(left[4100:11_900], expected[100:7900], strict=True))
    assert worst <= 2


def test_a_leg_that_changes_its_rate_and_pauses_stays_at_true_time() -> None:
    line, rates = StereoAligner(8000, StreamConverter), (8000, 16_000, 8000, 44_100, 16_000)
    for second, rate in enumerate(rates):
        block = array("h", [9000]) * (rate // 50)
        for n in range(25):
            line.hear(second * 1000 + n * 20 + 20, block.tobytes(), rate)
    left, _ = channels(line.take(5000, final=True))
    assert len(left) == 40_000
    for second in range(5):
        assert set(left[second * 8000 + 100 : second * 8000 + 3900]) == {9000}
        assert not any(left[second * 8000 + 4000 : second * 8000 + 8000])


def test_a_flood_is_bounded() -> None:
    line = StereoAligner(8000, StreamConverter)
    for _ in range(3000):
        line.hear(10, silence(8000, 20), 8000)
    assert line.dropped_ms == pytest.approx(60_000 - timeline.MAX_AHEAD_MS, abs=20)
    assert len(line.take(20, final=True)) == pytest.approx(timeline.MAX_AHEAD_MS * 8 * 4, abs=160 * 4)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 400), st.integers(0, 400), st.sampled_from([8000, 16_000, 24_000]), st.booleans()),
        max_size=40,
    )
)
def test_whatever_comes_the_channels_stay_equal_and_final(
    steps: list[tuple[float, int, int, bool]],
) -> None:
    line, now, taken, spoken = StereoAligner(8000, StreamConverter), 0.0, 0, {True: 0.0, False: 0.0}
    for wait, samples, rate, heard in steps:
        now += wait
        (line.hear if heard else line.say)(now, bytes(samples * 2), rate)
        spoken[heard] += samples * 8000 / rate
        piece = line.take(now)
        taken += len(piece) // 4
        assert len(piece) % 4 == 0
        assert taken == max(0, round(now * 8) - 1600) or not piece
    taken += len(line.take(now, final=True)) // 4
    assert taken >= max(round(now * 8), int(max(spoken.values())) - len(steps))
    assert line.take(now, final=True) == b""


def test_a_recorded_call_is_a_sound_again(tmp_path: Path) -> None:
    wav, line = open_recording(tmp_path, "call", 8000), StereoAligner(8000, StreamConverter)
    for n in range(100):
        line.hear(n * 20 + 20, tone(8000, 400, 20), 8000)
        line.say(n * 20 + 20, tone(8000, 400, 20), 8000)
        wav.append(line.take(n * 20 + 20))
    wav.append(line.take(2000, final=True))
    wav.close()
    assert read_wav(wav.path, 8000) == tone(8000, 400, 20) * 100
