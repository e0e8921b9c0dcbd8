"""The table: Markdown, one line per figure, medians and the ratios of the rounds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.statistics import ASYNCIO, OURS, C, Figure, Round, Spread, Target, ratios, spread, values, verdict

COLUMNS = ("", "ours", "C", "asyncio", "ours to C", "ours to asyncio", "reach / aim", "")


def heading() -> str:
    """The table's first two lines."""
    return f"| {' | '.join(COLUMNS)} |\n|---|--:|--:|--:|--:|--:|--:|---|"


def lines(title: str, figures: Sequence[Figure], rounds: Sequence[Round]) -> list[str]:
    """A row of the bench: its title, then a line per figure that was found."""
    found = [_line(figure, rounds) for figure in figures if values(rounds, OURS, figure.key)]
    empty = [""] * (len(COLUMNS) - 1)
    return [_cells([f"**{title}**", *(empty if found else ["not available", *empty[1:]])]), *found]


def number(value: float) -> str:
    """Three digits that matter: 12,345 and 123 and 1.23 and 0.0123; a rate near 50 has its thousandths."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if 49 <= value <= 51:
        return f"{value:.3f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _line(figure: Figure, rounds: Sequence[Round]) -> str:
    own = [_median(spread(values(rounds, name, figure.key))) for name in (OURS, C, ASYNCIO)]
    compared = [_ratio(spread(ratios(rounds, figure.key, name))) for name in (C, ASYNCIO)]
    words = ", ".join(filter(None, (verdict(figure, target, rounds) for target in figure.targets)))
    return _cells([figure.title, *own, *compared, "; ".join(map(_target, figure.targets)), words])


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _median(found: Spread | None) -> str:
    return "" if found is None else number(found.middle)


def _ratio(found: Spread | None) -> str:
    return "" if found is None else f"{found.middle:.2f} ({found.least:.2f}–{found.most:.2f})"


def _target(target: Target) -> str:
    return f"{target.reach:g} / {target.aim:g}{f' of {target.of}' if target.of else ''}"
