"""Two worker processes compared with one.

One worker shares one core with its generator; two workers run on two cores with a generator on each. With a single
generator the second worker would only take the generator's core.
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

#: Calls on each core: in progress at the same time; set up at the same time.
FLOOD_CALLS, CHURN_CALLS = 100, 20


@cache
def available() -> bool:
    """Return whether our server has the option."""
    command = [sys.executable, "-m", "audiosocket", "--help"]
    return "--workers" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def two_to_one(bench: Bench) -> Sample:
    """Return the ratios of the rates and costs of two workers to those of one; empty without the option."""
    if not available():
        return {}
    one = _rates(bench, (machine.SERVER_CORE,))
    two = _rates(bench, (machine.SERVER_CORE, machine.GENERATOR_CORE))
    return {name: two[name] / one[name] for name in one}


def _rates(bench: Bench, cores: tuple[int, ...]) -> dict[str, float]:
    """Measure with as many workers as cores, and a generator on each core."""
    options = ("--workers", str(len(cores))) if len(cores) > 1 else ()
    with ours(LOOPBACK, options=options, core=cores[0] if len(cores) == 1 else None) as server:
        flood = _together(bench, "flood", server, cores, FLOOD_CALLS, ("frames_per_s", "server_us_per_frame"))
        churn = _together(bench, "churn", server, cores, CHURN_CALLS, ("calls_per_s", "server_us_per_call"))
    return {"flood_rate": flood[0], "flood_cost": flood[1], "churn_rate": churn[0], "churn_cost": churn[1]}


def _together(
    bench: Bench, mode: str, server: Server, cores: tuple[int, ...], calls: int, keys: tuple[str, str]
) -> tuple[float, float]:
    """Return the sum of the generators' rates, and the server's processor time per frame or call in µs.

    Each generator divides the processor time of the whole server by its own frames or calls only.
    """
    wanted = {"calls": calls, "seconds": bench.seconds(3)}
    with ThreadPoolExecutor(len(cores)) as side_by_side:
        runs = side_by_side.map(lambda core: run_load(bench.programs.load, mode, server, wanted, core=core), cores)
        found = [(sample[keys[0]], sample[keys[1]]) for sample in runs]
    work = sum(rate for rate, _ in found)
    busy = sum(rate * cost for rate, cost in found) / len(found)
    return work, busy / work
