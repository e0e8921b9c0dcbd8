"""What a flooding peer does to the calls beside it: lateness of their frames, and the server's memory.

The neighbours are ordinary calls that hear a voice. Each flood is measured beside a run of the same length without
it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.load import LoadFailed
from bench.neighbour_calls import Gaps, listen
from bench.scenarios import SPEAK, Bench
from bench.servers import ROOT, Server, ours
from bench.statistics import Sample

CALLS = 40
LATE_MS = 40.0


@dataclass(frozen=True)
class Flood:
    """What is sent over how many connections, to which app."""

    key: str
    kind: str
    connections: int
    app: str

    def __str__(self) -> str:
        over = f" over {self.connections} connections" if self.connections > 1 else ""
        return f"{self.kind}{over} ({self.app})"


FLOODS = (
    Flood("changing_rates", "changing rates", 1, "play"),
    Flood("digits", "digits", 1, "play"),
    Flood("one_sample", "one sample", 1, "play+echo"),
    Flood("record", "one sample", 1, "play+record"),
    Flood("large", "large frames", 1, "play+echo"),
    Flood("fifty", "ordinary frames", 50, "play+echo"),
)


def neighbours(bench: Bench) -> Sample:
    """Return for each flood the longest gap (ms), late frames above those without it (%) and memory kept (MB)."""
    found: dict[str, float] = {}
    for flood in FLOODS:
        with ours({**SPEAK, "VISITOR_APP": flood.app}) as server:
            seconds = bench.seconds(5)
            quiet = _measure(server, seconds, None)
            before = _resident_mb(server.pid)
            loud = _measure(server, seconds, flood)
            time.sleep(2)
            found[f"{flood.key}_gap_ms"] = loud.longest_ms
            found[f"{flood.key}_quiet_gap_ms"] = quiet.longest_ms
            found[f"{flood.key}_late_percent"] = max(0.0, loud.late_percent - quiet.late_percent)
            found[f"{flood.key}_memory_mb"] = _resident_mb(server.pid) - before
    return found


def _measure(server: Server, seconds: float, flood: Flood | None) -> Gaps:
    flooder = None
    if flood is not None:
        arguments = [str(server.ports[0]), flood.kind, str(flood.connections), str(seconds + 1)]
        flooder = subprocess.Popen(
            [sys.executable, "-m", "bench.flooder", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL
        )
    try:
        with machine.on_core(machine.GENERATOR_CORE):
            return listen(server.ports[0], CALLS, seconds, LATE_MS)
    finally:
        if flooder is not None and flooder.wait(seconds + 30):
            raise LoadFailed(f"the flooder ended with status {flooder.returncode}")


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6
