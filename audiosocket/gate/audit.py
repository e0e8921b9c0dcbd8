"""The audit file: who let whom in, one JSON line per authorised call in ``audit.jsonl``, only ever appended.

Everything here blocks and belongs into a thread. Several processes may append: a line is one ``write``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

FILE_NAME = "audit.jsonl"
#: How far from the end a line is looked for that a restart may have left there, in bytes.
TAIL_BYTES = 262_144
BLOCK_BYTES = 65_536
#: A line longer than this was not written by us.
MAX_LINE_BYTES = 65_536


class AuditFile:
    """The file at ``path``, mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line, on the disk when this returns; raises `OSError`."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":  # a line that a power cut tore
                data = b"\n" + data
            written = os.write(handle, data)
            if written < len(data):
                raise OSError("the disk is full")
            os.fsync(handle)
        finally:
            os.close(handle)

    def append_once(self, line: Mapping[str, Any]) -> None:
        """The same, unless one of the last lines has the same call and time: a restart may have come between."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                tail = file.read()
        except FileNotFoundError:
            tail = b""
        same = (line["call_id"], line["at"])
        if not any((one.get("call_id"), one.get("at")) == same for one in map(_parsed, tail.split(b"\n")) if one):
            self.append(line)

    def read(self, since: datetime | None, limit: int) -> list[dict[str, Any]]:
        """Lines in the order of time: the first ``limit`` at or after ``since``, or without it the last ``limit``.

        Lines that cannot be read are left out; raises `OSError`.
        """
        found: list[dict[str, Any]] = []
        for raw in _backwards(self._path):
            line = _parsed(raw)
            if line is None:
                continue
            if since is not None and (at := _time_of(line)) is not None and at < since:
                break
            found.append(line)
            if since is None and len(found) >= limit:
                break
        return found[::-1][:limit]


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _time_of(line: Mapping[str, Any]) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(line.get("at")).replace("Z", "+00:00"))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)


def _backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file, the last one first; none where there is no file."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        at = file.seek(0, os.SEEK_END)
        rest = b""
        while at > 0:
            step = min(BLOCK_BYTES, at)
            at -= step
            file.seek(at)
            lines = (file.read(step) + rest).split(b"\n")
            rest = lines[0][-MAX_LINE_BYTES:]
            yield from (line for line in reversed(lines[1:]) if line)
        if rest:
            yield rest
