"""The gate's journal: one small file per authorised call in ``DATA_DIR/gate``, there before anything is done.

Creating the file is what makes an opening the first and only one of its call, whichever process tries. A file
stays for `KEEP_SECONDS` after its end, so that a call that resumes after a restart finds what became of it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from twisted.logger import Logger

from audiosocket.gate.record import GateRecord

DIRECTORY = "gate"
KEEP_SECONDS = 3_600.0


class GateJournal:
    """The files in ``directory``, readable by their owner only. Everything but `begin` belongs into a thread."""

    _log = Logger()

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, record: GateRecord) -> None:
        """Create the file of a call; raises `FileExistsError` where there is one, and `OSError`.

        Small and without fsync: it is called from the reactor, at the moment of the decision.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(record.uuid)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, _encoded(record))
            os.link(temporary, path)  # whole or not at all, and never over another one
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)

    def hold(self, call_id: UUID) -> int | None:
        """Take the opening of a call for this process, until `release` or its end; None if another one has it.

        Raises `OSError` with the name of the lock file.
        """
        path = self._lock(call_id)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:  # such as a file system without locks
            os.close(handle)
            raise OSError(error.errno, error.strerror, str(path)) from None
        return handle

    def release(self, call_id: UUID, handle: int) -> None:
        """Let another process have it."""
        with suppress(OSError):
            self._lock(call_id).unlink(missing_ok=True)
        os.close(handle)

    def sync(self, record: GateRecord) -> None:
        """Have the file on the disk, whatever happens to the machine; raises `OSError`. Blocking."""
        _sync(self._path(record.uuid))
        _sync(self._directory)

    def update(self, record: GateRecord) -> None:
        """Replace the file by the record as it stands, on the disk at the end; raises `OSError`. Blocking."""
        path = self._path(record.uuid)
        temporary = path.with_name(f".{path.name}.new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, _encoded(record))
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
        _sync(self._directory)

    def read(self, call_id: UUID) -> GateRecord | None:
        """The record of a call; None where there is none that can be read."""
        return self._read(self._path(call_id))

    def records(self) -> Iterator[GateRecord]:
        """All records that can be read. Blocking."""
        with suppress(FileNotFoundError):
            for path in sorted(self._directory.glob("*.json")):
                record = self._read(path)
                if record is not None:
                    yield record

    def remove(self, call_id: UUID) -> None:
        """Forget a call."""
        self._path(call_id).unlink(missing_ok=True)

    def forget_old(self, now: float) -> int:
        """Remove the files of openings that ended long ago; ``now`` is Unix time. Returns how many. Blocking."""
        removed = 0
        with suppress(OSError):
            for path in self._directory.glob("*.json"):
                if now - path.stat().st_mtime > KEEP_SECONDS and (kept := self._read(path)) and kept.done:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _lock(self, call_id: UUID) -> Path:
        return self._directory / f".{call_id}.lock"

    def _path(self, call_id: UUID) -> Path:
        return self._directory / f"{call_id}.json"

    def _read(self, path: Path) -> GateRecord | None:
        try:
            return GateRecord.from_json(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self._log.error(
                "{path} cannot be read ({error}); this opening is not repeated", path=str(path), error=error
            )
            return None


def _encoded(record: GateRecord) -> bytes:
    return json.dumps(record.to_json()).encode()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
