"""What a flooding peer does to the calls beside it: lateness of their frames, and the server's memory.

The neighbours are ordinary calls that hear a voice, or a bot. Each flood is measured beside a run of the same
length without it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.bots import bot, rules
from bench.load import LoadFailed
from bench.neighbour_calls import Gaps, listen
from bench.scenarios import SPEAK, Bench
from bench.servers import ROOT, Server, ours
from bench.statistics import Sample

CALLS = 40
LATE_MS = 40.0
#: The server returns free memory to the system every ten seconds.
SETTLE_SECONDS = 12.0
TWILIO = "twilio"


@dataclass(frozen=True)
class Flood:
    """What is sent over how many connections, to which app in how many processes."""

    key: str
    kind: str
    connections: int
    app: str
    workers: int = 1

    def __str__(self) -> str:
        over = f" over {self.connections} connections" if self.connections > 1 else ""
        return f"{self.kind}{over} ({self.app}{f', {self.workers} workers' if self.workers > 1 else ''})"


FLOODS = (
    Flood("changing_rates", "changing rates", 1, "play"),
    Flood("digits", "digits", 1, "play"),
    Flood("one_sample", "one sample", 1, "play+echo"),
    Flood("record", "one sample", 1, "play+record"),
    Flood("large", "large frames", 1, "play+echo"),
    Flood("fifty", "ordinary frames", 50, "play+echo"),
    Flood("fifty_record", "large frames", 50, "play+record"),
    Flood("workers", "one sample", 1, "play+echo", workers=2),
    Flood("workers_fifty", "ordinary frames", 50, "play+echo", workers=2),
    Flood("bot", "one sample", 1, TWILIO),
    Flood("bot_digits", "digits", 1, TWILIO),
    Flood("bot_fifty", "ordinary frames", 50, TWILIO),
)


def neighbours(bench: Bench) -> Sample:
    """Return for each flood the longest gap (ms), late frames above those without it (%) and memory kept (MB)."""
    found: dict[str, float] = {}
    for flood in FLOODS:
        with _server(flood) as server:
            seconds = bench.seconds(5)
            quiet = _measure(server, seconds, None)
            before = _memory_mb(server.pid)
            loud = _measure(server, seconds, flood)
            time.sleep(SETTLE_SECONDS)
            found[f"{flood.key}_gap_ms"] = loud.longest_ms
            found[f"{flood.key}_quiet_gap_ms"] = quiet.longest_ms
            found[f"{flood.key}_late_percent"] = max(0.0, loud.late_percent - quiet.late_percent)
            found[f"{flood.key}_memory_mb"] = _memory_mb(server.pid) - before
    return found


@contextmanager
def _server(flood: Flood) -> Iterator[Server]:
    """Run the server that is flooded; several processes run on all processors, also the generator's."""
    settings = {**SPEAK, "WORKERS": str(flood.workers)}
    core = machine.SERVER_CORE if flood.workers == 1 else None
    if flood.app != TWILIO:
        with ours({**settings, "VISITOR_APP": flood.app}, core=core) as server:
            yield server
        return
    with bot(TWILIO) as port, ours(settings, core=core, app_rules=rules(TWILIO, port)) as server:
        yield server


def _measure(server: Server, seconds: float, flood: Flood | None) -> Gaps:
    flooder = None
    if flood is not None:
        arguments = [str(server.ports[0]), flood.kind, str(flood.connections), str(seconds + 1)]
        command = [sys.executable, "-m", "bench.flooder", *arguments]
        with machine.on_core(machine.GENERATOR_CORE if flood.workers == 1 else None):
            flooder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        with machine.on_core(machine.GENERATOR_CORE):
            return listen(server.ports[0], CALLS, seconds, LATE_MS)
    finally:
        if flooder is not None and flooder.wait(seconds + 30):
            raise LoadFailed(f"the flooder ended with status {flooder.returncode}")


def _memory_mb(pid: int) -> float:
    """Return what the process and its children have in memory."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = (int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (pid, *children))
    return sum(pages) * 4096 / 1e6
