"""The machine: processors, limits, ports, and its description for the results."""

from __future__ import annotations

import os
import platform
import random
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

#: Servers run on the first processor, the generator on the second.
SERVER_CORE, GENERATOR_CORE = 0, 1
#: The range of ports used: below those that the kernel assigns to outgoing connections.
FIRST_PORT, LAST_PORT = 10_000, 32_000
#: The state of a listening socket in /proc/net/tcp.
_LISTEN = "0A"


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Make processes that are started within run on this processor, if it exists; on any for None."""
    if core is None or not hasattr(os, "sched_setaffinity") or core not in os.sched_getaffinity(0):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_descriptor_limit() -> int:
    """Raise the limit of open files to the hard limit, also for children; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_ports(count: int) -> list[int]:
    """Return free ports, consecutive where possible; raise `OSError` when there are too few."""
    start = random.randrange(FIRST_PORT, LAST_PORT - 2 * count)
    found: list[int] = []
    with ExitStack() as held:
        for port in [*range(start, LAST_PORT), *range(FIRST_PORT, start)]:
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"there are no {count} free ports between {FIRST_PORT} and {LAST_PORT}")


def listening() -> set[int]:
    """Return every port of this machine that is open, from /proc and without connecting."""
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    lines = [line.split() for path in tables for line in path.read_text().splitlines()[1:]]
    return {int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == _LISTEN}


def describe() -> str:
    """Return processors, kernel and Python as one line."""
    return (
        f"{os.cpu_count()} processors ({_processor()}), {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def load_average() -> str:
    """Return the load average of the last minute, the benchmark included."""
    return f"{os.getloadavg()[0]:.1f}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
