"""How many file descriptors are open, with and without the size of the directory that lists them."""

from __future__ import annotations

import errno
import os

import pytest

from audiosocket.transport import open_files


@pytest.mark.parametrize("has_size", [True, False])
def test_every_open_descriptor_is_counted(monkeypatch: pytest.MonkeyPatch, has_size: bool) -> None:
    if not has_size:  # as with Linux before 6.2
        monkeypatch.setattr(os, "stat", lambda path: os.stat_result([0] * 10))
    before = open_files.used()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    try:
        assert open_files.used() == before + len(opened)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_without_a_descriptor_to_count_with_all_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(path: str) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "stat", lambda path: os.stat_result([0] * 10))
    monkeypatch.setattr(os, "listdir", none)
    assert open_files.used() == open_files.limit()
