"""One journal per worker, and what becomes of the journals of another number of workers."""

from __future__ import annotations

import fcntl
from pathlib import Path
from uuid import UUID, uuid4

from audiosocket.workers.affinity import owner
from audiosocket.workers.journal_sharding import name, redistribute


def line(call_id: UUID, more: str = "") -> str:
    return f'{{"wall":1.0,"kind":"event","call":"{call_id}","more":"{more}"}}'


def test_journals_of_another_number_of_workers_are_redistributed(tmp_path: Path) -> None:
    ids = [uuid4() for _ in range(40)]
    lines = [line(call_id, more) for call_id in ids for more in ("first", "second")]
    (tmp_path / "calls.journal").write_text("\n".join([*lines, "[" * 100_000, "incomplete {"]))
    (tmp_path / "calls.journal.bak").write_text("another file")
    redistribute(tmp_path, 3)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"calls.0of3.journal", "calls.1of3.journal", "calls.2of3.journal", "calls.journal.bak"}
    for index in range(3):
        kept = [one for one in (tmp_path / name(index, 3)).read_text().split("\n") if one]
        assert kept == [one for one in lines if owner(UUID(one.split('"')[9]), 3) == index]
    redistribute(tmp_path, 1)
    assert {path.name for path in tmp_path.iterdir()} == {"calls.journal", "calls.journal.bak"}
    assert sorted(one for one in (tmp_path / "calls.journal").read_text().split("\n") if one) == sorted(lines)


def test_a_journal_that_another_process_has_open_stays(tmp_path: Path) -> None:
    path = tmp_path / "calls.1of2.journal"
    path.write_text(line(uuid4()))
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        redistribute(tmp_path, 1)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
