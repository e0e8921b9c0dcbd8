"""The call journal ``calls.journal``: every change of a call's state, for the process that comes after this one.

One JSON line per change, those of one moment condensed and in one ``write()``, straight from the reactor, without
``fsync``: what is written survives the death of the process (``kill -9`` included), not that of the machine.
A line costs 8 µs in the median and 26 to 81 µs at the 99th percentile on a busy two-core machine (measured);
the file thread, with recordings before it in the queue, would lose more at a kill than it would save.

Lines are only ever appended. At the start and beyond `COMPACT_BYTES` the file is replaced as a whole by the
fewest lines that say the same (``compaction.py``); that rewriting happens in the file thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from audiosocket.calls.journal_compaction import condensed, sifted
from audiosocket.calls.journal_records import JournalRecord, encode
from audiosocket.calls.journal_replay import Replayed, replay
from audiosocket.calls.registry import REMEMBER_MOST, REMEMBER_SECONDS

FILE_NAME = "calls.journal"
#: A journal of this size is rewritten, in bytes: some 16,000 lines, or 8,000 plain calls.
COMPACT_BYTES = 4_000_000
#: Lines of a new file that are written at once: large pieces of memory are not always given back to the system.
LINES_AT_ONCE = 500
#: A file beyond this was not written by us, in bytes.
MAX_BYTES = 256_000_000

#: Runs blocking work in the file thread.
InThread = Callable[..., Deferred[Any]]


@dataclass(frozen=True)
class _Rewritten:
    """A new file that stands for the first ``upto`` bytes of the old one."""

    handle: int
    path: Path
    upto: int
    size: int

    def discard(self) -> None:
        """The old file stays."""
        os.close(self.handle)
        with suppress(OSError):
            self.path.unlink()


class CallJournal:
    """Implements `calls.Journal`. ``wall`` is the time of day in seconds since the epoch.

    Nothing here raises into a call: a disk that is full is one line in the log, and calls go on.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        in_thread: InThread,
        *,
        wall: Callable[[], float] = time.time,
        compact_bytes: int = COMPACT_BYTES,
    ) -> None:
        self._path = Path(os.path.realpath(path))  # a symbolic link stays one
        self._in_thread = in_thread
        self._wall = wall
        self._least = self._limit = compact_bytes
        self._handle: int | None = None
        self._size = 0
        #: The last line is not whole: the next one begins with a new line.
        self._torn = False
        self._rewriting = False
        #: How many ``with`` are open, and what they wait to write.
        self._together = 0
        self._waiting: list[JournalRecord] = []
        #: What is wrong, if anything; told once.
        self.trouble = ""

    def open(self) -> Replayed:
        """What was left behind; from now on lines are written. Blocking, for before anything listens."""
        try:
            self._handle = handle = _lock(self._path)
            data = _read_all(handle)
        except OSError as error:
            self._complain(f"{error.strerror}; calls will not survive a restart")
            self.close()
            return Replayed()
        kept = replay(data.split(b"\n"), self._wall(), remember=REMEMBER_SECONDS)
        if kept.damaged:
            self._log.warn(
                "{path}: {n} damaged lines were skipped, the first is line {first}",
                path=str(self._path),
                n=kept.damaged,
                first=kept.first_damaged,
            )
        self._size, self._torn = len(data), bool(data) and not data.endswith(b"\n")
        if data:
            try:
                self._take_over(_rewrite(self._path, handle, len(data), self._wall))
            except OSError as error:
                self._complain(f"it cannot be compacted: {error.strerror}")
        return kept

    def write(self, record: JournalRecord) -> None:
        """Append one record as a line with the time of day."""
        if self._handle is None:
            return
        if self._together:
            self._waiting.append(record)
        else:
            self._append(self._encoded(record))

    def _encoded(self, record: JournalRecord) -> bytes:
        """Return the line of ``record``; nothing if it cannot be written, which is its own loss only."""
        try:
            return encode(record, self._wall())
        except (TypeError, ValueError, RecursionError) as error:
            self._complain(f"a line cannot be written as JSON ({error})")
            return b""

    def __enter__(self) -> CallJournal:
        """What is written from here on goes into the file in one piece, when it ends."""
        self._together += 1
        return self

    def __exit__(self, *exception: object) -> None:
        self._together -= 1
        if not self._together and self._waiting:
            records, self._waiting = self._waiting, []
            self._append(b"".join([self._encoded(record) for record in condensed(records)]))

    def _append(self, data: bytes) -> None:
        if self._handle is None or not data:
            return
        if self._torn:
            data = b"\n" + data
        try:
            written = os.write(self._handle, data)
        except OSError as error:
            self._complain(f"it cannot be written: {error.strerror}; calls go on, but a restart may forget them")
            return
        self._size += written
        self._torn = written < len(data)
        if self._torn:
            self._complain("the disk is full; calls go on, but a restart may forget them")
        elif self.trouble:
            self._log.info("{path}: written again", path=str(self._path))
            self.trouble = ""
        if self._size > self._limit and not self._rewriting:
            self._compact()

    def close(self) -> None:
        """Write nothing more; another process may have it."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            self._log.error("{path}: {trouble}", path=str(self._path), trouble=trouble)
        self.trouble = trouble

    # rewriting

    def _compact(self) -> None:
        assert self._handle is not None  # noqa: S101 - for mypy
        self._rewriting = True
        work = self._in_thread(_rewrite, self._path, os.dup(self._handle), self._size, self._wall, goes_on=True)
        work.addCallback(self._take_over).addErrback(self._not_compacted)

    def _take_over(self, new: _Rewritten) -> None:
        """Carry over what was written meanwhile, then put the new file in the old one's place."""
        self._rewriting = False
        if self._handle is None:  # closed meanwhile
            new.discard()
            return
        try:
            tail = os.pread(self._handle, self._size - new.upto, new.upto)
            _write_all(new.handle, tail)
            os.replace(new.path, self._path)
        except OSError:
            new.discard()
            raise
        os.close(self._handle)
        self._handle, self._size = new.handle, new.size + len(tail)
        self._torn = self._torn and bool(tail)
        self._limit = max(self._least, 2 * self._size)

    def _not_compacted(self, why: Any) -> None:
        why.trap(OSError)
        self._rewriting = False
        self._limit = 2 * self._size  # not again with the very next line
        self._complain(f"it cannot be compacted: {why.value.strerror}; it grows until there is room")


def _lock(path: Path) -> int:
    """The file, open and ours alone: two processes would cut each other's lines off. Raises OSError."""
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


def _rewrite(
    path: Path, handle: int, upto: int, wall: Callable[[], float], *, goes_on: bool = False
) -> _Rewritten:
    """Write what the first ``upto`` bytes say into a new file, locked; raises OSError. Blocking.

    When the journal ``goes_on`` meanwhile, ``handle`` is a duplicate to be closed here.
    """
    temporary = path.with_name(f".{path.name}.new")
    new: int | None = None
    try:
        now = wall()
        ended, going = sifted(_read(handle, upto), now - REMEMBER_SECONDS, REMEMBER_MOST)
        kept = replay(going, now, remember=REMEMBER_SECONDS, goes_on=goes_on)
        temporary.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        new = os.open(temporary, flags, 0o600)
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = 0
        for lines in ([line + b"\n" for line in ended], list(kept.lines())):
            for at in range(0, len(lines), LINES_AT_ONCE):
                piece = b"".join(lines[at : at + LINES_AT_ONCE])
                _write_all(new, piece)
                size += len(piece)
        return _Rewritten(new, temporary, upto, size)
    except BaseException:
        if new is not None:
            os.close(new)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        if goes_on:
            os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    written = 0
    while written < len(data):  # the call that meets the end of the disk writes less, the next one raises
        written += os.write(handle, data[written:])


def _read_all(handle: int) -> bytes:
    size = os.fstat(handle).st_size
    if size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES // 1_000_000} MB; remove it")
    return _read(handle, size)


def _read(handle: int, size: int) -> bytes:
    """The first ``size`` bytes, whatever the position is."""
    pieces, at = [], 0
    while at < size:
        piece = os.pread(handle, size - at, at)
        if not piece:
            break
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
