"""The command ``python -m bench reliability``.

    python -m bench reliability [--long] [--only R1,R8] [--seed N] [--json reliability.json]
    python -m bench reliability --hours 24 [--calls 200] [--seed N] [--json soak.json]

Tries the promises R1 to R21 and fails when one was broken, or not tried for no reason. With ``--hours`` the soak:
calls that come and go for so long, and the slopes of memory, descriptors and threads.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import audiosocket
from bench import machine
from bench.load import LoadFailed
from bench.reliability.promise import Count, Promise, Trial
from bench.reliability.promises import PROMISES
from bench.reliability.soak import soak
from bench.servers import DidNotStart

#: Those that a result must have.
KEYS = tuple(f"R{number}" for number in range(1, 22))


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    options = _options().parse_args(arguments)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    machine.raise_descriptor_limit()
    if options.hours is None:
        return _try_promises(options, seed)
    try:
        found = soak(options.hours, options.calls, seed)
    except (DidNotStart, LoadFailed) as error:
        print(f"bench reliability: {error}", file=sys.stderr)
        return 1
    text = json.dumps({**conditions(), **found}, indent=1) + "\n"
    _write(options, text)
    return 0


def _try_promises(options: argparse.Namespace, seed: int) -> int:
    rows = [try_promise(promise, seed, long=options.long) for promise in PROMISES if promise.key in options.only]
    result = {**conditions(), "form": "long" if options.long else "short", "seed": seed, "rows": rows}
    _write(options, json.dumps(result, indent=1) + "\n")
    wrong = faults(rows, options.only)
    print("\n".join(wrong or ["No promise was broken."]), file=sys.stderr)
    return 1 if wrong else 0


def _write(options: argparse.Namespace, text: str) -> None:
    if options.json is None:
        print(text, end="")
    else:
        options.json.write_text(text)


def try_promise(promise: Promise, seed: int, *, long: bool) -> dict[str, Any]:
    """Return the row of one promise; whatever is raised breaks it."""
    row: dict[str, Any] = {"promise": promise.key, "text": promise.text}
    if promise.measure is None:
        return {**row, "tried": 0, "broken": 0, "reason": promise.why_not}
    began = time.monotonic()
    try:
        count = promise.measure(Trial(random.Random(f"{seed} {promise.key}"), long))
    except Exception as error:  # noqa: BLE001 - the other promises are tried all the same
        count = Count(1, 1, f"{type(error).__name__}: {error}")
    print(f"{promise.key}: tried {count.tried}, broken {count.broken}  {count.notes}", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - began, 1)
    return {**row, "tried": count.tried, "broken": count.broken, "seconds": seconds, "notes": count.notes}


def faults(rows: Sequence[dict[str, Any]], wanted: Collection[str]) -> list[str]:
    """Return which promises were broken, not tried without a reason, or are missing."""
    wrong = [f"{row['promise']} was broken: {row['notes']}" for row in rows if row["broken"]]
    wrong += [f"{row['promise']} was not tried" for row in rows if not row["tried"] and not row.get("reason")]
    there = {row["promise"] for row in rows}
    return wrong + [f"{key} is missing" for key in sorted(set(wanted) - there)]


def conditions() -> dict[str, Any]:
    """Return when, where and with which versions something was measured."""
    packages = ("twisted", "klein", "txpostgres", "psycopg2-binary")
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine.describe(),
        "versions": {"audiosocket": audiosocket.__version__, **{name: version(name) for name in packages}},
    }


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--hours", type=float, metavar="H", help="run the soak, for so long")
    parser.add_argument("--long", action="store_true", help="try the promises often: hours instead of minutes")
    parser.add_argument("--only", type=_keys, default=KEYS, metavar="KEYS", help="only these, comma separated")
    parser.add_argument("--calls", type=int, default=200, metavar="N", help="calls at a time (200)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the random lengths of calls")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, not to standard output")
    return parser


def _keys(text: str) -> tuple[str, ...]:
    wanted = tuple(text.split(","))
    unknown = set(wanted) - set(KEYS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(unknown))}: no such promise; there are {', '.join(KEYS)}"
        )
    return wanted
