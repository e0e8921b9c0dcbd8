"""The local file ``data/ramais_config.json``: the last good configuration, replaced as a whole or not at all.

The one before it is kept as ``ramais_config.json.1``, and used when the file is damaged. A file that somebody else
has edited is never overwritten without a copy: the server knows its own files by their ``checksum``.

Blocking: the server loads it once, before anything listens, and saves it in its file thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from secrets import token_hex
from typing import Any

from audiosocket.extensions.model import MAX_INTEGER, Extension, Problem
from audiosocket.extensions.validation import Validator
from audiosocket.json_shapes import LocalFileJSON
from audiosocket.provisioning.kept_files import keep_previous, previous, restore_previous, set_aside

FILE_NAME = "ramais_config.json"
#: A larger file is rejected, in bytes.
MAX_BYTES = 64 * 1024 * 1024
#: Modes of what is created, whatever the umask allows.
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755


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
    #: The content is not as this server wrote it.
    edited: bool = False


def load(path: Path, limit: int) -> Loaded:
    """Read the file as `read` does, or the previous one when it cannot be used; ``trouble`` says so.

    Removes temporary files, and sets a damaged file aside, where its owner finds it.
    """
    _clear_leftovers(path)
    loaded = read(path, limit)
    if not loaded.trouble:
        return loaded
    path = Path(os.path.realpath(path))
    earlier = read(previous(path), limit)
    usable = earlier.extensions is not None
    trouble = loaded.trouble
    if loaded.damaged:
        trouble += f"; {set_aside(path, 'damaged', stays=usable)}"
    if not usable:
        return replace(loaded, trouble=f"{trouble}; {earlier.trouble}" if earlier.trouble else trouble)
    if loaded.damaged:
        with suppress(OSError):
            restore_previous(path)
    return replace(earlier, trouble=f"{trouble}; {previous(path).name} is used instead")


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
    edited = document.get("checksum") != _checksum(entries)
    return Loaded(result.extensions, result.problems, result.rejected, saved_at=saved_at, edited=edited)


def save(path: Path, extensions: Sequence[Extension], source: str) -> None:
    """Replace the file atomically and keep what was there; raises OSError, and leaves the old file then."""
    entries = [extension.to_json() for extension in extensions]
    document: LocalFileJSON = {
        "ramais": entries,
        "saved_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": source,
        "checksum": _checksum(entries),
    }
    path = Path(os.path.realpath(path))  # a symbolic link stays one
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with open(temporary, "x", encoding="utf-8", opener=_opener) as out:
            with suppress(FileNotFoundError):  # the permissions of the file stay as they were
                os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode) & ~stat.S_IWOTH)
            out.write(_as_text(document))
            out.flush()
            os.fsync(out.fileno())
        _keep(path, tuple(extensions))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _keep(path: Path, extensions: Sequence[Extension]) -> None:
    """Keep the file that is about to be replaced: as the previous one, and what somebody edited for its owner."""
    current = read(path)
    if current.damaged:
        set_aside(path, "damaged", stays=True)
    elif current.extensions is not None and current.extensions != extensions:
        keep_previous(path)
        if current.edited:
            set_aside(path, "edited", stays=True)


def _checksum(entries: Sequence[Any]) -> str:
    """Return the same text for the same entries, however they are indented."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:16]


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
