"""The configuration that is shipped in ``examples/asterisk``, word for word but for a test's own settings."""

from __future__ import annotations

import re
from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "examples" / "asterisk"


def load(name: str, **settings: str) -> str:
    """A shipped file with some of its settings changed, written as ``NAME=value``, ``name = value`` or in a Set().

    A setting the administrator would find nowhere, or twice, is an error of the file: `AssertionError`.
    """
    text = (DIRECTORY / name).read_text()
    for setting, value in settings.items():
        text, found = re.subn(
            rf"(?m)^((?:(?:exten => s,1|[ ]same => n),Set\()?{setting}[ \t]*=[ \t]*)[^\s)]*",
            lambda match, value=value: match.group(1) + value,  # type: ignore[misc]
            text,
        )
        assert found == 1, f"{name} sets {setting} {found} times"
    return text
