"""A program on a terminal of its own (a pty), for what is only done there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType

#: Longest wait for an expected text, in seconds.
WAIT_SECONDS = 30.0


class Terminal:
    """The terminal of one process, as a context manager: what it shows, and what is typed on it."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: str | None = None
    ) -> None:
        self._command, self._environment, self._directory = command, environment, directory
        self._shown = ""
        self._open = True

    def __enter__(self) -> Terminal:
        self._master, slave = pty.openpty()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd=self._directory,
                env={"TERM": "xterm", "COLUMNS": "200", **self._environment},
                start_new_session=True,
            )
        finally:
            os.close(slave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def write(self, text: str) -> None:
        """Type ``text``."""
        os.write(self._master, text.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """Return the first match in what is shown after the last one; fail when there is none."""
        while True:
            found = re.search(pattern, self._shown, re.DOTALL)
            if found is not None:
                self._shown = self._shown[found.end() :]
                return found
            assert self._read(), f"{pattern!r} is not shown but {self._shown!r}"

    def rest(self) -> tuple[int, str]:
        """Return the exit status of the program, and all that it has shown since the last match."""
        while self._read():
            pass
        return self._process.wait(WAIT_SECONDS), self._shown

    def _read(self) -> bool:
        if not self._open or not select.select([self._master], [], [], WAIT_SECONDS)[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # EIO: no process has the terminal open any longer
            data = b""
        self._open = bool(data)
        self._shown += data.decode("utf-8", "replace")
        return self._open
