"""The source of the media clock's ticks: one every 5 ms, on a grid that never moves.

Where the kernel has ``timerfd`` (Linux) it wakes the reactor exactly on time and counts missed ticks. Elsewhere
the reactor's timers are used, set anew for each tick of the same grid.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: Distance of the grid's points, in milliseconds of the steady clock.
TICK_MS = 5

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class Ticker(Protocol):
    """Calls ``on_tick`` with the number of the grid point, from the next one on, until it is stopped."""

    def start(self, on_tick: Callable[[int], None]) -> None:
        """Begin with the first grid point after now."""

    def stop(self) -> None:
        """Call ``on_tick`` no more; do nothing when stopped already."""

    def keep_descriptors(self, keep: bool) -> None:
        """Take the descriptors that are needed now, and keep them when stopped, or no longer. Raises OSError."""


class TimerTicker:
    """Ticks from the reactor's own timers. ``seconds`` is a steady clock, in seconds."""

    def __init__(self, reactor: IReactorTime, seconds: Callable[[], float]) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._on_tick: Callable[[int], None] | None = None
        self._slot = 0
        self._timer: IDelayedCall | None = None

    def start(self, on_tick: Callable[[int], None]) -> None:
        self._on_tick = on_tick
        self._slot = int(self._seconds() * 1000 // TICK_MS) + 1
        self._schedule()

    def stop(self) -> None:
        self._on_tick = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def keep_descriptors(self, keep: bool) -> None:
        """Do nothing: no descriptor is needed."""

    def _schedule(self) -> None:
        delay = max(0.0, self._slot * TICK_MS / 1000 - self._seconds())
        self._timer = self._reactor.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        on_tick, slot = self._on_tick, self._slot
        if on_tick is None:
            return
        # The timer was set for this slot: a rounding error must not repeat it again and again.
        self._slot = max(slot, int(self._seconds() * 1000 // TICK_MS)) + 1
        on_tick(slot)
        if self._on_tick is not None and self._timer is None:
            self._schedule()


@implementer(IReadDescriptor)
class TimerfdTicker:
    """Ticks from a ``timerfd``, a descriptor that becomes readable at each grid point; see timerfd_create(2)."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._reactor = reactor
        self._descriptor = -1
        #: Whether the descriptor stays open while the ticker is stopped.
        self._keep = False
        self._on_tick: Callable[[int], None] | None = None
        self._slot = 0

    def start(self, on_tick: Callable[[int], None]) -> None:
        if self._descriptor < 0:
            self._descriptor = _timerfd()
        self._on_tick = on_tick
        self._slot = int(time.monotonic() * 1000 // TICK_MS) + 1
        _arm(self._descriptor, self._slot * TICK_MS * 1_000_000)
        self._reactor.addReader(self)

    def stop(self) -> None:
        if self._on_tick is not None:
            self._on_tick = None
            self._reactor.removeReader(self)
            _arm(self._descriptor, 0)
        self._close_if_unused()

    def keep_descriptors(self, keep: bool) -> None:
        self._keep = keep
        if keep and self._descriptor < 0:
            self._descriptor = _timerfd()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._descriptor >= 0 and self._on_tick is None and not self._keep:
            os.close(self._descriptor)
            self._descriptor = -1

    # called by the reactor

    def fileno(self) -> int:
        """Return the timer's descriptor; -1 while there is none."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return the name used in the reactor's log lines."""
        return "clock"

    def doRead(self) -> None:
        """Tick once for all grid points passed since the last tick."""
        try:
            missed = int.from_bytes(os.read(self._descriptor, 8), sys.byteorder)
        except BlockingIOError:
            return
        slot, self._slot = self._slot, self._slot + missed
        if self._on_tick is not None:
            self._on_tick(slot)

    def connectionLost(self, reason: Failure) -> None:
        """Stop, as the reactor does."""
        self._keep = False
        self.stop()


def make_ticker(reactor: IReactorTime, seconds: Callable[[], float]) -> Ticker:
    """Return a `TimerfdTicker` where it can be used, else a `TimerTicker`.

    It needs Linux, a reactor that watches descriptors, and `time.monotonic` for ``seconds``.
    """
    if seconds is time.monotonic and IReactorFDSet.providedBy(reactor) and _has_timerfd():
        return TimerfdTicker(cast("IReactorFDSet", reactor))
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


def _timerfd() -> int:
    """Return a timer of the monotonic clock that is not armed. Raises `OSError`.

    Uses ctypes, as Python offers timerfd only from 3.13 on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    return int(descriptor)


def _arm(descriptor: int, first_ns: int) -> None:
    """Let a timer expire at ``first_ns`` and every 5 ms from then on; 0: no more. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    spec = _Interval(0, TICK_MS * 1_000_000 if first_ns else 0, *divmod(first_ns, 1_000_000_000))
    if libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
