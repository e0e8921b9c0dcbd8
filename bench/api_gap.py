"""What one large answer of the HTTP API does to calls: the longest gap that 40 of them hear while it is made.

Most calls are quiet and only there to be shown; so are most extensions.
"""

from __future__ import annotations

import socket
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread

from audiosocket.wire import uuid_frame
from bench import machine
from bench.neighbour_calls import listen
from bench.scenarios import SPEAK, Bench
from bench.servers import Server, ours
from bench.statistics import Sample

QUIET_CALLS, NEIGHBOURS, EXTENSIONS = 1_460, 40, 1_000
LATE_MS = 40.0
REQUESTS = 5
#: How long the neighbours are listened to around each request, and when it is made.
WINDOW_SECONDS, ASKED_AT_SECONDS = 1.5, 1.0
#: The app of residents: it sends nothing to a call that sends nothing.
SETTINGS = {**SPEAK, "RESIDENT_APP": "loopback", "ACCEPT_UNEXPECTED_RESIDENT": "true"}


def api_gap(bench: Bench) -> Sample:
    """Return the median of the longest gaps in ms, without a request and with one for each path."""
    requests = 1 if bench.length else REQUESTS
    with (
        ours(SETTINGS, extensions=EXTENSIONS) as server,
        _quiet_calls(server),
        machine.on_core(machine.GENERATOR_CORE),
    ):
        found = {
            f"{name}_gap_ms": statistics.median(_gap(server, path) for _ in range(requests))
            for name, path in (
                ("quiet", ""),
                ("calls", "/api/calls"),
                ("status", "/api/status"),
                ("problems", "/api/problems"),
            )
        }
    quiet = found["quiet_gap_ms"]
    more = {f"{name}_more_ms": max(0.0, found[f"{name}_gap_ms"] - quiet) for name in ("calls", "status")}
    return {**found, **more}


def _gap(server: Server, path: str) -> float:
    asking = Thread(target=_ask_later, args=(server.api, path))
    asking.start()
    try:
        return listen(server.ports[0], NEIGHBOURS, WINDOW_SECONDS, LATE_MS).longest_ms
    finally:
        asking.join()


def _ask_later(port: int, path: str) -> None:
    time.sleep(ASKED_AT_SECONDS)
    if not path:
        return
    with socket.create_connection(("127.0.0.1", port)) as asking:
        asking.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        while asking.recv(1 << 20):
            pass


@contextmanager
def _quiet_calls(server: Server) -> Iterator[None]:
    """Hold calls on the residents' ports that send nothing."""
    with ExitStack() as held:
        for number in range(QUIET_CALLS):
            port = server.ports[1 + 2 * (number % 100)]
            held.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(uuid_frame(uuid.uuid4()))
        yield
