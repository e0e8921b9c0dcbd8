"""Runs the generator, and holds a server up from outside while it does."""

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

#: A generator that takes longer than this, beyond what it measures, hangs; in seconds.
SPARE_SECONDS = 60.0
STALL_SECONDS, STALL_EVERY_SECONDS = 0.07, 1.0


class LoadFailed(Exception):
    """The generator ended without a result; the text has its words."""


def run_load(
    program: Path,
    mode: str,
    server: Server,
    options: Mapping[str, float],
    *,
    ports: int = 1,
    core: int | None = machine.GENERATOR_CORE,
) -> Sample:
    """One run against the first ``ports`` ports of a server. Options are those of ``load.c``."""
    command = [str(program), mode, "--ports", ",".join(map(str, server.ports[:ports])), "--pid", str(server.pid)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", f"{value:g}"]
    with machine.on_core(core):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, words = process.communicate(timeout=sum(options.get(n, 0) for n in _LASTING) + SPARE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LoadFailed(f"{' '.join(command)} did not end") from None
    if process.returncode:
        raise LoadFailed(f"{' '.join(command)} ended with status {process.returncode}: {words.strip()}")
    return parse(out)


_LASTING = ("seconds", "warm_up", "settle")


def parse(text: str) -> Sample:
    """The generator's answer; raises `LoadFailed` for anything but one flat object of numbers."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LoadFailed(f"the generator's answer cannot be read ({error}): {text[:200]!r}") from None
    if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
        raise LoadFailed(f"the generator's answer is no object of numbers: {text[:200]!r}")
    return {str(name): float(value) for name, value in found.items()}


@contextmanager
def stalled(pid: int) -> Iterator[None]:
    """Stop a process for 70 ms in every second, as a disk, a collector or a busy neighbour would."""
    over = Event()

    def hold_up() -> None:
        while not over.wait(STALL_EVERY_SECONDS - STALL_SECONDS):
            os.kill(pid, signal.SIGSTOP)
            over.wait(STALL_SECONDS)
            os.kill(pid, signal.SIGCONT)

    thread = Thread(target=hold_up)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
