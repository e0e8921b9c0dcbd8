"""Measure our server beside a C and an asyncio server, in interleaved rounds, and print the table of ratios.

    python -m bench [--rows flood,paced] [--rounds 4] [--seconds 2] [--quick] [--json result.json]

Server on processor 0, generator on processor 1, loopback only. README.md says what each row means.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import machine, table
from bench.build import CannotBuild, build
from bench.load import LoadFailed
from bench.rows import Row, chosen
from bench.scenarios import Bench
from bench.servers import DidNotStart
from bench.statistics import Round, Sample, disturbance, faults, to_json

QUICK_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit status."""
    options = _options().parse_args(arguments)
    length = options.seconds or (QUICK_SECONDS if options.quick else None)
    rounds = 1 if options.quick else options.rounds
    limit = machine.raise_descriptor_limit()
    conditions = {
        "machine": machine.describe(),
        "rounds": rounds,
        "descriptors": limit,
        "load_average_before": machine.load_average(),
    }
    print(
        f"{conditions['machine']}; medians of {rounds} rounds, least and greatest in brackets\n\n{table.heading()}"
    )
    results: list[dict[str, Any]] = []
    everything: list[Round] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        try:
            bench = Bench(build(Path(scratch)), length)
        except CannotBuild as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        for row in options.rows:
            found, troubles = measure(bench, row, min(rounds, row.rounds_most))
            print("\n".join(table.lines(row.title, row.figures, found)), flush=True)
            wrong += troubles
            everything += found
            figures = [to_json(figure, found) for figure in row.figures]
            results.append({"row": row.name, "title": row.title, "figures": figures, "rounds": found})
    print("\n" + "\n".join(wrong or ["No frame was lost, altered or repeated, and no call broke."]))
    others = disturbance(everything)
    if others is not None:
        share = f"{others.middle:.0f} % of a processor ({others.least:.0f}–{others.most:.0f})"
        print(f"Meanwhile other work took {share}.")
    if options.json is not None:
        conditions["load_average_after"] = machine.load_average()
        options.json.write_text(json.dumps({**conditions, "rows": results, "faults": wrong}, indent=1) + "\n")
    return 0


def measure(bench: Bench, row: Row, rounds: int) -> tuple[list[Round], list[str]]:
    """The rounds of one row, and what went wrong in them, in words.

    Who begins changes with the round: what runs first must not always be the same.
    """
    found: list[Round] = []
    wrong: list[str] = []
    for number in range(1, rounds + 1):
        samples: dict[str, Sample] = {}
        first = number % len(row.contestants)
        for contestant in row.contestants[first:] + row.contestants[:first]:
            words = []
            try:
                sample = samples[contestant] = _take(bench, row, contestant)
                words += faults(sample)
            except (DidNotStart, LoadFailed, OSError) as error:
                sample = {}
                words.append(str(error))
            where = f"{row.name}, round {number}, {contestant}"
            wrong += [f"{where}: {', '.join(words)}"] if words else []
            value = sample.get(row.figures[0].key)
            shown = "-" if value is None else f"{table.number(value)} {row.figures[0].title}"
            print(f"{where}: {'; '.join([shown, *words])}", file=sys.stderr, flush=True)
        found.append(samples)
    return found, wrong


def _take(bench: Bench, row: Row, contestant: str) -> Sample:
    try:
        return row.take(bench, contestant)
    except DidNotStart:  # somebody else took a port between our finding it free and the server's start
        return row.take(bench, contestant)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=_rows, default=chosen(""), metavar="NAMES", help="only these, comma separated"
    )
    parser.add_argument("--rounds", type=_whole, default=4, metavar="N", help="rounds per row (4)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of every measurement (2 to 8 by row)")
    parser.add_argument("--quick", action="store_true", help="one round of one second: to see that all works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there, too")
    return parser


def _rows(text: str) -> tuple[Row, ...]:
    try:
        return chosen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds (1 to 100)")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
