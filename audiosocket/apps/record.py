"""The app record: both directions of a leg in one stereo WAV, caller left, server right, at true time.

The reactor only collects frames; about once a second they are passed to the file thread, which aligns, converts
and writes them, one batch at a time. So a slow disk delays no frame of any call, a killed process loses a second
of audio, and the memory of a recording is bounded: if the disk is too slow, the recording ends, not the call.

The file is named after the call, ``<call_id>.wav`` for the visitor's leg and ``<call_id>-resident.wav`` for the
resident's (``…-2.wav`` when that exists, because the leg joined before), and has the sample rate of the caller's
frames 100 ms after the leg began.

When `record` is the only app of a leg it begins with a short beep, as Asterisk's ``Record`` does, so that the
caller hears something. Beside other apps it plays nothing.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppContext, Leg
from audiosocket.media.lazy_imports import stream_converter
from audiosocket.media.pcm import tone
from audiosocket.media.retention import keep_for
from audiosocket.media.stereo_alignment import StereoAligner
from audiosocket.media.wav_writer import StereoWavWriter, open_recording
from audiosocket.prompts.notice import SAY_IT_THEMSELVES, RecordingNotice
from audiosocket.settings import Settings
from audiosocket.wire import SAMPLE_BYTES

#: The file is opened so many milliseconds after the leg began: then its rate is known.
FIRST_WRITE_MS = 100
WRITE_EVERY_MS = 1000
#: Audio that may wait for the file thread, in bytes: a minute at 8 kHz, 10 s at 48 kHz.
MAX_WAITING_BYTES = 2_000_000
#: As much is handed over before its time: a second of both directions at 48 kHz.
FULL_BYTES = 256_000
#: A caller's audio is recorded until it is this far ahead of real time, in milliseconds; and what comes at once
#: after a stall of this length, as far as the alignment of the directions takes it.
MAX_AHEAD_MS = 5_000
MAX_STALL_MS = 30_000
#: The shortest packet of a telephone, in milliseconds, with a margin: shorter ones count as much.
MIN_FRAME_MS = 5
#: What a frame needs in memory beside its samples, in bytes; half of them are of the caller's making.
FRAME_BYTES = 200
BEEP_RATE, BEEP_HZ, BEEP_MS, BEEP_DBFS = 8000, 1000, 250, -18.0


class _Frame(NamedTuple):
    """What a `Tap` receives."""

    now_ms: float
    pcm: bytes
    rate: int
    from_caller: bool


class _Written(NamedTuple):
    """The state of the file after a write."""

    path: Path
    seconds: float
    closed: bool


class _File:
    """The file of a recording, used in the file thread only: all methods block."""

    def __init__(
        self, directory: Path, stem: str, rate: int, start_ms: float, goes_on: Path | None = None
    ) -> None:
        self._directory = directory
        self._stem = stem
        self._rate = rate
        self._start_ms = start_ms
        #: The file of the previous process, until it is open.
        self._goes_on = goes_on
        self._timeline = StereoAligner(rate, stream_converter, start_ms)
        self._wav: StereoWavWriter | None = None
        self._broken = False

    def settle(self, frames: list[_Frame], now_ms: float) -> None:
        """Write all that there is, so that another process can go on with the file, or this one."""
        if self.write(frames, now_ms, final=False) is None or self._wav is None:
            return
        self._wav.append(self._timeline.take(now_ms, final=True))
        self._continue(self._wav)

    def _continue(self, wav: StereoWavWriter) -> None:
        """Begin a new timeline where the file ends."""
        self._wav = wav
        self._timeline = StereoAligner(wav.rate, stream_converter, self._start_ms + wav.duration_ms)

    def _open(self) -> StereoWavWriter:
        if self._wav is None and self._goes_on is not None:
            path, self._goes_on = self._goes_on, None
            self._continue(StereoWavWriter.reopen(path))
        if self._wav is None:
            self._wav = open_recording(self._directory, self._stem, self._rate)
        return self._wav

    def write(self, frames: list[_Frame], now_ms: float, final: bool) -> _Written | None:
        """Add both directions until ``now_ms``; return None when an earlier write has failed.

        Raises `OSError`, and closes the file then: it is valid up to the last write.
        """
        if self._broken:
            return None
        try:
            wav = self._open()
            for frame in frames:
                add = self._timeline.add_received if frame.from_caller else self._timeline.add_sent
                add(frame.now_ms, frame.pcm, frame.rate)
            wav.append(self._timeline.take(now_ms, final=final))
            if final or wav.full:
                wav.close()
        except Exception:
            self.close()
            raise
        return _Written(wav.path, wav.duration_ms / 1000, wav.closed)

    def close(self) -> None:
        """Close the file; write nothing more."""
        self._broken = True
        if self._wav is not None:
            self._wav.close()


class _Recording:
    """The recording of one leg, used in the reactor; implements `interfaces.Tap`."""

    _log = Logger()

    def __init__(
        self,
        leg: Leg,
        directory: Path,
        in_file_thread: Callable[..., Awaitable[Any]],
        goes_on: Mapping[str, Any] | None = None,
    ) -> None:
        self._leg = leg
        self._directory = directory
        self._in_file_thread = in_file_thread
        #: The steady time with which the file begins.
        self._start_ms = leg.now_ms if goes_on is None else float(goes_on["start_ms"])
        self._due_ms = leg.now_ms + FIRST_WRITE_MS
        self._frames: list[_Frame] = []
        self._waiting_bytes = 0
        #: The end of the caller's audio if all of it was sent at its pace, in milliseconds.
        self._received_to_ms = leg.now_ms
        self._file: _File | None = None
        self._path: Path | None = None
        self._writing = False
        self._started = goes_on is not None
        if goes_on is not None:
            self._path = Path(goes_on["file"])
            self._file = _File(directory, self._path.stem, leg.rate, self._start_ms, self._path)
        #: No more frames are recorded.
        self._closed = False
        #: The last event has been noted.
        self._ended = False

    def received(self, now_ms: float, pcm: bytes, rate: int) -> None:
        length = max(MIN_FRAME_MS, len(pcm) // SAMPLE_BYTES * 1000 / rate)
        end = max(self._received_to_ms, now_ms - MAX_STALL_MS) + length
        if end - now_ms <= MAX_AHEAD_MS:
            self._received_to_ms = end
            self._add(_Frame(now_ms, pcm, rate, True))

    def sent(self, now_ms: float, pcm: bytes, rate: int) -> None:
        self._add(_Frame(now_ms, pcm, rate, False))

    def finish(self, now_ms: float) -> None:
        """Write the rest after the write that may be under way, and close the file."""
        if not self._closed:
            self._closed = True
            self._hand_over(now_ms, final=True)

    def save(self) -> dict[str, Any] | None:
        """Have everything written, and return what the next process needs; None before the file is there."""
        if self._closed:
            return {"file": ""}
        if self._file is None or self._path is None:
            return None
        frames, self._frames = self._frames, []
        self._waiting_bytes = 0
        self._run(self._settle(self._file, frames, self._leg.now_ms))
        return {"file": str(self._path.absolute()), "start_ms": self._start_ms}

    async def _settle(self, file: _File, frames: list[_Frame], now_ms: float) -> None:
        try:
            await self._in_file_thread(file.settle, frames, now_ms)
        except OSError as error:
            self._fail(error.strerror or str(error))

    def _add(self, frame: _Frame) -> None:
        if self._closed:
            return
        self._frames.append(frame)
        self._waiting_bytes += len(frame.pcm) + FRAME_BYTES
        if frame.now_ms < self._due_ms and self._waiting_bytes <= FULL_BYTES:
            return
        if not self._writing:
            self._due_ms = frame.now_ms + WRITE_EVERY_MS
            self._hand_over(frame.now_ms)
        elif self._waiting_bytes > MAX_WAITING_BYTES:
            self._fail(f"the disk is too slow, {self._waiting_bytes} bytes wait for it")
            self._run(self._close())

    def _hand_over(self, now_ms: float, *, final: bool = False) -> None:
        frames, self._frames = self._frames, []
        self._waiting_bytes = 0
        if self._file is None:
            stem = f"{self._leg.call_id}" + ("-resident" if self._leg.role is Role.RESIDENT else "")
            self._file = _File(self._directory, stem, self._leg.rate, self._start_ms)
        self._writing = True
        self._run(self._write(self._file, frames, now_ms, final))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda why: self._log.failure("recording of {leg} failed", why, leg=self._leg)
        )

    async def _write(self, file: _File, frames: list[_Frame], now_ms: float, final: bool) -> None:
        try:
            written: _Written | None = await self._in_file_thread(file.write, frames, now_ms, final)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._writing = False
        if written is None or self._ended:
            return
        self._path = written.path
        if not self._started:
            self._started = True
            self._leg.note("recording.started", file=str(written.path))
        if written.closed:
            self._closed = self._ended = True
            self._frames.clear()
            self._leg.note("recording.ended", file=str(written.path), seconds=round(written.seconds, 3))

    async def _close(self) -> None:
        if self._file is not None:
            await self._in_file_thread(self._file.close)

    def _fail(self, reason: str) -> None:
        if self._ended:
            return
        self._closed = self._ended = True
        self._frames.clear()
        self._leg.note("recording.failed", reason=reason)


class Record(App):
    """Records the leg in ``RECORD_DIR`` until it ends; notes events ``recording.*``.

    With ``record = true`` in ``apps.toml`` it is on every leg of those calls, says so first, and its files are
    removed after ``retention_days``. ``recording.ended`` (or ``.failed``) may come after the end of the leg, when
    the file is closed.
    """

    _log = Logger()

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._recordings: dict[Role, _Recording] = {}

    @staticmethod
    def check(settings: Settings) -> Iterable[str]:
        """Return a problem when the directory cannot be created or is not writable."""
        directory = record_directory(settings)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            yield f"RECORD_DIR: {directory} cannot be created ({error.strerror or error}); nothing is recorded"
            return
        if not os.access(directory, os.W_OK | os.X_OK):
            yield f"RECORD_DIR: {directory} is not writable for this user; nothing is recorded"

    def joined(self, leg: Leg) -> None:
        directory = record_directory(self._context.settings)
        recording = self._recordings[leg.role] = _Recording(leg, directory, self._context.in_file_thread)
        leg.tap(recording)
        if self._context.policy.record:
            self._keep(leg, directory)
            self._say_notice(leg)
        elif self._is_alone(leg.role):
            leg.play(tone(BEEP_RATE, BEEP_HZ, BEEP_MS, BEEP_DBFS), BEEP_RATE)

    def resumed(self, leg: Leg) -> None:
        if leg.role not in self._recordings:
            self.joined(leg)

    def handed_over(self, leg: Leg) -> Any:
        recording = self._recordings.get(leg.role)
        return None if recording is None else recording.save()

    def taken_over(self, leg: Leg, state: Any) -> None:
        if state["file"]:
            directory = record_directory(self._context.settings)
            recording = _Recording(leg, directory, self._context.in_file_thread, state)
            self._recordings[leg.role] = recording
            leg.tap(recording)

    def left(self, leg: Leg, outcome: str) -> None:
        recording = self._recordings.pop(leg.role, None)
        if recording is not None:
            recording.finish(leg.now_ms)

    def _keep(self, leg: Leg, directory: Path) -> None:
        """Have what ``record = true`` of ``apps.toml`` records removed when ``retention_days`` are over."""
        days = self._context.policy.retention_days
        work = self._context.in_file_thread(keep_for, directory, leg.call_id, days, datetime.now(timezone.utc))
        Deferred.fromCoroutine(_awaited(work)).addErrback(
            lambda failure: self._log.failure("the recording of {leg} will not be removed", failure, leg=leg)
        )

    def _say_notice(self, leg: Leg) -> None:
        """Say that it is recorded, unless another app of this leg does."""
        if SAY_IT_THEMSELVES.isdisjoint(self._context.chains.get(leg.role, ())):
            RecordingNotice(leg, self._context).start()

    def _is_alone(self, role: Role) -> bool:
        settings = self._context.settings
        return "+" not in (settings.visitor_app if role is Role.VISITOR else settings.resident_app)


async def _awaited(work: Awaitable[Any]) -> None:
    await work


def record_directory(settings: Settings) -> Path:
    """Return the directory of recordings: ``RECORD_DIR``, or ``recordings`` in ``DATA_DIR``."""
    return (
        Path(settings.record_dir).expanduser() if settings.record_dir else Path(settings.data_dir) / "recordings"
    )
