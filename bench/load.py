"""Runs of the load generator, and suspending a server meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from bench import machine
from bench.servers import Server
from bench.statistics import Sample

#: Seconds beyond its measuring time after which the generator is killed.
SPARE_SECONDS = 60.0
STALL_SECONDS, STALL_EVERY_SECONDS = 0.07, 1.0


class LoadFailed(Exception):
    """A run of the generator without a result; the text has its output."""


def run_load(
    program: Path,
    mode: str,
    server: Server,
    options: Mapping[str, float],
    *,
    ports: int = 1,
    core: int | None = machine.GENERATOR_CORE,
) -> Sample:
    """Run the generator against the first ``ports`` ports of a server; the options are those of ``load.c``."""
    command = [str(program), mode, "--ports", ",".join(map(str, server.ports[:ports])), "--pid", str(server.pid)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", f"{value:g}"]
    with machine.on_core(core):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, errors = process.communicate(timeout=sum(options.get(n, 0) for n in _LASTING) + SPARE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LoadFailed(f"{' '.join(command)} did not end") from None
    if process.returncode:
        raise LoadFailed(f"{' '.join(command)} ended with status {process.returncode}: {errors.strip()}")
    return parse(out)


_LASTING = ("seconds", "warm_up", "settle")


def parse(text: str) -> Sample:
    """Return the generator's result; raise `LoadFailed` unless it is one flat JSON object of numbers."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LoadFailed(f"the generator's output cannot be read ({error}): {text[:200]!r}") from None
    if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
        raise LoadFailed(f"the generator's output is not an object of numbers: {text[:200]!r}")
    return {str(name): float(value) for name, value in found.items()}


@contextmanager
def stalled(pid: int) -> Iterator[None]:
    """Suspend a process for 70 ms in every second, as a blocking disk or a busy machine would."""
    over = Event()

    def suspend() -> None:
        while not over.wait(STALL_EVERY_SECONDS - STALL_SECONDS):
            os.kill(pid, signal.SIGSTOP)
            over.wait(STALL_SECONDS)
            os.kill(pid, signal.SIGCONT)

    thread = Thread(target=suspend)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
