"""The audit file: appended, whole lines, read from its end."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from audiosocket.gate import audit as module
from audiosocket.gate.audit import AuditFile


def line(number: int) -> dict[str, Any]:
    return {"at": f"2026-01-31T10:{number // 60:02}:{number % 60:02}.000Z", "call_id": str(number), "é": "ã" * 50}


def at(number: int) -> datetime:
    return datetime(2026, 1, 31, 10, number // 60, number % 60, tzinfo=timezone.utc)


@pytest.fixture
def file(tmp_path: Path) -> AuditFile:
    written = AuditFile(tmp_path / "audit.jsonl")
    for number in range(300):
        written.append(line(number))
    return written


def ids(lines: list[dict[str, Any]]) -> list[int]:
    return [int(one["call_id"]) for one in lines]


def test_the_last_lines(file: AuditFile) -> None:
    assert ids(file.read(None, 3)) == [297, 298, 299]
    assert file.read(None, 1000)[0] == line(0)
    assert len(file.read(None, 1000)) == 300


def test_the_first_lines_since_a_time(file: AuditFile) -> None:
    assert ids(file.read(at(100), 3)) == [100, 101, 102]
    assert ids(file.read(at(298), 10)) == [298, 299]
    assert file.read(at(300), 10) == []


def test_blocks_may_cut_lines_anywhere(file: AuditFile, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 7, 100, 1000):
        monkeypatch.setattr(module, "BLOCK_BYTES", size)
        assert ids(file.read(at(290), 100)) == list(range(290, 300))


def test_no_file_is_an_empty_one(tmp_path: Path) -> None:
    assert AuditFile(tmp_path / "none").read(None, 10) == []


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    file = AuditFile(path)
    file.append(line(1))
    with path.open("ab") as torn:
        torn.write(b'{"at": "2026')
    file.append(line(2))
    assert ids(file.read(None, 10)) == [1, 2]
    assert path.read_bytes().endswith(b"\n")


def test_what_is_there_is_not_written_twice(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.jsonl")
    file.append_once(line(1))
    file.append_once(line(2))
    file.append_once(line(1))
    assert ids(file.read(None, 10)) == [1, 2]


def test_lines_of_others_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("[1]\nnonsense\n" + json.dumps({"at": "yesterday", "call_id": "5"}) + "\n")
    assert ids(AuditFile(path).read(at(0), 10)) == [5]
