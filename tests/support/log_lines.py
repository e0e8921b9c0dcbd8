"""The form of a log line."""

from __future__ import annotations

import re

#: The form that docs/operations.md promises.
LINE = re.compile(
    r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2},\d{3} - (?P<module>\S+) - (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)"
    r" - (?P<text>.*)\n"
)
