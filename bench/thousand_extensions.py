"""A thousand extensions with 2,000 ports: time until all listen, time of a change, memory."""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from urllib.request import Request, urlopen

from bench import machine
from bench.servers import Server, answers, ours
from bench.statistics import Sample

EXTENSIONS = 1_000
CHANGES = 10
CHANGE_SECONDS = 5.0


def thousand_extensions() -> Sample:
    """Measure from the start of the process until ``/readyz`` answers 200, then changes of ports."""
    before = time.monotonic()
    with ours({"VISITOR_APP": "echo"}, extensions=EXTENSIONS) as server:
        started = time.monotonic() - before
        closed = set(server.ports) - machine.listening()
        changes = [_change(server, number) for number in range(1, CHANGES + 1)]
        return {
            "start_s": started,
            "not_listening": len(closed),
            "change_ms": statistics.median(changes) * 1000,
            "change_most_ms": max(changes) * 1000,
            "memory_mb": _resident_mb(server.pid),
        }


def _change(server: Server, number: int) -> float:
    """Change the port of an extension through the API; return the seconds until that port is open."""
    (port,) = machine.free_ports(1)
    request = Request(
        f"http://127.0.0.1:{server.api}/api/extensions/{number}",
        data=json.dumps({"porta_ia": port}).encode(),
        method="PUT",
        headers={"Content-Type": "application/json"},
    )
    before = time.monotonic()
    with urlopen(request, timeout=CHANGE_SECONDS) as answer:
        answer.read()
    while not answers(port):
        if time.monotonic() - before > CHANGE_SECONDS:
            raise TimeoutError(
                f"port {port} is not open {CHANGE_SECONDS:g} s after extension {number} was changed to it"
            )
    return time.monotonic() - before


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20
