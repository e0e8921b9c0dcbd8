"""Measure our server beside a C and an asyncio server, in interleaved rounds, and print the table of ratios.

    python -m bench [--rows flood,paced] [--rounds 4] [--seconds 2] [--quick] [--json result.json]
    python -m bench reliability --help

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
from bench.reliability.command import main as reliability
from bench.rows import Row, chosen
from bench.scenarios import Bench
from bench.servers import DidNotStart
from bench.statistics import Round, Sample, disturbance, faults, to_json

QUICK_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["reliability"]:
        return reliability(arguments[1:])
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
    print(f"{conditions['machine']}; medians of {rounds} rounds, extremes in brackets\n\n{table.heading()}")
    results: list[dict[str, Any]] = []
    all_rounds: list[Round] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        try:
            bench = Bench(build(Path(scratch)), length)
        except CannotBuild as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        for row in options.rows:
            found, faults_found = measure(bench, row, min(rounds, row.max_rounds))
            print("\n".join(table.lines(row.title, row.figures, found)), flush=True)
            wrong += faults_found
            all_rounds += found
            figures = [to_json(figure, found) for figure in row.figures]
            results.append({"row": row.name, "title": row.title, "figures": figures, "rounds": found})
    print("\n" + "\n".join(wrong or ["No frame was lost, altered or repeated, and no call failed."]))
    others = disturbance(all_rounds)
    if others is not None:
        share = f"{others.median:.0f} % of a processor ({others.minimum:.0f}–{others.maximum:.0f})"
        print(f"Other processes used {share} meanwhile.")
    if options.json is not None:
        conditions["load_average_after"] = machine.load_average()
        options.json.write_text(json.dumps({**conditions, "rows": results, "faults": wrong}, indent=1) + "\n")
    return 0


def measure(bench: Bench, row: Row, rounds: int) -> tuple[list[Round], list[str]]:
    """Measure one row; return its rounds and their faults as text.

    The order of the servers changes with the round, so that none of them is always the first.
    """
    found: list[Round] = []
    wrong: list[str] = []
    for number in range(1, rounds + 1):
        samples: dict[str, Sample] = {}
        first = number % len(row.servers)
        for server in row.servers[first:] + row.servers[:first]:
            problems = []
            try:
                sample = samples[server] = _measure_once(bench, row, server)
                problems += faults(sample)
            except (DidNotStart, LoadFailed, OSError) as error:
                sample = {}
                problems.append(str(error))
            where = f"{row.name}, round {number}, {server}"
            wrong += [f"{where}: {', '.join(problems)}"] if problems else []
            value = sample.get(row.figures[0].key)
            shown = "-" if value is None else f"{table.number(value)} {row.figures[0].title}"
            print(f"{where}: {'; '.join([shown, *problems])}", file=sys.stderr, flush=True)
        found.append(samples)
    return found, wrong


def _measure_once(bench: Bench, row: Row, server: str) -> Sample:
    try:
        return row.measure(bench, server)
    except DidNotStart:  # another program took the port before the server opened it
        return row.measure(bench, server)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=_rows, default=chosen(""), metavar="NAMES", help="only these rows, comma separated"
    )
    parser.add_argument("--rounds", type=_whole, default=4, metavar="N", help="rounds per row (4)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of every measurement (2 to 8 by row)")
    parser.add_argument(
        "--quick", action="store_true", help="one round of one second, as a check that everything works"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample to this file")
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
