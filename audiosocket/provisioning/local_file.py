"""The local file ``data/ramais_config.json``: the last good configuration, replaced as a whole or not at all.

Blocking: the server loads it once, before anything listens, and saves it in its file thread.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from secrets import token_hex

from audiosocket.extensions.model import MAX_INTEGER, Extension, Problem
from audiosocket.extensions.validation import Validator
from audiosocket.json_shapes import LocalFileJSON

FILE_NAME = "ramais_config.json"
#: A larger file is rejected, in bytes.
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Loaded:
    """The content of the file. ``extensions`` is None when there is no usable file; ``trouble`` says why.

    ``rejected`` counts the entries left out, ``problems`` describes at most 100 of them.
    """

    extensions: tuple[Extension, ...] | None
    problems: tuple[Problem, ...] = ()
    rejected: int = 0
    trouble: str = ""
    #: When the file was written, seconds since the epoch.
    saved_at: float | None = None
    #: The file can be read, but its content is unusable.
    damaged: bool = False


def load(path: Path, limit: int) -> Loaded:
    """Read the file as `read` does, remove temporary files, and rename a damaged file so that it is kept."""
    _clear_leftovers(path)
    loaded = read(path, limit)
    return replace(loaded, trouble=f"{loaded.trouble}; {_set_aside(path)}") if loaded.damaged else loaded


def read(path: Path, limit: int = MAX_INTEGER) -> Loaded:
    """Return the extensions in the file, at most ``limit``. Changes nothing and raises nothing."""
    try:
        with path.open("rb") as source:
            saved_at = os.fstat(source.fileno()).st_mtime
            data = source.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Loaded(None)
    except OSError as error:
        return Loaded(None, trouble=f"{path} cannot be read: {error.strerror}")
    if len(data) > MAX_BYTES:
        return Loaded(None, trouble=f"{path} is larger than {MAX_BYTES >> 20} MB", damaged=True)
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Loaded(None, trouble=f"{path} is damaged ({error})", damaged=True)
    entries = document.get("ramais") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return Loaded(None, trouble=f'{path} has no list under "ramais"', damaged=True)
    validator = Validator(limit=limit)
    validator.add_entries(entries)
    result = validator.result()
    if entries and not result.extensions:
        trouble = f"{path} has no usable entry ({result.problems[0].reason})"
        return Loaded(None, result.problems, result.rejected, trouble, damaged=True)
    return Loaded(result.extensions, result.problems, result.rejected, saved_at=saved_at)


def save(path: Path, extensions: Sequence[Extension], source: str) -> None:
    """Replace the file atomically; raises OSError and leaves the old file when that fails."""
    document: LocalFileJSON = {
        "ramais": [extension.to_json() for extension in extensions],
        "saved_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": source,
    }
    path = Path(os.path.realpath(path))  # a symbolic link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8") as out:
            with suppress(FileNotFoundError):  # the permissions of the file stay as they were
                os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode))
            out.write(_as_text(document))
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _as_text(document: LocalFileJSON) -> str:
    """Return the text, one line for each extension: Python's fast encoder does not indent."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    rows = ",\n".join(f"    {encode(entry)}" for entry in document["ramais"])
    rest = ",\n".join(f"  {encode(key)}: {encode(value)}" for key, value in document.items() if key != "ramais")
    return f'{{\n  "ramais": [\n{rows}\n  ],\n{rest}\n}}\n'


def save_if_missing(path: Path, extensions: Sequence[Extension], source: str) -> None:
    """Save as `save` does, unless there is a file already."""
    if not path.exists():
        save(path, extensions, source)


def _sync_directory(directory: Path) -> None:
    """Write the renaming to disk, where the file system can do that."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def _clear_leftovers(path: Path) -> None:
    """Remove temporary files of processes that were killed while they saved."""
    path = Path(os.path.realpath(path))
    with suppress(OSError):
        for left in path.parent.glob(f".{path.name}.*"):
            left.unlink()


def _set_aside(path: Path) -> str:
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    for attempt in range(100):
        aside = path.with_name(f"{path.name}.damaged-{stamp}" + (f"-{attempt}" if attempt else ""))
        if aside.exists():
            continue
        try:
            os.replace(path, aside)
        except OSError as error:
            return f"it could not be set aside: {error.strerror}"
        return f"set aside as {aside.name}"
    return "it could not be set aside: too many damaged files; remove some"
