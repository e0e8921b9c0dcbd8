"""Two worker processes against one. The generator shares the two cores with them, in both cases."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

from bench.contest import LOOPBACK, Bench
from bench.figures import Sample
from bench.load import run_load
from bench.servers import ROOT, ours


@cache
def available() -> bool:
    """Whether our server has the option at all."""
    command = [sys.executable, "-m", "audiosocket", "--help"]
    return "--workers" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def two_to_one(bench: Bench) -> Sample:
    """Rates of two workers to those of one, and processor time per piece of work; empty without the option.

    The generator takes its share of the two cores, so the rates tell less than the processor time does: what
    costs two workers no more than one is done twice as fast where there is a core for each.
    """
    if not available():
        return {}
    one, two = _rates(bench, 1), _rates(bench, 2)
    return {name: two[name] / one[name] for name in one}


def _rates(bench: Bench, workers: int) -> dict[str, float]:
    options = ("--workers", str(workers)) if workers > 1 else ()
    with ours(LOOPBACK, options=options, core=None) as server:
        length = bench.seconds(2)
        flood = run_load(bench.programs.load, "flood", server, {"calls": 200, "seconds": length}, core=None)
        churn = run_load(bench.programs.load, "churn", server, {"calls": 20, "seconds": length}, core=None)
    return {
        "flood_rate": flood["frames_per_s"],
        "flood_cost": flood["server_us_per_frame"],
        "churn_rate": churn["calls_per_s"],
        "churn_cost": churn["server_us_per_call"],
    }
