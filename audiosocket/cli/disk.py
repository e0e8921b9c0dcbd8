"""Whether there is room where the server writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from audiosocket.cli.findings import Finding
from audiosocket.settings import Settings

#: Less free space than this is reported, in bytes: nothing can be relied on; it will not last.
BAD_BYTES, LOW_BYTES = 100 * 2**20, 2**30
#: Fewer free inodes than this are reported.
BAD_FILES = 1_000
_DIRECTORIES = ("data_dir", "log_dir", "record_dir")


def disk_findings(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each file system that the server writes to."""
    seen: set[int] = set()
    for name in _DIRECTORIES:
        given = getattr(settings, name)
        if not given:
            continue
        path = Path(given).expanduser().absolute()
        there = next(each for each in (path, *path.parents) if each.exists())
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            system = os.statvfs(there)
            files = system.f_favail if system.f_files else None
            yield of_space(f"{name.upper()} ({path})", system.f_bavail * system.f_frsize, files)


def of_space(where: str, free_bytes: int, free_files: int | None) -> Finding:
    """Return the finding for a file system; ``free_files`` is None where it has no limit of inodes."""
    free = f"{where}: {free_bytes / 2**30:.1f} GiB are free"
    if free_bytes < BAD_BYTES:
        return Finding("bad", free, "make room: journal, recordings and log cannot be written for long")
    if free_files is not None and free_files < BAD_FILES:
        return Finding("bad", f"{where}: {free_files} inodes are free", "remove files")
    if free_bytes < LOW_BYTES:
        return Finding("warn", free, "make room, or shorten retention_days and the rotation of the log")
    return Finding("ok", free)
