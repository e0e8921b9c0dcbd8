"""One call journal per worker; journals of a start with another number of workers are distributed again."""

from __future__ import annotations

import fcntl
import os
import re
from collections import defaultdict
from pathlib import Path

from twisted.logger import Logger

from audiosocket.calls import journal
from audiosocket.calls.journal_records import DAMAGED, call_of
from audiosocket.workers.affinity import owner

_NAME = re.compile(r"calls(\.\d+of\d+)?\.journal")
log = Logger()


def name(index: int, workers: int) -> str:
    """Return the file name of one worker's journal; a single process uses that of the ``calls`` package."""
    return journal.FILE_NAME if workers == 1 else f"calls.{index}of{workers}.journal"


def redistribute(directory: Path, workers: int) -> None:
    """Move the calls in journals of another number of workers to the workers that own them. Blocking.

    To be called before any worker opens its journal. A journal that cannot be read or moved stays, and is logged.
    """
    ours = {name(index, workers) for index in range(workers)}
    for path in sorted(directory.glob("calls*.journal")):
        if _NAME.fullmatch(path.name) and path.name not in ours:
            try:
                _distribute(path, workers)
            except BlockingIOError:
                _report(path, "another process has it open; give each process its own DATA_DIR")
            except OSError as error:
                _report(path, str(error.strerror))


def _report(path: Path, why: str) -> None:
    log.error("the calls in {path} cannot be restored: {why}", path=str(path), why=why)


def _distribute(path: Path, workers: int) -> None:
    with path.open("rb") as old:
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shares: defaultdict[int, list[bytes]] = defaultdict(list)
        for line in old.read(journal.MAX_BYTES).split(b"\n"):
            try:
                shares[owner(call_of(line), workers)].append(line)
            except DAMAGED:
                continue  # the reader of the journal skips such a line, too
        for index, lines in shares.items():
            with open(path.parent / name(index, workers), "ab", opener=_private) as new:
                new.write(b"\n".join([b"", *lines, b""]))  # the last line there may be incomplete
        path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
