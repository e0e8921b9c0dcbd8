"""When the garbage collector may look at everything: never while somebody might hear it.

A full collection of this process takes 27 ms, more than a frame; most of what it looks at is code and
classes that never become garbage. So what is there at the start is frozen (never looked at again), and full
collections of the rest are made here, at a moment of our choosing: when no leg is live; or, where there
always is one, when so much has piled up that waiting would cost memory: with the rest frozen that takes a
few milliseconds. Young objects are collected by Python as ever.

Python 3.10 to 3.13 have three generations; 3.14 has a collector that looks at the old ones bit by bit and
ignores the third threshold. Nothing here depends on which: thresholds are put back as they were found.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Net new containers between two young collections; ten of those are one of the middle generation.
YOUNG, MIDDLE = 2_000, 10
#: So many middle ones before Python makes a full one by itself: a last resort, should nobody be asked.
OLD = 1_000
#: Between two looks whether it is quiet, in seconds.
LOOK_SECONDS = 1.0
#: Between two full collections while nobody is there, in seconds.
QUIET_SECONDS = 60.0
#: Net new containers since the last full collection that are worth up to 10 ms during calls.
TOO_MUCH = 50_000


class GCPolicy(Service):
    """Freezes what there is at the start and makes full collections at quiet moments.

    ``busy`` is asked whether a leg is live. ``forget`` drops what is remembered for a time only, and says whether
    there was something.
    """

    def __init__(
        self, reactor: IReactorTime, busy: Callable[[], bool], forget: Callable[[], bool] = lambda: False
    ) -> None:
        self._reactor = reactor
        self._busy = busy
        self._forget = forget
        #: Something was dropped since the last full collection.
        self._dropped = False
        self._call: IDelayedCall | None = None
        self._found: tuple[int, int, int] | None = None
        self._full = self._young_then = 0
        self._full_at = 0.0

    def startService(self) -> None:
        super().startService()
        self._found = gc.get_threshold()
        gc.set_threshold(YOUNG, MIDDLE, OLD)
        self.settle()
        gc.enable()
        self._full, self._young_then = _collections()
        self._full_at = self._reactor.seconds()
        self._call = self._reactor.callLater(LOOK_SECONDS, self._look)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._found is not None:
            gc.set_threshold(*self._found)
            self._found = None

    def settle(self) -> None:
        """Freeze what there is: takes microseconds. Not while legs are live: they would never be freed.

        Nothing is collected before, which would take those 27 ms: of the 70,000 objects that a start makes at most
        2,200 are garbage.
        """
        if not self._busy():
            gc.freeze()

    def _look(self) -> None:
        self._call = self._reactor.callLater(LOOK_SECONDS, self._look)
        now = self._reactor.seconds()
        full, young = _collections()
        if full != self._full:
            self._full, self._young_then, self._full_at = full, young, now
        pending = (young - self._young_then) * YOUNG
        if self._busy():
            if pending >= TOO_MUCH:
                gc.collect()
            return
        self._dropped = self._forget() or self._dropped
        if pending >= TOO_MUCH or ((pending or self._dropped) and now - self._full_at >= QUIET_SECONDS):
            self._dropped = False
            gc.collect()
            _give_back()


def _give_back() -> None:
    """Hand free memory back to the system: glibc keeps what thousands of calls needed at the same time."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _collections() -> tuple[int, int]:
    """Full collections and all others of this process so far."""
    *others, full = (generation["collections"] for generation in gc.get_stats())
    return full, sum(others)
