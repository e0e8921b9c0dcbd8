"""The lock on a journal file: one process writes it, and the next one notices when that process is gone."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def lock(path: Path) -> int:
    """Return the file, open and locked: two processes would overwrite each other's lines.

    Raises OSError, with the number EBUSY when another process has it.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise OSError(errno.EBUSY, "another process has it; give each its own DATA_DIR") from None
        except FileNotFoundError:
            os.close(handle)
            continue
        except OSError:
            os.close(handle)
            raise
        os.close(handle)  # it was replaced between opening and locking


def locked_by_others(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield those of these files that another process has locked; files that cannot be opened are left out."""
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            # A shared lock, so that two processes that look at the same time do not take each other for the owner.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield path
        except OSError:
            continue
        finally:
            os.close(handle)


def owner_of(path: Path) -> int | None:
    """Return the id of the process that has locked this file, None if the system does not tell (Linux does)."""
    try:
        inode = f":{path.stat().st_ino}"
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    # 1: FLOCK  ADVISORY  WRITE 1234 fd:01:567890 0 EOF
    for fields in map(str.split, lines):
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(inode) and fields[4].isdecimal():
            return int(fields[4]) or None
    return None
