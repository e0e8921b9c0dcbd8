"""Which files cannot be written; calls go on meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from audiosocket.json_shapes import StorageJSON
from audiosocket.runtime.logs import process_log


def of_first_process(file_trouble: str) -> list[StorageJSON]:
    """Return what is wrong with the log and the local file, and repair the log if that is possible by now."""
    return [*_shown("log", process_log.check()), *_shown("local_file", file_trouble)]


def of_journal(trouble: str) -> list[StorageJSON]:
    """Return what is wrong with the journal of this process."""
    return _shown("journal", trouble)


def as_text(troubles: Iterable[StorageJSON]) -> str:
    """Return them as one line, empty for none."""
    return "; ".join(f"{trouble['what']}: {trouble['reason']}" for trouble in troubles)


def _shown(what: str, reason: str) -> list[StorageJSON]:
    return [{"what": what, "reason": reason}] if reason else []
