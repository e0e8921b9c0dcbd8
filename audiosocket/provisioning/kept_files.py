"""Earlier contents of a file: the previous good one as ``.1``, and what somebody edited, with a time in its name.

Blocking. The file itself is there at every moment: other names are added to it, and one ``rename()`` replaces it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from secrets import token_hex

#: Files set aside in the same second that get a name each.
MAX_SAME_SECOND = 100


def previous(path: Path) -> Path:
    """Return where the previous good content of ``path`` is kept."""
    return path.with_name(f"{path.name}.1")


def keep_previous(path: Path) -> None:
    """Keep what the file is now as the previous good content; raises OSError."""
    _replace_by_copy(path, previous(path))


def restore_previous(path: Path) -> None:
    """Put the previous good content in the place of the file; raises OSError."""
    # a copy: an editor may write into the file
    _replace_by_copy(previous(path), path, link=False)


def set_aside(path: Path, why: str, *, stays: bool = False) -> str:
    """Keep the file as ``NAME.WHY-TIME``, with ``stays`` under its own name too; return what was done as text."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    for attempt in range(MAX_SAME_SECOND):
        aside = path.with_name(f"{path.name}.{why}-{stamp}" + (f"-{attempt}" if attempt else ""))
        if aside.exists():
            continue
        try:
            if stays:
                _replace_by_copy(path, aside)
            else:
                os.replace(path, aside)
        except OSError as error:
            return f"it could not be set aside: {error.strerror}"
        return f"set aside as {aside.name}"
    return f"it could not be set aside: too many {why} files; remove some"


def _replace_by_copy(source: Path, target: Path, *, link: bool = True) -> None:
    """Give ``source`` a second name, or copy it: without ``link``, or where the file system has no links."""
    temporary = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        if not link or not _linked(source, temporary):
            shutil.copy2(source, temporary)
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
