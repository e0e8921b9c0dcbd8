"""How long files about a call are kept: recordings and transcripts, whose names begin with its UUID.

Beside them, ``<uuid>.json`` says until when; `expired` finds the calls whose time is over. Files without it, such
as those that the app record was told to make by its name, are nobody's to remove. Everything here blocks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

KEY = "delete_after"


def keep_for(directory: Path, call_id: UUID, days: int, now: datetime) -> None:
    """Have the files of a call removed ``days`` after ``now``, and not before; raises `OSError`."""
    directory.mkdir(parents=True, exist_ok=True)
    until = (now + timedelta(days=days)).astimezone(timezone.utc).isoformat(timespec="seconds")
    path = directory / f"{call_id}.json"
    temporary = path.with_name(f".{path.name}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, json.dumps({"call_id": str(call_id), KEY: until.replace("+00:00", "Z")}).encode())
    finally:
        os.close(handle)
    os.replace(temporary, path)


def files_of(directory: Path, call_id: UUID) -> list[Path]:
    """All files of a call, whatever wrote them, the one that says until when included; raises `OSError`."""
    name = str(call_id)
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if path.name.startswith(name) and path.name[len(name)] in ".-"]
    return sorted(path for path in found if path.is_file())


def expired(directory: Path, now: datetime) -> Iterator[UUID]:
    """The calls whose files are no longer to be kept; what cannot be read is left alone."""
    for path in directory.glob("*.json") if directory.is_dir() else ():
        try:
            kept = json.loads(path.read_bytes())
            call_id, until = UUID(path.stem), datetime.fromisoformat(str(kept[KEY]).replace("Z", "+00:00"))
            over = until <= now
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue
        if over:
            yield call_id


def erase_expired(directory: Path, now: datetime) -> int:
    """Remove what is no longer to be kept, and return how many files that were; raises `OSError`.

    The file that says until when goes last: a process that dies in between goes on the next time.
    """
    erased = 0
    for call_id in expired(directory, now):
        for path in sorted(files_of(directory, call_id), key=lambda each: each.suffix == ".json"):
            path.unlink(missing_ok=True)
            erased += 1
    return erased
