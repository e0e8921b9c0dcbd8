"""The table in Markdown: a line per figure with medians and ratios of the rounds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.statistics import ASYNCIO, OURS, C, Figure, Round, Spread, Target, ratios, spread, values, verdict

COLUMNS = ("", "ours", "C", "asyncio", "ours to C", "ours to asyncio", "reach / aim", "")


def heading() -> str:
    """Return the first two lines of the table."""
    return f"| {' | '.join(COLUMNS)} |\n|---|--:|--:|--:|--:|--:|--:|---|"


def lines(title: str, figures: Sequence[Figure], rounds: Sequence[Round]) -> list[str]:
    """Return the lines of one row: its title, then a line for each figure with values."""
    found = [_line(figure, rounds) for figure in figures if values(rounds, OURS, figure.key)]
    empty = [""] * (len(COLUMNS) - 1)
    return [_cells([f"**{title}**", *(empty if found else ["not available", *empty[1:]])]), *found]


def number(value: float) -> str:
    """Return a number with about three significant digits; with three decimals near 50, for frame rates."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if 49 <= value <= 51:
        return f"{value:.3f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _line(figure: Figure, rounds: Sequence[Round]) -> str:
    own = [_median(spread(values(rounds, name, figure.key))) for name in (OURS, C, ASYNCIO)]
    compared = [_ratio(spread(ratios(rounds, figure.key, name))) for name in (C, ASYNCIO)]
    verdicts = ", ".join(filter(None, (verdict(figure, target, rounds) for target in figure.targets)))
    return _cells([figure.title, *own, *compared, "; ".join(map(_target, figure.targets)), verdicts])


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _median(found: Spread | None) -> str:
    return "" if found is None else number(found.median)


def _ratio(found: Spread | None) -> str:
    return "" if found is None else f"{found.median:.2f} ({found.minimum:.2f}–{found.maximum:.2f})"


def _target(target: Target) -> str:
    return f"{target.reach:g} / {target.aim:g}{f' of {target.of}' if target.of else ''}"
