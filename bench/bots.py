"""Calls that talk to a voice bot which returns what it hears: what our server costs beside a bare bridge.

Bot and generator share the second processor. The bot is the same for both servers (``bot_peer.py``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bench import machine
from bench.build import HERE
from bench.scenarios import ECHO, Bench
from bench.servers import DidNotStart, Server, answers, ours, reference
from bench.statistics import ASYNCIO, OURS, Sample

CALLS, ROUND_TRIP_CALLS = 200, 100
START_SECONDS = 10.0
#: A bot that dies: so many calls at a time, and how often.
DYING_CALLS, DYING_TURNS = 200, 5
DYING_SECONDS, SETTLE_SECONDS = 3.0, 2.0


def bots(bench: Bench, name: str, dialect: str) -> Sample:
    """Return the figures of 200 calls on one server, with the round trip of 100; of ours also without a bot."""
    with bot(dialect) as port, bridge(name, dialect, port) as server:
        found = dict(_listen(bench, server, CALLS))
    found["percent_per_call"] = found["server_percent"] / CALLS
    with bot(dialect) as port, bridge(name, dialect, port) as server:
        fewer = _listen(bench, server, ROUND_TRIP_CALLS)
    for key in ("round_trip_p50_ms", "round_trip_p99_ms", "round_trip_max_ms"):
        found[key] = fewer[key]
    found["us_per_frame_100"] = fewer["server_us_per_frame"]
    if name == OURS:
        with ours(ECHO) as server:
            without = _listen(bench, server, CALLS)
        for key in ("server_us_per_frame", "rate_slowest", "between_p99_ms"):
            found[f"without_{key}"] = without[key]
    return found


def dying_bots(bench: Bench) -> Sample:
    """Return what 1,000 calls to a bot that dies at random leave behind: legs, descriptors, memory in MB."""
    with bot("dying") as port, ours(ECHO, app_rules=rules("twilio", port)) as server:
        for _ in range(DYING_TURNS):  # what is allocated once, and kept of ended calls
            _calls_to_dying_bot(bench, server)
        descriptors, memory = _descriptors(server.pid), _resident_mb(server.pid)
        for _ in range(DYING_TURNS):
            _calls_to_dying_bot(bench, server)
        status = _status(server)
        return {
            "live_calls": float(status["live_calls"]),
            "descriptors": float(_descriptors(server.pid) - descriptors),
            "memory_mb": _resident_mb(server.pid) - memory,
            "connections": float(status["latencies"]["bot_connect_ms"]["count"]),
        }


def _calls_to_dying_bot(bench: Bench, server: Server) -> None:
    bench.load("listen", server, DYING_SECONDS, calls=DYING_CALLS, coded=1)
    time.sleep(SETTLE_SECONDS)


def _listen(bench: Bench, server: Server, calls: int) -> Sample:
    return bench.load("listen", server, 8, calls=calls, coded=1, warm_up=2, ramp=100)


@contextmanager
def bridge(name: str, dialect: str, bot_port: int) -> Iterator[Server]:
    command = [sys.executable, str(HERE / "asyncio_bridge.py"), str(bot_port), dialect]
    servers = {
        OURS: partial(ours, ECHO, app_rules=rules(dialect, bot_port)),
        ASYNCIO: partial(reference, command),
    }
    with servers[name]() as server:
        yield server


def rules(dialect: str, bot_port: int) -> str:
    """Return the text of ``apps.toml`` with which all visitors talk to the bot."""
    table = f'[condominium.1.{dialect}]\nurl = "ws://127.0.0.1:{bot_port}/"\nfallback = "silence"\n'
    return f'[condominium.1]\nvisitor = "{dialect}"\n{table}'


@contextmanager
def bot(dialect: str) -> Iterator[int]:
    """Run the bot on the generator's processor; yield its port."""
    (port,) = machine.free_ports(1)
    with machine.on_core(machine.GENERATOR_CORE):
        process = subprocess.Popen([sys.executable, str(HERE / "bot_peer.py"), str(port), dialect])
    try:
        give_up = time.monotonic() + START_SECONDS
        while not answers(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise DidNotStart("the bot of the benchmark does not listen")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def _status(server: Server) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{server.api}/api/status", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
