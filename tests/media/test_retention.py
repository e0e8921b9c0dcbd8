"""How long the files of a call are kept."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from audiosocket.media.retention import erase_expired, expired, files_of, keep_for

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
OTHER = UUID("40325ec2-5efd-4bd3-805f-53576e581d14")
NOW = datetime(2026, 1, 31, 10, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def recorded(directory: Path, call_id: UUID = CALL) -> list[Path]:
    names = [f"{call_id}.wav", f"{call_id}-resident.wav", f"{call_id}-2.wav", f"{call_id}-transcript.jsonl"]
    paths = [directory / name for name in names]
    for path in paths:
        path.write_bytes(b"RIFF")
    return paths


def test_files_go_when_their_time_is_over(tmp_path: Path) -> None:
    paths = recorded(tmp_path)
    others = recorded(tmp_path, OTHER)
    keep_for(tmp_path, CALL, 30, NOW)
    keep_for(tmp_path, OTHER, 31, NOW)
    assert list(expired(tmp_path, NOW + 29 * DAY)) == []
    assert erase_expired(tmp_path, NOW + 29 * DAY) == 0
    assert erase_expired(tmp_path, NOW + 30 * DAY) == len(paths) + 1
    assert files_of(tmp_path, CALL) == []
    assert len(files_of(tmp_path, OTHER)) == len(others) + 1


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    keep_for(tmp_path / "new", CALL, 1, NOW)
    (path,) = files_of(tmp_path / "new", CALL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_nobody_said_how_long_to_keep_stays(tmp_path: Path) -> None:
    paths = recorded(tmp_path)
    assert erase_expired(tmp_path, NOW + 10_000 * DAY) == 0
    assert all(path.exists() for path in paths)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"delete_after": 7}', '{"delete_after": "2026-01-01"}', "\xff"])
def test_what_cannot_be_read_is_left_alone(tmp_path: Path, text: str) -> None:
    recorded(tmp_path)
    (tmp_path / f"{CALL}.json").write_text(text, encoding="latin-1")
    (tmp_path / "ramais_config.json").write_text('{"delete_after": "2000-01-01T00:00:00Z"}')
    assert erase_expired(tmp_path, NOW) == 0


def test_only_files_of_that_very_call(tmp_path: Path) -> None:
    (tmp_path / f"{CALL}7.wav").write_bytes(b"")
    (tmp_path / f"{CALL}.d").mkdir()
    assert files_of(tmp_path, CALL) == []
    assert files_of(tmp_path / "none", CALL) == []
    assert list(expired(tmp_path / "none", NOW)) == []
