"""One clock for all legs: a 20 ms grid in four phases of 5 ms, measured against a steady clock.

The grid is absolute: a late turn does not shift the next one, and each leg repays what it owes by its
own arithmetic (``playout.py``). Time-outs of connections are looked at in the same turns. The first turn that
finds no leg and no time-out is the last: the clock stands still until somebody comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from audiosocket.transport.ticker import BEAT_MS, Ticker
from audiosocket.transport.timeouts import TimeoutQueue
from audiosocket.wire import FRAME_MS

PHASES = FRAME_MS // BEAT_MS
#: One beat of the metronome; the phases of a frame's time are as many beats.
PHASE_MS = BEAT_MS


class Ticking(Protocol):
    """Somebody who wants a turn every 20 ms, once ``due_ms`` has come."""

    #: Nothing is to be done before this, in milliseconds of the clock; minus infinity for every turn.
    due_ms: float

    def tick(self, now_ms: float) -> None:
        """Do what is due at ``now_ms``."""


def _nothing() -> bool:
    return False


class MediaClock:
    """Gives each member a turn every 20 ms. ``seconds`` is a steady clock, in seconds.

    ``after_tick`` is called at the end of each tick and returns true when it needs the next one, too.
    A member that raises is logged and dropped: its fault must not cost the others their frame.
    """

    _log = Logger()

    def __init__(
        self, metronome: Ticker, seconds: Callable[[], float], after_tick: Callable[[], bool] = _nothing
    ) -> None:
        self._metronome = metronome
        #: The steady clock itself.
        self.seconds = seconds
        self._phases: tuple[dict[Ticking, None], ...] = tuple({} for _ in range(PHASES))
        self._deadlines = TimeoutQueue()
        self._after_tick = after_tick
        self._next = 0
        self._running = False
        #: Turns that came more than one frame (20 ms) late.
        self.late_turns = 0

    def now_ms(self) -> float:
        """Steady time in milliseconds."""
        return self.seconds() * 1000

    def __len__(self) -> int:
        return sum(len(phase) for phase in self._phases)

    def add(self, member: Ticking) -> None:
        """Give ``member`` its first turn 15 to 20 ms from now, then one every 20 ms."""
        slot = int(self.now_ms() // PHASE_MS) + PHASES
        self._phases[slot % PHASES][member] = None
        self._run()

    def discard(self, member: Ticking) -> None:
        """No more turns for ``member``; unknown members are fine."""
        for phase in self._phases:
            phase.pop(member, None)

    def expect(self, key: object, seconds: float, then: Callable[[], object]) -> None:
        """Call ``then`` in the first turn after ``seconds``; ``key`` has one time-out, the last asked for."""
        self._deadlines.set(key, self.seconds() + seconds, seconds, then)
        self._run()

    def expect_no_more(self, key: object) -> None:
        """Forget the time-out of ``key``, if there is one."""
        self._deadlines.drop(key)

    def _run(self) -> None:
        if not self._running:
            self._running = True
            self._next = int(self.now_ms() // PHASE_MS) + 1
            self._metronome.start(self._turn)

    def _rest(self) -> None:
        if self._running and not self._deadlines and not any(self._phases):
            self._running = False
            self._metronome.stop()

    def _turn(self, due: int) -> None:
        now = self.now_ms()
        last = max(int(now // PHASE_MS), due)
        if now - self._next * PHASE_MS > FRAME_MS:
            self.late_turns += 1
        # After a long stall every phase still gets one turn only: legs know themselves what they owe.
        limit = now + BEAT_MS
        for slot in range(max(self._next, last - PHASES + 1), last + 1):
            phase = self._phases[slot % PHASES]
            for member in tuple(phase):
                # A neighbour's turn may have ended this leg.
                if member.due_ms <= limit and member in phase:
                    self._tick(member, now)
        self._next = max(self._next, last + 1)
        if self._deadlines:
            at = self.seconds()
            while (then := self._deadlines.pop(at)) is not None:
                self._time_out(then)
        if not self._after_tick():
            self._rest()

    def _tick(self, member: Ticking, now: float) -> None:
        try:
            member.tick(now)
        except Exception:  # noqa: BLE001 - whatever it is, it is that leg's own trouble
            self._log.failure("dropping {member} from the clock: its turn raised", member=member)
            self.discard(member)

    def _time_out(self, then: Callable[[], object]) -> None:
        try:
            then()
        except Exception:  # noqa: BLE001 - the time-outs after it are not its business
            self._log.failure("a time-out raised")
