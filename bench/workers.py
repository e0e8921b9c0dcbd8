"""Two worker processes against one: a core with its share of the load for each of them.

One worker runs on one core together with its generator, two workers run on two cores with a generator on each. So
both sides pay for the load they are put under; from a single generator a second worker would only take its core.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from bench import machine
from bench.load import run_load
from bench.scenarios import LOOPBACK, Bench
from bench.servers import ROOT, Server, ours
from bench.statistics import Sample

#: Calls on each core: in flight at the same time; being set up at the same time.
FLOOD_CALLS, CHURN_CALLS = 100, 20


@cache
def available() -> bool:
    """Whether our server has the option at all."""
    command = [sys.executable, "-m", "audiosocket", "--help"]
    return "--workers" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def two_to_one(bench: Bench) -> Sample:
    """Rates of two workers to those of one, and processor time per piece of work; empty without the option."""
    if not available():
        return {}
    one = _rates(bench, (machine.SERVER_CORE,))
    two = _rates(bench, (machine.SERVER_CORE, machine.GENERATOR_CORE))
    return {name: two[name] / one[name] for name in one}


def _rates(bench: Bench, cores: tuple[int, ...]) -> dict[str, float]:
    """As many workers as cores, each core with a generator of its own."""
    options = ("--workers", str(len(cores))) if len(cores) > 1 else ()
    with ours(LOOPBACK, options=options, core=cores[0] if len(cores) == 1 else None) as server:
        flood = _together(bench, "flood", server, cores, FLOOD_CALLS, ("frames_per_s", "server_us_per_frame"))
        churn = _together(bench, "churn", server, cores, CHURN_CALLS, ("calls_per_s", "server_us_per_call"))
    return {"flood_rate": flood[0], "flood_cost": flood[1], "churn_rate": churn[0], "churn_cost": churn[1]}


def _together(
    bench: Bench, mode: str, server: Server, cores: tuple[int, ...], calls: int, keys: tuple[str, str]
) -> tuple[float, float]:
    """The generators' rates together, and the server's processor time for a piece of work, in microseconds.

    Each generator sees the whole server's processor time, and divides it by its own work only.
    """
    wanted = {"calls": calls, "seconds": bench.seconds(3)}
    with ThreadPoolExecutor(len(cores)) as side_by_side:
        runs = side_by_side.map(lambda core: run_load(bench.programs.load, mode, server, wanted, core=core), cores)
        found = [(sample[keys[0]], sample[keys[1]]) for sample in runs]
    work = sum(rate for rate, _ in found)
    busy = sum(rate * cost for rate, cost in found) / len(found)
    return work, busy / work
