"""The servers and loads that the rows consist of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench.build import HERE, Programs
from bench.load import run_load
from bench.search import max_calls
from bench.servers import Server, ours, reference
from bench.statistics import ASYNCIO, OURS, C, Sample, faults

#: Apps of our server: one that only returns frames, for saturation; the echo; one that plays audio.
LOOPBACK = {"VISITOR_APP": "loopback"}
ECHO = {"VISITOR_APP": "echo"}
SPEAK = {"VISITOR_APP": "play", "PLAY_THEN": "loop"}
#: As at a gate's intercom: visitors hear a voice, residents speak, and the server sends them silence.
PORTEIRO = {**SPEAK, "RESIDENT_APP": "silence", "ACCEPT_UNEXPECTED_RESIDENT": "true"}

#: More paced calls than these saturate the generator's own core.
CALLS_LIMIT = 1_800
LATE_MS = 20.0
FRAME_MS = 20.0
SLOWEST_RATE = 49.9


@dataclass(frozen=True)
class Bench:
    """The common parts of all measurements. ``length`` replaces the duration of each, in seconds."""

    programs: Programs
    length: float | None = None

    def load(self, mode: str, server: Server, seconds: float, ports: int = 1, **options: float) -> Sample:
        """Run the generator on its own core against ``ports`` of the server's ports."""
        options["seconds"] = self.seconds(seconds)
        return run_load(self.programs.load, mode, server, options, ports=ports)

    def seconds(self, usual: float) -> float:
        """Return the duration of a measurement, ``usual`` by default."""
        return self.length or usual

    @contextmanager
    def serving(self, name: str, settings: dict[str, str]) -> Iterator[Server]:
        """A name; ours with these settings, the others speak where ours would."""
        speaking = settings["VISITOR_APP"] == "play"
        servers = {
            OURS: partial(ours, settings),
            C: partial(reference, [str(self.programs.echo)], speaking=speaking),
            ASYNCIO: partial(reference, [sys.executable, "-I", str(HERE / "asyncio_echo.py")], speaking=speaking),
        }
        with servers[name]() as server:
            yield server


def largest(holds: Callable[[int], bool], start: int) -> Sample:
    """Return the largest number of calls that holds; one that fails, perhaps by other load, is tried twice."""
    return {"carried": max_calls(lambda calls: holds(calls) or holds(calls), start, CALLS_LIMIT)}


def echoes_in_time(sample: Sample) -> bool:
    """Return whether nothing was lost and 99 of 100 frames were returned within 20 ms."""
    return not faults(sample) and sample.get("round_trip_p99_ms", LATE_MS) < LATE_MS


def speaks_in_time(sample: Sample) -> bool:
    """Return whether every call kept its rate and 99 of 100 frames were less than 20 ms late."""
    return (
        not faults(sample)
        and sample.get("speaking") == sample.get("calls")
        and sample.get("rate", 0) > SLOWEST_RATE
        and sample.get("between_p99_ms", 2 * FRAME_MS) < 2 * FRAME_MS
    )
