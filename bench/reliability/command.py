"""The command ``python -m bench reliability``.

    python -m bench reliability --hours 24 [--calls 200] [--seed N] [--json soak.json]

With ``--hours`` the soak: calls that come and go for so long, and the slopes of memory, descriptors and threads.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import audiosocket
from bench import machine
from bench.load import LoadFailed
from bench.reliability.soak import soak
from bench.servers import DidNotStart


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    options = _options().parse_args(arguments)
    seed = random.randrange(10**6) if options.seed is None else options.seed
    machine.raise_descriptor_limit()
    try:
        found = soak(options.hours, options.calls, seed)
    except (DidNotStart, LoadFailed) as error:
        print(f"bench reliability: {error}", file=sys.stderr)
        return 1
    text = json.dumps({**conditions(), **found}, indent=1) + "\n"
    if options.json is None:
        print(text, end="")
    else:
        options.json.write_text(text)
    return 0


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
    parser.add_argument("--hours", type=float, required=True, metavar="H", help="how long the soak runs")
    parser.add_argument("--calls", type=int, default=200, metavar="N", help="calls at a time (200)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the random lengths of calls")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, not to standard output")
    return parser
