"""When full garbage collections are made: if possible, while no leg is live.

A full collection of this process takes 27 ms, more than a frame; most of the objects it visits are code and
classes that never become garbage. So the objects that exist after the start are frozen (never visited again), and
full collections of the others are made here: when no leg is live, or, where one always is, when so many objects
have accumulated that waiting longer would cost memory; with the rest frozen that takes a few milliseconds. Young
objects are collected by Python as usual.

Python 3.10 to 3.13 have three generations; 3.14 has a collector that visits old objects in increments and ignores
the third threshold. Both work with this; the thresholds are restored at the stop.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Net new containers between two young collections, and young collections between two of the middle generation.
YOUNG, MIDDLE = 2_000, 10
#: Middle collections after which Python makes a full one by itself: only if the checks here do not run.
OLD = 1_000
#: Interval between two checks, in seconds.
CHECK_SECONDS = 1.0
#: Minimum time between two full collections while no leg is live, in seconds.
IDLE_SECONDS = 60.0
#: Net new containers since the last full collection at which one is made during calls, too; it takes up to 10 ms.
MAX_PENDING = 50_000
#: Free memory is returned to the system, also with legs live, after this growth, in bytes, at most so often, in
#: seconds. It takes 4 ms where a flood left 15 MB.
GROWTH_BYTES = 8_000_000
TRIM_SECONDS = 10.0


_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class GCPolicy(Service):
    """Freezes the objects that exist at the start, and makes full collections while no leg is live.

    ``busy`` returns whether a leg is live. ``forget`` drops data that is kept for a limited time, and returns
    whether there was any. ``resident`` returns how much memory the process has, in bytes.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        busy: Callable[[], bool],
        forget: Callable[[], bool] = lambda: False,
        resident: Callable[[], int] | None = None,
    ) -> None:
        self._reactor = reactor
        self._busy = busy
        self._forget = forget
        self._memory = resident or _resident
        #: Memory of the process after the last look at it, and when that was.
        self._least, self._looked_at = 0, 0.0
        #: Whether ``forget`` has dropped something since the last full collection.
        self._dropped = False
        self._call: IDelayedCall | None = None
        self._previous: tuple[int, int, int] | None = None
        self._full = self._young_at_full = 0
        self._full_at = 0.0

    def startService(self) -> None:
        super().startService()
        self._previous = gc.get_threshold()
        gc.set_threshold(YOUNG, MIDDLE, OLD)
        self.freeze()
        gc.enable()
        self._full, self._young_at_full = _collections()
        self._full_at = self._reactor.seconds()
        self._call = self._reactor.callLater(CHECK_SECONDS, self._check)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._previous is not None:
            gc.set_threshold(*self._previous)
            self._previous = None

    def freeze(self) -> None:
        """Freeze all objects, which takes microseconds; not while legs are live, as these would never be freed.

        Nothing is collected before, as that would take 27 ms: of the 70,000 objects of a start at most 2,200 are
        garbage.
        """
        if not self._busy():
            gc.freeze()

    def _check(self) -> None:
        self._call = self._reactor.callLater(CHECK_SECONDS, self._check)
        now = self._reactor.seconds()
        full, young = _collections()
        if full != self._full:
            self._full, self._young_at_full, self._full_at = full, young, now
        pending = (young - self._young_at_full) * YOUNG
        self._return_memory(now)
        if self._busy():
            if pending >= MAX_PENDING:
                gc.collect()
            return
        self._dropped = self._forget() or self._dropped
        if pending >= MAX_PENDING or ((pending or self._dropped) and now - self._full_at >= IDLE_SECONDS):
            self._dropped = False
            gc.collect()
            _trim_memory()

    def _return_memory(self, now: float) -> None:
        """Return to the system what a peak has left, also where there are always legs."""
        if now - self._looked_at < TRIM_SECONDS:
            return
        memory = self._memory()
        if self._looked_at and memory - self._least > GROWTH_BYTES:
            _trim_memory()
            self._least = self._memory()
        else:
            self._least = min(self._least or memory, memory)
        self._looked_at = now


def _resident() -> int:
    """Return how much memory the process has, in bytes; 0 without proc(5), or a descriptor to read it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _trim_memory() -> None:
    """Return free memory to the system: glibc keeps what thousands of simultaneous calls needed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _collections() -> tuple[int, int]:
    """Return the numbers of full collections and of all others of this process so far."""
    *others, full = (generation["collections"] for generation in gc.get_stats())
    return full, sum(others)
