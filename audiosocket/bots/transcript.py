"""What a bot's dialect reports as said, in a file beside the recordings: one JSON line each."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.extensions.model import Role
from audiosocket.interfaces import AppContext, Leg
from audiosocket.media.retention import keep_for


class Transcript:
    """The file ``<call_id>.jsonl``, ``<call_id>-resident.jsonl`` of the resident's leg; mode 0600.

    Nothing is written unless the policy of the call has ``transcript``.
    """

    _log = Logger()

    def __init__(self, leg: Leg, context: AppContext) -> None:
        settings = context.settings
        directory = Path(settings.record_dir or Path(settings.data_dir) / "recordings").expanduser()
        suffix = "-resident" if leg.role is Role.RESIDENT else ""
        self._path = directory / f"{leg.call_id}{suffix}.jsonl"
        self._in_file_thread = context.in_file_thread
        self._wanted = context.policy.transcript
        self._days = context.policy.retention_days
        self._call_id = leg.call_id
        self._begun = False
        self._failed = False

    def write(self, speaker: str, text: str) -> None:
        """Append one line; ``speaker`` is "caller" or "bot"."""
        if not self._wanted or self._failed or not text:
            return
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"at": at, "speaker": speaker, "text": text}, ensure_ascii=False)
        Deferred.fromCoroutine(self._append(line)).addErrback(self._not_written)

    async def _append(self, line: str) -> None:
        if self._begun:
            await self._in_file_thread(append_line, self._path, line)
        else:
            self._begun = True
            await self._in_file_thread(begin, self._path, line, self._call_id, self._days)

    def _not_written(self, failure: Failure) -> None:
        failure.trap(OSError)
        self._failed = True
        self._log.error(
            "{path}: {why}; no transcript is written", path=str(self._path), why=failure.getErrorMessage()
        )


def begin(path: Path, line: str, call_id: UUID, days: int) -> None:
    """Write the first line, and for how many days the file is kept; blocks. Raises `OSError`."""
    keep_for(path.parent, call_id, days, datetime.now(timezone.utc))
    append_line(path, line)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file that only its owner may read; blocks. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode("utf-8", "replace") + b"\n")
    finally:
        os.close(descriptor)
