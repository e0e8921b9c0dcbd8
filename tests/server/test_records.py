"""Recordings and transcripts are removed once a day, and listed and erased through the API's control."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest
from twisted.internet.task import Clock

from audiosocket.apps.porteiro.directory_files import DirectoryFiles
from audiosocket.errors import SourceUnavailable
from audiosocket.gate.audit import AuditFile
from audiosocket.media.retention import keep_for
from audiosocket.server.records import EVERY_SECONDS, RecordControl, Retention
from audiosocket.testing.leg_double import ManualThread

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
START = datetime(2026, 1, 31, 10, tzinfo=timezone.utc)


def test_it_looks_once_a_day(tmp_path: Path) -> None:
    clock = Clock()
    service = Retention(tmp_path, clock, ManualThread(), lambda: START + timedelta(seconds=clock.seconds()))
    service.startService()
    path = tmp_path / f"{CALL}.wav"
    path.write_bytes(b"RIFF")
    keep_for(tmp_path, CALL, 2, START)
    clock.advance(61)
    for _ in range(2):
        assert path.exists()
        clock.advance(EVERY_SECONDS)
    assert list(tmp_path.iterdir()) == []
    service.stopService()
    assert clock.getDelayedCalls() == []


def control(directory: Path) -> RecordControl:
    apartments = DirectoryFiles(directory, lambda: (7,), Clock(), ManualThread())
    return RecordControl(
        apartments, AuditFile(directory / "audit.jsonl"), directory / "recordings", ManualThread()
    )


async def test_media_are_listed_and_erased(tmp_path: Path) -> None:
    directory = tmp_path / "recordings"
    records = control(tmp_path)
    assert await records.media(CALL) == []
    directory.mkdir()
    for name in (f"{CALL}.wav", f"{CALL}-resident.wav", "other.wav"):
        (directory / name).write_bytes(b"RIFF")
    keep_for(directory, CALL, 30, START)
    names = [one["name"] for one in await records.media(CALL)]
    assert names == [f"{CALL}-resident.wav", f"{CALL}.wav"]
    assert [one["name"] for one in await records.erase_media(CALL)] == names
    assert [path.name for path in directory.iterdir()] == ["other.wav"]


async def test_an_audit_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(SourceUnavailable, match="Is a directory"):
        await control(tmp_path).audit(None, 10)
