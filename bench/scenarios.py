"""Who runs and under what load: the parts that the rows are made of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench.build import HERE, Programs
from bench.load import run_load
from bench.search import most_calls
from bench.servers import Server, ours, reference
from bench.statistics import ASYNCIO, OURS, C, Sample, faults

#: Apps of our server: one that only returns frames, for saturation; the one people test with; one that speaks.
LOOPBACK = {"VISITOR_APP": "loopback"}
ECHO = {"VISITOR_APP": "echo"}
SPEAK = {"VISITOR_APP": "play", "PLAY_THEN": "loop"}
#: As a gate's intercom: visitors hear a voice, residents are listened to, and the server fills in silence.
PORTEIRO = {**SPEAK, "RESIDENT_APP": "silence", "ACCEPT_UNEXPECTED_RESIDENT": "true"}

#: The generator's own core is full beyond this many paced calls.
CALLS_LIMIT = 1_800
LATE_MS = 20.0
FRAME_MS = 20.0
SLOWEST_RATE = 49.9


@dataclass(frozen=True)
class Bench:
    """What every measurement needs. ``length`` overrides the seconds of each, None keeps the row's own."""

    programs: Programs
    length: float | None = None

    def load(self, mode: str, server: Server, seconds: float, ports: int = 1, **options: float) -> Sample:
        """One run of the generator, on its own core, against so many of the server's ports."""
        options["seconds"] = self.seconds(seconds)
        return run_load(self.programs.load, mode, server, options, ports=ports)

    def seconds(self, usual: float) -> float:
        """How long to measure what usually takes ``usual``."""
        return self.length or usual

    @contextmanager
    def serving(self, contestant: str, settings: dict[str, str]) -> Iterator[Server]:
        """A contestant; ours with these settings, the others speak where ours would."""
        speaking = settings["VISITOR_APP"] == "play"
        servers = {
            OURS: partial(ours, settings),
            C: partial(reference, [str(self.programs.echo)], speaking=speaking),
            ASYNCIO: partial(reference, [sys.executable, str(HERE / "asyncio_echo.py")], speaking=speaking),
        }
        with servers[contestant]() as server:
            yield server


def greatest(holds: Callable[[int], bool], start: int) -> Sample:
    """The most calls that hold; a number that fails is tried twice, for the neighbours' sake."""
    return {"carried": most_calls(lambda calls: holds(calls) or holds(calls), start, CALLS_LIMIT)}


def echoes_in_time(sample: Sample) -> bool:
    """Nothing lost, and 99 of 100 frames back within a frame's time."""
    return not faults(sample) and sample.get("round_trip_p99_ms", LATE_MS) < LATE_MS


def speaks_in_time(sample: Sample) -> bool:
    """Every call at its pace, and 99 of 100 frames less than a frame's time late."""
    return (
        not faults(sample)
        and sample.get("speaking") == sample.get("calls")
        and sample.get("rate", 0) > SLOWEST_RATE
        and sample.get("between_p99_ms", 2 * FRAME_MS) < 2 * FRAME_MS
    )
