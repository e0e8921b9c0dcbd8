"""Reading a file whose first line is a secret."""

from __future__ import annotations

from audiosocket.errors import InvalidSetting, describe_cause


def first_line(setting: str, path: str) -> str:
    """Return the first line of the file at ``path``, which ``setting`` names, without its end; blocks.

    Raises `InvalidSetting`.
    """
    try:
        with open(path, encoding="utf-8") as source:
            return source.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{setting}: {path!r} cannot be read: {describe_cause(error)}") from None


def secret_line(setting: str, path: str) -> str:
    """As `first_line`; an empty line is an error, too."""
    secret = first_line(setting, path)
    if not secret.strip():
        raise InvalidSetting(f"{setting}: the first line of {path!r} is empty; write the secret there")
    return secret
