"""The record app: one stereo WAV per leg, caller left, server right, at true time, whatever the disk does."""

from __future__ import annotations

import errno
import json
import os
import tracemalloc
import wave
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from audiosocket.apps import record
from audiosocket.apps.echo import Echo
from audiosocket.apps.record import Record
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallPolicy
from audiosocket.media.wav_writer import StereoWavWriter, open_recording
from audiosocket.settings import Settings
from tests.support.fake_leg import CALL, FakeLeg, ManualThread, app_context
from tests.support.logged_failures import LoggedFailures

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def talk(turn: int) -> bytes:
    """Return frames that all differ."""
    return (turn + 1).to_bytes(2, "little") * 160


class Rig:
    """A record app with an echo beside it, so that there is no beep, on one leg."""

    def __init__(self, tmp_path: Path, *, held: bool = False, spec: str = "record+echo") -> None:
        self.directory = tmp_path / "recordings"
        self.clock = Clock()
        self.thread = ManualThread(held=held)
        values = {"RECORD_DIR": str(self.directory), "VISITOR_APP": spec, "RESIDENT_APP": spec}
        self.context = app_context(self.clock, values, thread=self.thread)
        self.app = Record(self.context)
        self.leg = self.new_leg(Role.VISITOR)

    def new_leg(self, role: Role) -> FakeLeg:
        echo = (Echo(self.context),) if "echo" in self.context.settings.visitor_app else ()
        return FakeLeg(self.clock, self.app, *echo, role=role)

    def start(self) -> FakeLeg:
        self.leg.join()
        return self.leg

    @property
    def path(self) -> Path:
        return self.directory / f"{CALL}.wav"


def read(path: Path) -> tuple[array[int], array[int], int]:
    """Left, right and rate."""
    with wave.open(str(path), "rb") as source:
        assert (source.getnchannels(), source.getsampwidth()) == (2, 2)
        both = array("h", source.readframes(source.getnframes()))
        assert len(both) == 2 * source.getnframes()
        return both[::2], both[1::2], source.getframerate()


def events(leg: FakeLeg) -> list[str]:
    return [event for event, _ in leg.notes]


def errors(captured: Sequence[dict[str, Any]]) -> list[str]:
    return [formatEvent(event) for event in captured if event["log_level"].name == "error"]


def without_silence(samples: array[int]) -> list[int]:
    """The samples that are not zero, runs of equal ones as one."""
    runs = [value for n, value in enumerate(samples) if n == 0 or samples[n - 1] != value]
    return [value for value in runs if value]


class TestFile:
    def test_has_the_caller_left_and_what_was_really_sent_right(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(500, talk)
        leg.play(b"\x88\x13" * 1600)
        leg.run(1500, lambda turn: talk(turn + 25))
        leg.end()
        left, right, rate = read(rig.path)
        assert rate == 8000
        assert without_silence(left) == list(range(1, 101))
        sent = [array("h", frame.pcm)[0] for _, frame in leg.sent]
        assert 5000 in without_silence(right)
        assert without_silence(right) == [v for n, v in enumerate(sent) if v and (n == 0 or sent[n - 1] != v)]

    def test_has_everything_at_its_time(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(1000)
        leg.run(500, talk)
        leg.run(1000)
        leg.play(b"\x88\x13" * 4000)
        leg.run(2000)
        leg.end()
        left, right, _ = read(rig.path)
        assert abs(next(n for n, v in enumerate(left) if v) / 8 - 1000) <= 20
        assert abs(list(right).index(5000) / 8 - 2500) <= 20
        assert abs(len(left) / 8 - 4500) <= 40

    def test_has_the_callers_rate(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(1000, lambda turn: b"\x07\x00" * 320, rate=16_000)
        leg.end()
        left, _, rate = read(rig.path)
        assert rate == 16_000
        assert abs(len(left) / 16 - 1000) <= 20

    def test_keeps_its_rate_when_the_callers_changes(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(1000, talk)
        leg.run(1000, lambda turn: b"\xd0\x07" * 320, rate=16_000)
        leg.end()
        left, _, rate = read(rig.path)
        assert rate == 8000
        assert abs(len(left) / 8 - 2000) <= 20
        assert set(left[9000:15_000]) == {2000}

    def test_of_each_leg_has_its_own_name(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        visitor, resident = rig.start(), rig.new_leg(Role.RESIDENT)
        resident.join()
        for _ in range(50):
            visitor.run(20, lambda turn: talk(10))
            resident.receive(talk(20))
        visitor.end()
        resident.end()
        assert {path.name for path in rig.directory.iterdir()} == {f"{CALL}.wav", f"{CALL}-resident.wav"}
        assert without_silence(read(rig.path)[0]) == [11]
        assert without_silence(read(rig.directory / f"{CALL}-resident.wav")[0]) == [21]

    def test_of_a_leg_that_joined_again_is_another_one(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        rig.start().run(500, talk)
        rig.leg.end()
        again = rig.new_leg(Role.VISITOR)
        again.resume()
        again.run(500, talk)
        again.end()
        assert {path.name for path in rig.directory.iterdir()} == {f"{CALL}.wav", f"{CALL}-2.wav"}

    def test_continues_when_the_leg_resumes_with_the_gap_as_silence(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(1000, talk)
        rig.clock.advance(2)
        leg.resume()
        leg.run(1000, talk)
        leg.end()
        left, _, _ = read(rig.path)
        assert abs(len(left) / 8 - 4000) <= 20
        assert set(left[9000:23_000]) == {0}
        assert without_silence(left) == [*range(1, 51), *range(1, 51)]

    def test_is_short_for_a_leg_that_ends_at_once(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        rig.start().end()
        assert len(read(rig.path)[0]) == 0
        assert events(rig.leg) == ["recording.started", "recording.ended"]

    def test_is_in_the_data_directory_by_default(self, tmp_path: Path) -> None:
        settings = Settings.parse({"DATA_DIR": str(tmp_path)})
        assert record.record_directory(settings) == tmp_path / "recordings"

    def test_at_its_largest_size_ends_the_recording_and_not_the_call(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def small(directory: Path, stem: str, rate: int) -> StereoWavWriter:
            directory.mkdir(exist_ok=True)
            return StereoWavWriter(directory / f"{stem}.wav", rate, limit_bytes=50_000)

        monkeypatch.setattr(record, "open_recording", small)
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(5000, talk)
        assert leg.outcome is None
        assert leg.notes[-1] == ("recording.ended", {"file": str(rig.path), "seconds": 1.562})
        assert len(read(rig.path)[0]) == 12_500
        leg.end()
        assert len(leg.notes) == 2


class TestWriting:
    def test_leaves_a_valid_file_behind_at_every_moment(self, tmp_path: Path) -> None:
        """Killed here, the process would have lost little more than a second."""
        rig = Rig(tmp_path)
        leg = rig.start()
        for turn in range(250):
            leg.run(20, talk)
            if turn >= 5:
                assert len(read(rig.path)[0]) / 8 >= 20 * turn - 1300

    def test_uses_the_file_thread_once_a_second(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        jobs: list[Any] = []

        def counting(*job: Any, **more: Any) -> Any:
            jobs.append(job)
            return ManualThread()(*job, **more)

        leg = FakeLeg(rig.clock, Record(replace(rig.context, in_file_thread=counting)))
        leg.join()
        leg.run(10_000, talk)
        assert 10 <= len(jobs) <= 11

    def test_waits_for_one_write_before_the_next(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path, held=True)
        leg = rig.start()
        leg.run(5000, talk)
        assert len(rig.thread.jobs) == 1
        rig.thread.run()
        leg.run(20, lambda turn: talk(250))
        assert len(rig.thread.jobs) == 1
        rig.thread.run()
        leg.end()
        rig.thread.run()
        assert without_silence(read(rig.path)[0]) == list(range(1, 252))

    def test_ends_after_a_write_under_way(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path, held=True)
        leg = rig.start()
        leg.run(1500, talk)
        leg.end("shutdown")
        assert len(rig.thread.jobs) == 2
        assert events(leg) == []
        rig.thread.run()
        assert without_silence(read(rig.path)[0]) == list(range(1, 76))
        assert leg.notes == [
            ("recording.started", {"file": str(rig.path)}),
            ("recording.ended", {"file": str(rig.path), "seconds": 1.5}),
        ]

    def test_notes_when_the_file_is_open_and_when_it_is_closed(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(200, talk)
        assert leg.notes == [("recording.started", {"file": str(rig.path)})]
        leg.run(2800, talk)
        leg.end()
        ((event, fields),) = leg.notes[1:]
        assert (event, fields["file"]) == ("recording.ended", str(rig.path))
        assert abs(fields["seconds"] - 3) <= 0.02


class TestMemory:
    @pytest.mark.parametrize("pcm", [b"\x11\x22", bytes(65_000)], ids=["one-sample frames", "large frames"])
    def test_of_a_caller_far_faster_than_any_telephone_is_bounded_and_given_back(
        self, tmp_path: Path, pcm: bytes
    ) -> None:
        rig = Rig(tmp_path, held=True, spec="play+record")
        leg = rig.start()
        tracemalloc.start()
        try:
            for _ in range(200):
                for _ in range(100):
                    # a copy: what is received is new each time
                    leg.receive(bytes(bytearray(pcm)), 8_000)
                rig.clock.advance(0.02)
            held, peak = tracemalloc.get_traced_memory()
            assert max(held, peak) < 2_000_000
            leg.end()
            rig.thread.run()
            assert tracemalloc.get_traced_memory()[0] < 500_000
        finally:
            tracemalloc.stop()
        assert events(leg)[-1] == "recording.ended"

    def test_is_enough_for_a_caller_whose_audio_comes_at_once_after_a_stall(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path, spec="play+record")
        leg = rig.start()
        leg.run(1_000, talk)
        rig.clock.advance(25)
        for turn in range(1_250):
            leg.receive(talk(turn % 100), 8_000)
        leg.end()
        assert len(without_silence(read(rig.path)[0])) >= 1_250


class TestFailing:
    @pytest.fixture
    def disk(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Fills the disk after so many more writes."""

        def fill(after: int) -> None:
            write, left = os.pwrite, [after]

            def pwrite(descriptor: int, data: bytes, offset: int) -> int:
                left[0] -= 1
                if left[0] < 0:
                    raise FULL
                return write(descriptor, data, offset)

            monkeypatch.setattr(os, "pwrite", pwrite)

        return fill

    def test_on_a_full_disk_ends_the_recording_and_not_the_call(
        self, tmp_path: Path, disk: Callable[[int], None]
    ) -> None:
        rig = Rig(tmp_path)
        leg = rig.start()
        with capturedLogs() as captured:
            leg.run(2000, talk)
            disk(0)
            leg.run(8000, talk)
            rig.thread.held = True
            leg.run(2000, talk)
        assert len(rig.thread.jobs) == 0
        assert leg.outcome is None
        assert leg.sources()[-50:] == ["passed"] * 50
        assert errors(captured) == []  # the server's line of the event says it
        leg.end()
        assert leg.notes[1:] == [("recording.failed", {"reason": "No space left on device"})]
        assert len(read(rig.path)[0]) / 8 >= 800

    def test_with_the_last_write_is_noted_once(self, tmp_path: Path, disk: Callable[[int], None]) -> None:
        rig = Rig(tmp_path, held=True)
        leg = rig.start()
        leg.run(2000, talk)
        leg.end()
        disk(0)
        with capturedLogs() as captured:
            rig.thread.run()
        assert errors(captured) == []
        assert events(leg) == ["recording.failed"]

    def test_in_a_directory_that_cannot_be_created_ends_the_recording_only(self, tmp_path: Path) -> None:
        (tmp_path / "recordings").write_text("in the way")
        rig = Rig(tmp_path)
        leg = rig.start()
        with capturedLogs() as captured:
            leg.run(5000, talk)
            leg.end()
        assert errors(captured) == []
        assert events(leg) == ["recording.failed"]

    def test_of_a_blocked_disk_bounds_the_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[StereoWavWriter] = []

        def opening(directory: Path, stem: str, rate: int) -> StereoWavWriter:
            opened.append(open_recording(directory, stem, rate))
            return opened[-1]

        monkeypatch.setattr(record, "open_recording", opening)
        rig = Rig(tmp_path, held=True)
        leg = rig.start()
        with capturedLogs() as captured:
            leg.run(90_000, talk)
        assert leg.outcome is None
        assert events(leg) == ["recording.failed"]
        assert errors(captured) == []
        assert len(rig.thread.jobs) == 2  # the write that hangs, and the close behind it
        rig.thread.run()
        assert events(leg) == ["recording.failed"]
        leg.end()
        assert len(rig.thread.jobs) == 0
        assert [wav.closed for wav in opened] == [True]

    def test_of_a_slow_and_full_disk_is_noted_once(self, tmp_path: Path, disk: Callable[[int], None]) -> None:
        """The write that hung fails, after the recording was given up for its slowness."""
        rig = Rig(tmp_path, held=True)
        leg = rig.start()
        leg.run(90_000, talk)
        disk(0)
        rig.thread.run()
        assert events(leg) == ["recording.failed"]

    def test_in_this_code_is_a_failure_in_the_log_and_does_not_end_the_call(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures
    ) -> None:
        def wrong(*job: Any) -> StereoWavWriter:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(record, "open_recording", wrong)
        rig = Rig(tmp_path)
        leg = rig.start()
        leg.run(3000, talk)
        leg.end()
        assert leg.notes == [("recording.failed", {"reason": "ZeroDivisionError: a bug"})]
        assert len(logged_failures.flush(ZeroDivisionError)) == 1


class TestBeep:
    def test_is_played_when_no_other_app_is_on_the_leg(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path, spec="record")
        leg = rig.start()
        leg.run(1000, talk)
        leg.end()
        assert leg.heard_ms == 250
        _, right, _ = read(rig.path)
        loud = [n / 8 for n, value in enumerate(right) if value]
        assert loud[0] < 50
        assert 200 < loud[-1] < 300

    def test_is_not_played_beside_other_apps(self, tmp_path: Path) -> None:
        leg = Rig(tmp_path, spec="record+echo").start()
        leg.run(1000, talk)
        leg.end()
        assert leg.heard_ms == 0


class TestCheck:
    def check(self, directory: Path) -> list[str]:
        return list(Record.check(Settings.parse({"RECORD_DIR": str(directory)})))

    def test_creates_the_directory(self, tmp_path: Path) -> None:
        assert self.check(tmp_path / "a" / "b") == []
        assert (tmp_path / "a" / "b").is_dir()

    def test_names_the_setting_and_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        (problem,) = self.check(tmp_path / "file" / "recordings")
        assert problem.startswith(f"RECORD_DIR: {tmp_path / 'file' / 'recordings'} ")

    def test_checks_as_the_user_it_runs_as(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root may write anywhere, so what the system would say to others is put in its mouth."""
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        (problem,) = self.check(tmp_path)
        assert "not writable" in problem


class TestPolicy:
    """``record = true`` in ``apps.toml``."""

    def record(self, tmp_path: Path, *chain: str) -> FakeLeg:
        clock = Clock()
        given = replace(
            app_context(clock, {"RECORD_DIR": str(tmp_path)}),
            policy=CallPolicy(record=True, retention_days=7),
            chains={Role.VISITOR: chain},
        )
        leg = FakeLeg(clock, Record(given))
        leg.join()
        leg.run(6_000, hearing=lambda turn: bytes(320))
        leg.hang_up()
        return leg

    def test_says_so_first_and_is_kept_for_some_days(self, tmp_path: Path) -> None:
        leg = self.record(tmp_path, "bridge")
        kept = json.loads((tmp_path / f"{leg.call_id}.json").read_text())
        left = datetime.fromisoformat(kept["delete_after"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
        assert timedelta(days=6) < left <= timedelta(days=7)
        assert (tmp_path / f"{leg.call_id}.wav").exists()
        assert any(leg.sent_pcm("spoken"))

    @pytest.mark.parametrize("app", ["porteiro", "twilio", "openai_realtime", "asterisk_ws"])
    def test_leaves_saying_so_to_apps_that_do(self, tmp_path: Path, app: str) -> None:
        assert not any(self.record(tmp_path, app, "record").sent_pcm("spoken"))
