"""`AppendedLogFile`: two processes lose no line of each other."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audiosocket.runtime.log_file import AppendedLogFile

Open = Callable[..., AppendedLogFile]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    files: list[AppendedLogFile] = []

    def open_log(**options: Any) -> AppendedLogFile:
        files.append(AppendedLogFile("a.log", str(tmp_path), **options))
        return files[-1]

    yield open_log
    for file in files:
        file.close()


def test_lines_of_two_processes_stay_whole(tmp_path: Path, opened: Open) -> None:
    old, new = opened(), opened()
    for n in range(100):
        old.write(f"old {n}\n")
        new.write(f"the new one {n}\n")
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert lines == [line for n in range(100) for line in (f"old {n}", f"the new one {n}")]


def test_no_line_is_lost_when_both_rotate(tmp_path: Path, opened: Open) -> None:
    old, new = (opened(rotateLength=1_000, maxRotatedFiles=20) for _ in range(2))
    for n in range(300):
        old.write(f"old {n:04}\n")
        new.write(f"new {n:04}\n")
    files = list(tmp_path.iterdir())
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert sorted(lines) == [f"new {n:04}" for n in range(300)] + [f"old {n:04}" for n in range(300)]
    assert len(files) > 2
    assert all(path.stat().st_size <= 2 * 1_009 for path in files), "each counts what it writes"


def test_what_is_there_at_the_start_counts(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "a.log").write_text("x" * 999 + "\n")
    opened(rotateLength=1_000, maxRotatedFiles=2).write("first\n")
    assert (tmp_path / "a.log").read_text() == "first\n"
    assert (tmp_path / "a.log.1").stat().st_size == 1_000


@pytest.mark.parametrize("failing", ["dup", "listdir", "open"])
def test_without_descriptors_the_log_goes_on_and_rotates_later(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def none(*arguments: object) -> int:
        raise OSError(24, "Too many open files")

    (tmp_path / "a.log.1").write_text("older\n")
    log = opened(rotateLength=100, maxRotatedFiles=5)
    with monkeypatch.context() as patched:
        patched.setattr(os, failing, none)
        for n in range(20):
            log.write(f"line {n:04}\n")
    log.write("the last one\n")
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    lines = "".join(texts.values()).splitlines()
    assert sorted(lines) == sorted(["older", "the last one", *[f"line {n:04}" for n in range(20)]])
    assert (tmp_path / "a.log").exists()


def test_a_line_that_a_full_disk_cuts_off_is_not_joined_with_the_next(tmp_path: Path, opened: Open) -> None:
    file = opened()
    file.write("first\n")
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, allowed[1]))  # the system takes four bytes more
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="too large"):
                file.write("second\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert file.trouble == "File too large"
    file.write("third\n")
    file.write("fourth\n")
    assert (tmp_path / "a.log").read_text().splitlines() == ["first", "seco", "third", "fourth"]
    assert not file.trouble
