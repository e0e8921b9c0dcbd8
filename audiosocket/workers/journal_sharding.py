"""One call journal per worker, and what to do with those of a start with another number of workers."""

from __future__ import annotations

import fcntl
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
    """The file of one worker; a single process has the one it always had."""
    return journal.FILE_NAME if workers == 1 else f"calls.{index}of{workers}.journal"


def rearrange(directory: Path, workers: int) -> None:
    """Give each worker the calls it owns, where another number of workers wrote them down. Blocking.

    To be called before any of them opens its journal. What cannot be read or written stays, and is logged.
    """
    ours = {name(index, workers) for index in range(workers)}
    for path in sorted(directory.glob("calls*.journal")):
        if _NAME.fullmatch(path.name) and path.name not in ours:
            trouble = _share_out(path, workers)
            if trouble:
                log.error("{path}: its calls cannot be taken over: {why}", path=str(path), why=trouble)


def _share_out(path: Path, workers: int) -> str:
    """What went wrong, or nothing."""
    try:
        _append(path, workers)
    except BlockingIOError:
        return "another process has it; give each its own DATA_DIR"
    except OSError as error:
        return str(error.strerror)
    return ""


def _append(path: Path, workers: int) -> None:
    with path.open("rb") as old:
        fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shares: defaultdict[int, list[bytes]] = defaultdict(list)
        for line in old.read(journal.MAX_BYTES).split(b"\n"):
            try:
                shares[owner(call_of(line), workers)].append(line)
            except DAMAGED:
                continue  # the journal's own reader would skip it, too
        for index, lines in shares.items():
            with (path.parent / name(index, workers)).open("ab") as new:
                new.write(b"\n".join([b"", *lines, b""]))  # the last line there may be torn
        path.unlink()
