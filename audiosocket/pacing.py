"""One clock for all legs: a 20 ms grid in four phases of 5 ms, measured against a steady clock.

The grid is absolute: a late turn does not shift the next one, and each leg repays what it owes by its
own arithmetic (``playout.py``). With no leg there is no timer at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.wire import FRAME_MS

PHASES = 4
PHASE_MS = FRAME_MS / PHASES


class Ticking(Protocol):
    """Somebody who wants a turn every 20 ms."""

    def tick(self, now_ms: float) -> None:
        """Do what is due at ``now_ms``."""


class Clock:
    """Gives each member a turn every 20 ms. ``seconds`` is a steady clock, in seconds.

    A member that raises is logged and dropped: its fault must not cost the others their frame.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, seconds: Callable[[], float]) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._phases: tuple[dict[Ticking, None], ...] = tuple({} for _ in range(PHASES))
        self._next = 0
        self._timer: IDelayedCall | None = None
        #: Turns that came more than one frame (20 ms) late.
        self.late_turns = 0

    def now_ms(self) -> float:
        """Steady time in milliseconds."""
        return self._seconds() * 1000

    def __len__(self) -> int:
        return sum(len(phase) for phase in self._phases)

    def add(self, member: Ticking) -> None:
        """Give ``member`` its first turn 15 to 20 ms from now, then one every 20 ms."""
        slot = int(self.now_ms() // PHASE_MS) + PHASES
        self._phases[slot % PHASES][member] = None
        if self._timer is None:
            self._next = int(self.now_ms() // PHASE_MS) + 1
            self._schedule()

    def discard(self, member: Ticking) -> None:
        """No more turns for ``member``; unknown members are fine."""
        for phase in self._phases:
            phase.pop(member, None)
        if self._timer is not None and not len(self):
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        delay = max(0.0, self._next * PHASE_MS - self.now_ms()) / 1000
        self._timer = self._reactor.callLater(delay, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self.now_ms()
        # The timer was set for this slot: a rounding error must not make it a hair too early, again and again.
        last = max(int(now // PHASE_MS), self._next)
        if now - self._next * PHASE_MS > FRAME_MS:
            self.late_turns += 1
        # After a long stall every phase still gets one turn only: legs know themselves what they owe.
        for slot in range(max(self._next, last - PHASES + 1), last + 1):
            for member in list(self._phases[slot % PHASES]):
                self._tick(slot, member, now)
        self._next = max(self._next, last + 1)
        if self._timer is None and len(self):  # a member that came in this turn may have set it
            self._schedule()

    def _tick(self, slot: int, member: Ticking, now: float) -> None:
        if member not in self._phases[slot % PHASES]:
            return  # a neighbour's turn ended this leg
        try:
            member.tick(now)
        except Exception:  # noqa: BLE001 - whatever it is, it is that leg's own trouble
            self._log.failure("dropping {member} from the clock: its turn raised", member=member)
            self.discard(member)
