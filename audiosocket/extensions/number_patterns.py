"""Which numbers are meant by a list of numbers and patterns, written as in Asterisk's dialplan. Pure.

``0`` and ``302`` mean themselves. After an underscore, ``X`` is a digit, ``Z`` 1 to 9, ``N`` 2 to 9, ``[13-5]``
one of those, ``.`` one or more and ``!`` any number of further characters. Source: "Pattern Matching" of the
Asterisk documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_LITERAL = re.compile(r"[0-9A-Za-z*#+][0-9A-Za-z*#+.-]{0,39}")
_PIECE = re.compile(r"\[(?P<set>(?:[0-9A-Za-z*#+](?:-[0-9A-Za-z])?)+)\]|(?P<one>[0-9A-Za-z*#+])|(?P<rest>[.!])\Z")
_CLASSES = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]"}
_RESTS = {".": "[0-9A-Za-z*#+._-]+", "!": "[0-9A-Za-z*#+._-]*"}


def is_pattern(text: str) -> bool:
    """Return whether this is a number or a pattern."""
    return _compiled(text) is not None


def matches(patterns: Iterable[str], number: str) -> bool:
    """Return whether one of ``patterns`` means ``number``; what is no pattern means none."""
    return any(found is not None and found.fullmatch(number) for found in map(_compiled, patterns))


@lru_cache(maxsize=1000)
def _compiled(text: str) -> re.Pattern[str] | None:
    if _LITERAL.fullmatch(text):
        return re.compile(re.escape(text))
    expression, rest = "", text[1:] if text.startswith("_") else ""
    while found := _PIECE.match(rest):
        expression += _expression(found)
        rest = rest[found.end() :]
    if rest or not expression:
        return None
    try:
        return re.compile(expression)
    except re.error:  # a range that is the wrong way round
        return None


def _expression(found: re.Match[str]) -> str:
    if found["set"]:
        return f"[{found['set']}]"
    if found["rest"]:
        return _RESTS[found["rest"]]
    return _CLASSES.get(found["one"].upper(), re.escape(found["one"]))
