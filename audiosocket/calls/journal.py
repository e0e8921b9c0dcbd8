"""The call journal ``calls.journal``: every change of a call, for the next process.

One JSON line for each change (``journal_records.py``), those of one moment condense and in one ``write()``, from
the reactor, without ``fsync``: what is written survives the end of the process (``kill -9`` included), not that of
the machine. A line costs 8 µs in the median and 26 to 81 µs at the 99th percentile on a busy two-core machine
(measured); in the file thread a line would wait behind recordings, and be lost at a kill.

Lines are only appended. At the start, and beyond `COMPACT_BYTES`, the file is replaced by the fewest lines that
stand for the same (``journal_compaction.py``), which are written in the file thread.
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
from twisted.python.failure import Failure

from audiosocket.calls.journal_compaction import condense, split_by_end
from audiosocket.calls.journal_lock import lock
from audiosocket.calls.journal_records import JournalRecord, encode
from audiosocket.calls.journal_replay import Replayed, replay
from audiosocket.calls.registry import MAX_REMEMBERED, REMEMBER_SECONDS

FILE_NAME = "calls.journal"
#: A journal of this size is rewritten, in bytes: some 16,000 lines, or 8,000 plain calls.
COMPACT_BYTES = 4_000_000
#: Lines of a new file in one write: larger buffers are not always returned to the system.
LINES_AT_ONCE = 500
#: Lines that are kept for a journal that another process still has, in bytes: some 60,000 lines.
MAX_WAITING_BYTES = 16_000_000
#: A file larger than this was not written by this server, in bytes.
MAX_BYTES = 256_000_000

#: Runs blocking work in the file thread.
InThread = Callable[..., Deferred[Any]]


@dataclass(frozen=True)
class _Rewritten:
    """A new file with the same meaning as the first ``upto`` bytes of the old one."""

    handle: int
    path: Path
    upto: int
    size: int

    def discard(self) -> None:
        """Remove the new file."""
        os.close(self.handle)
        with suppress(OSError):
            self.path.unlink()


class CallJournal:
    """Implements `call.JournalWriter`. ``wall`` is the time of day in seconds since the epoch.

    Nothing raises into a call: when the disk is full, there is one line in the log and calls go on.
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
        self._min_limit = self._limit = compact_bytes
        self._handle: int | None = None
        self._size = 0
        #: The last line is incomplete: a newline comes before the next one.
        self._incomplete = False
        self._rewriting = False
        #: The lines for a journal that another process has; None while nothing is waited for.
        self._waiting: bytearray | None = None
        #: How many ``with`` blocks are open, and the records they hold back.
        self._blocks = 0
        self._held: list[JournalRecord] = []
        #: What is wrong, empty for nothing; it is logged once.
        self.trouble = ""

    @property
    def waits(self) -> bool:
        """True while another process has the journal: `open` can be called again."""
        return self._waiting is not None

    def open(self) -> Replayed:
        """Read the journal of the previous process, and write from now on. Blocking: call it before listening.

        While that process still has it, what is written is kept in memory, until another call of this method
        succeeds.
        """
        try:
            self._handle = handle = lock(self._path)
            data = _read_all(handle)
        except OSError as error:
            if error.errno == errno.EBUSY:
                self._complain(f"{error.strerror}; until it ends calls will not survive a restart")
                self._waiting = bytearray() if self._waiting is None else self._waiting
            else:
                self._complain(f"{error.strerror}; calls will not survive a restart")
                self.close()
            return Replayed()
        replayed = replay(data.split(b"\n"), self._wall(), remember=REMEMBER_SECONDS)
        if replayed.damaged:
            self._log.warn(
                "{path}: {n} damaged lines were skipped, the first is line {first}",
                path=str(self._path),
                n=replayed.damaged,
                first=replayed.first_damaged,
            )
        self._size, self._incomplete = len(data), bool(data) and not data.endswith(b"\n")
        if data:
            try:
                self._take_over(_rewrite(self._path, handle, len(data), self._wall))
            except OSError as error:
                self._complain(f"it cannot be compacted: {error.strerror}")
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._log.info("{path}: the other process has ended; its calls are taken over", path=str(self._path))
            self.trouble = ""
            self._append(bytes(waiting))
        return replayed

    @property
    def handle(self) -> int | None:
        """The descriptor of the file, whose lock goes along when it is passed to another process."""
        return self._handle

    def adopt(self, handle: int) -> bool:
        """Go on with the open and locked file of the previous process; return false if it is another file."""
        try:
            if not os.path.samestat(os.fstat(handle), self._path.stat()):
                return False
        except OSError:
            return False
        self._handle, self._size = handle, os.fstat(handle).st_size
        self._limit = max(self._min_limit, self._size)
        self._incomplete = bool(self._size) and os.pread(handle, 1, self._size - 1) != b"\n"
        return True

    def write(self, record: JournalRecord) -> None:
        """Append one record as a line with the time of day."""
        if self._handle is None and self._waiting is None:
            return
        if self._blocks:
            self._held.append(record)
        else:
            self._append(self._encoded(record))

    def _encoded(self, record: JournalRecord) -> bytes:
        """Return the line of ``record``; empty, and logged, if JSON cannot carry it."""
        try:
            return encode(record, self._wall())
        except (TypeError, ValueError, RecursionError) as error:
            self._complain(f"a line cannot be written as JSON ({error})")
            return b""

    def __enter__(self) -> CallJournal:
        """Hold records back; they are written at once when the block ends."""
        self._blocks += 1
        return self

    def __exit__(self, *exception: object) -> None:
        self._blocks -= 1
        if not self._blocks and self._held:
            records, self._held = self._held, []
            self._append(b"".join([self._encoded(record) for record in condense(records)]))

    def _append(self, data: bytes) -> None:
        if self._handle is None:
            self._keep(data)
            return
        if not data:
            return
        if self._incomplete:
            data = b"\n" + data
        try:
            written = os.write(self._handle, data)
        except OSError as error:
            self._complain(f"it cannot be written: {error.strerror}; calls go on, but a restart may forget them")
            return
        self._size += written
        self._incomplete = written < len(data)
        if self._incomplete:
            self._complain("the disk is full; calls go on, but a restart may forget them")
        elif self.trouble:
            self._log.info("{path}: written again", path=str(self._path))
            self.trouble = ""
        if self._size > self._limit and not self._rewriting:
            self._compact()

    def _keep(self, data: bytes) -> None:
        if self._waiting is not None and len(self._waiting) + len(data) <= MAX_WAITING_BYTES:
            self._waiting += data

    def close(self) -> None:
        """Close the file; another process may open it then."""
        self._waiting = None
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
        try:
            copy = os.dup(self._handle)
        except OSError:  # no descriptor is left
            self._not_compacted(Failure())
            return
        try:
            work = self._in_thread(_rewrite, self._path, copy, self._size, self._wall, goes_on=True)
        except Exception:  # noqa: BLE001 - no thread can be started: nothing may raise into a call
            os.close(copy)
            self._not_compacted(Failure())
            return
        work.addCallback(self._take_over).addErrback(self._not_compacted)

    def _take_over(self, new: _Rewritten) -> None:
        """Append what was written meanwhile to the new file, and replace the old one by it."""
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
        self._incomplete = self._incomplete and bool(tail)
        self._limit = max(self._min_limit, 2 * self._size)

    def _not_compacted(self, failure: Failure) -> None:
        self._rewriting = False
        self._limit = 2 * self._size  # not again with the next line
        why = getattr(failure.value, "strerror", None) or failure.getErrorMessage()
        self._complain(f"it cannot be compacted: {why}; it grows until there is room")


def _rewrite(
    path: Path, handle: int, upto: int, wall: Callable[[], float], *, goes_on: bool = False
) -> _Rewritten:
    """Write the meaning of the first ``upto`` bytes into a new, locked file; raises OSError. Blocking.

    When the journal ``goes_on`` meanwhile, ``handle`` is a duplicate that is closed here.
    """
    temporary = path.with_name(f".{path.name}.new")
    new: int | None = None
    try:
        now = wall()
        ended, going = split_by_end(_read(handle, upto), now - REMEMBER_SECONDS, MAX_REMEMBERED)
        replayed = replay(going, now, remember=REMEMBER_SECONDS, goes_on=goes_on)
        temporary.unlink(missing_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        new = os.open(temporary, flags, 0o600)
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = 0
        for lines in ([line + b"\n" for line in ended], list(replayed.lines())):
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
    while written < len(data):  # on a full disk the first call writes less, the next one raises
        written += os.write(handle, data[written:])


def _read_all(handle: int) -> bytes:
    size = os.fstat(handle).st_size
    if size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES // 1_000_000} MB; remove it")
    return _read(handle, size)


def _read(handle: int, size: int) -> bytes:
    """Return the first ``size`` bytes."""
    pieces, at = [], 0
    while at < size:
        piece = os.pread(handle, size - at, at)
        if not piece:
            break
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
