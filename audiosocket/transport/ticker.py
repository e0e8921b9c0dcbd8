"""What drives the clock of the legs: a beat every 5 ms on a grid that never moves.

The kernel's own timer where there is one (``timerfd``, Linux): it wakes the reactor exactly when it is time,
and counts what was missed. Elsewhere the reactor's timers, set anew for each beat of the same grid.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: The grid, in milliseconds of the steady clock.
BEAT_MS = 5

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class Ticker(Protocol):
    """Calls ``beat`` with the number of the grid's slot, from the next one on, until it is stopped."""

    def start(self, beat: Callable[[int], None]) -> None:
        """Begin with the first slot after now."""

    def stop(self) -> None:
        """No beat comes after this. Harmless when it does not run."""


class TimerTicker:
    """Beats of the reactor's own timers. ``seconds`` is a steady clock, in seconds."""

    def __init__(self, reactor: IReactorTime, seconds: Callable[[], float]) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._beat: Callable[[int], None] | None = None
        self._slot = 0
        self._timer: IDelayedCall | None = None

    def start(self, beat: Callable[[int], None]) -> None:
        self._beat = beat
        self._slot = int(self._seconds() * 1000 // BEAT_MS) + 1
        self._schedule()

    def stop(self) -> None:
        self._beat = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        delay = max(0.0, self._slot * BEAT_MS / 1000 - self._seconds())
        self._timer = self._reactor.callLater(delay, self._now)

    def _now(self) -> None:
        self._timer = None
        beat, slot = self._beat, self._slot
        if beat is None:
            return
        # The timer was set for this slot: a rounding error must not make it a hair too early, again and again.
        self._slot = max(slot, int(self._seconds() * 1000 // BEAT_MS)) + 1
        beat(slot)
        if self._beat is not None and self._timer is None:
            self._schedule()


@implementer(IReadDescriptor)
class TimerfdTicker:
    """Beats of a ``timerfd``, a descriptor that becomes readable at each slot; see timerfd_create(2)."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._descriptor = -1
        self._beat: Callable[[int], None] | None = None
        self._slot = 0

    def start(self, beat: Callable[[int], None]) -> None:
        self._beat = beat
        self._slot = int(time.monotonic() * 1000 // BEAT_MS) + 1
        self._descriptor = _timerfd(self._slot * BEAT_MS * 1_000_000)
        self._reactor.addReader(self)

    def stop(self) -> None:
        self._beat = None
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1

    # as the reactor sees it

    def fileno(self) -> int:
        """The timer's descriptor; -1 while it does not run."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Its name where the reactor speaks of it."""
        return "clock"

    def doRead(self) -> None:
        """The slots that have passed since the last beat make one beat."""
        try:
            missed = int.from_bytes(os.read(self._descriptor, 8), sys.byteorder)
        except BlockingIOError:
            return
        slot, self._slot = self._slot, self._slot + missed
        if self._beat is not None:
            self._beat(slot)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives all its readers up, for it stops."""
        self.stop()


def make_metronome(reactor: Any, seconds: Callable[[], float]) -> Ticker:
    """The kernel's beat if this system and reactor can have it and ``seconds`` is the kernel's steady clock."""
    if seconds is time.monotonic and IReactorFDSet.providedBy(reactor) and _has_timerfd():
        return TimerfdTicker(reactor)
    return TimerTicker(reactor, seconds)


class _Interval(ctypes.Structure):
    """``struct itimerspec``: the interval and the first expiration, each as seconds and nanoseconds."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


def _has_timerfd() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "timerfd_create")


def _timerfd(first_ns: int) -> int:
    """A timer that expires at ``first_ns`` of the monotonic clock and every beat from then on.

    By ctypes, as Python has it only from 3.13 on. Raises `OSError`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    spec = _Interval(0, BEAT_MS * 1_000_000, *divmod(first_ns, 1_000_000_000))
    if libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) < 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, "timerfd_settime")
    return int(descriptor)
