"""The line of a TOML text where a key stands; `tomllib` tells it of errors in the syntax only."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[\[?(?P<path>[^\]]*)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"\s*(?P<path>(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)")


def line_of(text: str, path: Sequence[str]) -> int:
    """The number of the line (from 1) of the key or table ``path``, of its nearest table else; 0 for none."""
    best, line = 0, 0
    table: list[str] = []
    for number, content in enumerate(text.splitlines(), 1):
        header = _HEADER.match(content)
        if header:
            table = _parts(header["path"])
            here = table
        else:
            key = _KEY.match(content)
            if not key:
                continue
            here = [*table, *_parts(key["path"])]
        shared = _shared(here, path)
        # A table below the one that is looked for is as good a place as that one, if it comes first.
        if shared > best and (len(here) == shared or shared == len(path)):
            best, line = shared, number
    return line


def _parts(path: str) -> list[str]:
    return [next(part for part in found if part or part == found[-1]) for found in _PART.findall(path)]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
