"""A rotated log file that others append to, as a rolling restart does, or move and truncate, as logrotate does."""

from __future__ import annotations

import io
import os
from typing import Any

from twisted.python import threadable
from twisted.python.logfile import LogFile


class _Lines(io.FileIO):
    """A file of lines; one that a full disk cuts off is ended before the next one."""

    _cut = False

    def write(self, data: Any) -> int:
        """Append all of ``data``: the system may take a part of it and refuse the rest. Raises OSError."""
        whole = b"\n" + data if self._cut else bytes(data)
        written = 0
        try:
            while written < len(whole):
                written += super().write(whole[written:]) or 0
        finally:
            if written:
                self._cut = whole[written - 1 : written] != b"\n"
        return written


class AppendedLogFile(LogFile):
    """A `LogFile` that is opened for appending: Twisted's own overwrites the lines of another process.

    After a truncation the next line is the first one, not behind a hole.
    """

    synchronized = ["reopen"]
    _file: Any
    closed: bool
    size: int
    #: Why the last line could not be written, empty when it was.
    trouble = ""

    def write(self, data: str) -> None:
        """Append lines. Raises OSError, and remembers why."""
        try:
            super().write(data)
        except (OSError, ValueError) as error:  # ValueError: a rotation could not open the new file
            self.trouble = str(getattr(error, "strerror", "") or error)
            raise
        self.trouble = ""

    def check(self) -> str:
        """Return what is wrong, empty for nothing; a file that was removed is made anew, or lines are lost."""
        try:
            if self.closed or not os.path.exists(self.path):
                os.makedirs(self.directory, exist_ok=True)
                self.reopen()
        except OSError as error:
            return f"{self.path} is gone, and cannot be made: {error.strerror}"
        return self.trouble

    def _openFile(self) -> None:
        self._file, self.size = self._opened()
        self.closed = False

    def _opened(self) -> tuple[Any, int]:
        is_new = not os.path.exists(self.path)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if is_new and self.defaultMode is not None:
            os.fchmod(handle, self.defaultMode)
        return _Lines(handle, "ab"), os.fstat(handle).st_size

    def shouldRotate(self) -> bool:
        if not super().shouldRotate():
            return False
        if self._was_replaced():  # by the other process: go on in its new file
            try:
                self.reopen()
            except OSError:  # such as no descriptor: later
                return False
        self.size = os.fstat(self._file.fileno()).st_size  # less than was counted after a truncation
        return bool(super().shouldRotate())

    def listLogs(self) -> list[int]:
        """Return the numbers of the older files. Raises OSError: Twisted's finds none then, and loses one."""
        prefix = os.path.basename(self.path) + "."
        found = [name[len(prefix) :] for name in os.listdir(self.directory) if name.startswith(prefix)]
        return sorted(int(number) for number in found if number.isdecimal() and int(number))

    def rotate(self) -> None:
        """Begin a new file; without a descriptor for it, go on in the old one until there is."""
        try:
            kept = os.dup(self._file.fileno())
        except OSError:
            return
        try:
            super().rotate()
        except OSError:
            if not self._file.closed:
                os.close(kept)
                return
            self._file, self.closed = _Lines(kept, "ab"), False
        else:
            os.close(kept)

    def reopen(self) -> None:
        """Write to the file that has the name now. Raises OSError, and goes on with the old file then."""
        old = self._file
        self._file, self.size = self._opened()
        self.closed = False
        old.close()

    def _was_replaced(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return True


threadable.synchronize(AppendedLogFile)
