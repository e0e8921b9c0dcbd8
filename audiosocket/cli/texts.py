"""Texts for a terminal: tables, durations, colours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import wrap
from typing import TextIO

from audiosocket.runtime.log_format import escape

#: Columns of a terminal that texts are made for.
WIDTH = 80
_CODES = {"bad": "31", "warn": "33", "good": "32", "strong": "1"}


@dataclass(frozen=True)
class Style:
    """Whether texts are coloured."""

    colour: bool = False

    def paint(self, text: str, kind: str) -> str:
        """Return ``text`` in the colour of ``kind``: "bad", "warn", "good" or "strong"."""
        return f"\x1b[{_CODES[kind]}m{text}\x1b[0m" if self.colour and kind in _CODES else text


def style_for(out: TextIO, environment: Mapping[str, str]) -> Style:
    """Return the style: colours on a terminal only, and not with NO_COLOR or TERM=dumb."""
    return Style(out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Return the lines of a table; the columns ``right`` are aligned to the right. No line ends in spaces."""
    cells = [list(head), *([escape("-" if cell in (None, "") else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def duration(seconds: float | None) -> str:
    """Return a duration as a person writes it: ``4.2 s``, ``3 min 12 s``, ``5 h 2 min``, ``3 d 4 h``."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    for unit, size, small, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {small}"
    return f"{whole} s"


def local_time(iso: str) -> str:
    """Return an ISO time of the API as date and time of this machine; as it is if it is none."""
    try:
        return datetime.fromisoformat(iso.replace("Z", "+00:00")).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return escape(iso)


def paragraph(text: str, first: str, rest: str | None = None) -> list[str]:
    """Return ``text`` in lines of `WIDTH` columns, ``first`` before the first and ``rest`` before the others."""
    indent = " " * len(first) if rest is None else rest
    return wrap(
        escape(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def count(number: int, one: str, many: str = "") -> str:
    """Return a number and its noun: ``1 call``, ``2 calls``."""
    return f"{number} {one if number == 1 else many or one + 's'}"
