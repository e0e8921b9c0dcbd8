"""Hours of calls that come and go, and what memory, descriptors and threads of the server do meanwhile (R19)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

from bench.load import LoadFailed
from bench.reliability.slopes import Sample, slopes
from bench.servers import ROOT, Server, ours

#: Calls last 6 to 54 s.
LASTING_SECONDS = 30.0
SAMPLE_SECONDS = 10.0
#: Samples that are kept in the result, evenly over the run.
SHOWN_SAMPLES = 60
EXTENSIONS = 4
#: How long the calls that have ended are given to be gone from the server.
AFTER_SECONDS = 5.0


def soak(hours: float, calls: int, seed: int) -> dict[str, Any]:
    """Run calls with churn for ``hours``; return start, end, slopes per hour and the counts of the calls."""
    # The status is asked for at every sample, as an open operator page does.
    with ours({"VISITOR_APP": "echo"}, extensions=EXTENSIONS, core=None) as server:
        before = look(server.pid, 0.0)
        used, begin = _cpu_seconds(server.pid), time.monotonic()
        samples: list[Sample] = []
        loads: list[float] = []
        with callers(server, calls, LASTING_SECONDS, SAMPLE_SECONDS, seed) as (control, reports):
            # ends standard input, which ends the callers, which ends this loop
            for line in reports:
                totals = json.loads(line)
                passed = time.monotonic() - begin
                if control.closed:
                    break
                samples.append(look(server.pid, passed / 3600))
                loads.append(os.getloadavg()[0])
                _ask(server)
                if passed >= hours * 3600:
                    control.close()
        seconds = time.monotonic() - begin
        used = _cpu_seconds(server.pid) - used
        time.sleep(AFTER_SECONDS)
        after = look(server.pid, seconds / 3600)
    every = max(1, len(samples) // SHOWN_SAMPLES)
    return {
        "seed": seed,
        "calls_at_once": calls,
        "hours": round(seconds / 3600, 3),
        "server_percent_of_a_processor": round(100 * used / seconds, 1),
        "load_average": {"mean": round(sum(loads) / len(loads), 1), "most": round(max(loads), 1)},
        "before_the_first_call": asdict(before),
        "start": asdict(samples[0]),
        "end": asdict(samples[-1]),
        "after_the_last_call": asdict(after),
        "slopes": slopes(samples),
        "calls": totals,
        "late_percent": round(100 * totals["late"] / max(1, totals["back"]), 4),
        "samples": [asdict(sample) for sample in samples[::every]],
    }


@contextmanager
def callers(
    server: Server, calls: int, lasting: float, every: float, seed: int
) -> Iterator[tuple[IO[str], IO[str]]]:
    """Run the process of the calls; yield its standard input, which ends it, and its lines of totals.

    Raises `LoadFailed` when it ends with an error.
    """
    options = ["--lasting", f"{lasting:g}", "--every", f"{every:g}", "--seed", str(seed)]
    command = [sys.executable, "-m", "bench.reliability.callers", str(calls)]
    command += [*map(str, server.ports[::2]), *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "up\n":
            raise LoadFailed("the calls of the soak could not be set up; the lines above say why")
        try:
            yield process.stdin, process.stdout
        finally:
            process.stdin.close()
    if process.returncode:
        raise LoadFailed(f"the callers ended with status {process.returncode}; the lines above say why")


def look(pid: int, hours: float) -> Sample:
    """Return memory, descriptors and threads of a process, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in status if ":" in line)
    return Sample(
        round(hours, 4),
        round(int(fields["VmRSS"].split()[0]) / 1024, 2),
        len(os.listdir(f"/proc/{pid}/fd")),
        int(fields["Threads"]),
    )


def _ask(server: Server) -> None:
    with urlopen(f"http://127.0.0.1:{server.api}/api/status", timeout=10) as answer:
        answer.read()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
