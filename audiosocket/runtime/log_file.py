"""A rotated log file to which several processes may append, as during a rolling restart."""

from __future__ import annotations

import os
from typing import Any

from twisted.python.logfile import LogFile


class AppendedLogFile(LogFile):
    """A `LogFile` that is opened for appending: Twisted's own overwrites the lines of another process."""

    _file: Any
    closed: bool
    size: int

    def _openFile(self) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._file = os.fdopen(handle, "ab", buffering=0)
        self.closed = False
        self.size = os.fstat(handle).st_size

    def shouldRotate(self) -> bool:
        if not super().shouldRotate():
            return False
        if self._was_replaced():  # by the other process: go on in its new file
            self._file.close()
            self._openFile()
        return bool(super().shouldRotate())

    def _was_replaced(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return True
