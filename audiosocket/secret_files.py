"""Reading a file whose first line is a secret."""

from __future__ import annotations

import os
from pathlib import Path

from audiosocket.errors import InvalidSetting, describe_cause


def first_line(setting: str, path: str) -> str:
    """Return the first line of the file at ``path``, which ``setting`` names, without its end; blocks.

    Raises `InvalidSetting`.
    """
    try:
        with open(path, encoding="utf-8") as source:
            return source.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{setting}: {shown_path(path)} cannot be read: {describe_cause(error)}") from None


def secret_line(setting: str, path: str) -> str:
    """As `first_line`; an empty line is an error, too."""
    secret = first_line(setting, path)
    if not secret.strip():
        raise InvalidSetting(f"{setting}: the first line of {shown_path(path)} is empty; write the secret there")
    return secret


def shown_path(path: str) -> str:
    """Return ``path`` in quotes, or "(not shown)" where it may be the secret itself in the wrong setting.

    A path is shown when it exists, or a directory of it does that is neither the working directory nor above it: a
    secret may contain slashes, and a relative path has been made absolute. Blocks.
    """
    if os.path.lexists(path):
        return repr(path)
    absolute = os.path.abspath(os.path.expanduser(path))
    around = [Path.cwd(), *Path.cwd().parents]
    directories = (each for each in Path(absolute).parents if each not in around)
    return repr(path) if any(os.path.isdir(each) for each in directories) else "(not shown)"
