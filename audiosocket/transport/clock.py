"""One clock for all legs: a 20 ms grid in four phases of 5 ms, measured against a steady clock.

The grid is absolute: a late turn does not shift the next one, and each leg makes up for lateness itself
(``media/playout.py``). Time-outs of connections are checked in the same ticks. What need not be done at once is
divided into short steps and done after the frames of a tick, for a limited time (`MediaClock.add_work`). The clock
stops with the first tick that finds no member, no time-out and no work, and starts again with the next one added.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from audiosocket.transport.ticker import TICK_MS, Ticker
from audiosocket.transport.timeouts import TimeoutQueue
from audiosocket.wire import FRAME_MS

#: Time for work in one tick, in milliseconds: the frames of the next tick must be in time.
WORK_MS = 2.0
#: A member has its turn in one of so many ticks.
PHASES = FRAME_MS // TICK_MS


class ClockMember(Protocol):
    """An object that gets a turn every 20 ms, once ``due_ms`` has come."""

    #: No turn is needed before this time, in milliseconds of the clock; minus infinity for every turn.
    due_ms: float

    def tick(self, now_ms: float) -> None:
        """Do what is due at ``now_ms``."""


def _nothing_to_poll() -> bool:
    return False


class MediaClock:
    """Gives each member a turn every 20 ms.

    ``seconds`` is a steady clock, in seconds. ``after_tick`` (`SocketPoller.poll`) is called at the end of each
    tick and returns true to keep the clock running. A member that raises is logged and dropped, so that the
    others get their frames.
    """

    _log = Logger()

    def __init__(
        self,
        ticker: Ticker,
        seconds: Callable[[], float],
        after_tick: Callable[[], bool] = _nothing_to_poll,
    ) -> None:
        self._ticker = ticker
        #: The steady clock itself.
        self.seconds = seconds
        self._after_tick = after_tick
        self._phases: tuple[dict[ClockMember, None], ...] = tuple({} for _ in range(PHASES))
        self._timeouts = TimeoutQueue()
        #: Steps of work; each returns whether it is to be called again.
        self._work: deque[Callable[[], bool]] = deque()
        self._next = 0
        self._running = False
        #: When the last tick was, or the clock was started, in seconds.
        self._beat = 0.0
        #: Ticks that came more than one frame (20 ms) late.
        self.late_turns = 0

    def now_ms(self) -> float:
        """Return the steady time in milliseconds."""
        return self.seconds() * 1000

    @property
    def silent_seconds(self) -> float:
        """How long there was no tick although there should have been: 0 while nothing needs one."""
        needed = self._timeouts or self._work or any(self._phases)
        return max(0.0, self.seconds() - self._beat) if needed else 0.0

    def keep_descriptors(self, keep: bool) -> None:
        """Take what ticks need now, and keep it while the clock stands still, or not. Raises OSError."""
        self._ticker.keep_descriptors(keep)

    def __len__(self) -> int:
        return sum(len(phase) for phase in self._phases)

    def add(self, member: ClockMember, phase: int | None = None) -> None:
        """Give ``member`` its first turn 15 to 20 ms from now, then one every 20 ms; or those of a ``phase``."""
        slot = int(self.now_ms() // TICK_MS) + PHASES if phase is None else phase
        self._phases[slot % PHASES][member] = None
        self.start()

    def phase_of(self, member: ClockMember) -> int | None:
        """Return the phase in which ``member`` has its turns, None when it has none."""
        return next((number for number, phase in enumerate(self._phases) if member in phase), None)

    def discard(self, member: ClockMember) -> None:
        """Give ``member`` no more turns; do nothing if it has none."""
        for phase in self._phases:
            phase.pop(member, None)

    def set_timeout(self, key: object, seconds: float, then: Callable[[], object]) -> None:
        """Call ``then`` in the first tick after ``seconds``; replaces the time-out that ``key`` had."""
        self._timeouts.set(key, self.seconds() + seconds, seconds, then)
        self.start()

    def cancel_timeout(self, key: object) -> None:
        """Drop the time-out of ``key``, if there is one."""
        self._timeouts.drop(key)

    def add_work(self, step: Callable[[], bool]) -> None:
        """Call ``step`` in ticks from the next one on until it returns false.

        Each has its turn, at most one in a tick, as long as the tick has time for them (`WORK_MS`). At least one
        is called in each tick; one that raises is logged and dropped.
        """
        self._work.append(step)
        self.start()

    def start(self) -> None:
        """Tick, until a tick finds that nothing needs the next one."""
        if not self._running:
            self._next = int(self.now_ms() // TICK_MS) + 1
            self._beat = self.seconds()
            self._ticker.start(self._tick)
            self._running = True  # only now: the next one to come tries again when this raised

    def _stop_if_idle(self) -> None:
        if self._running and not self._timeouts and not self._work and not any(self._phases):
            self._running = False
            self._ticker.stop()

    def _tick(self, due: int) -> None:
        now = self.now_ms()
        self._beat = now / 1000
        last = max(int(now // TICK_MS), due)
        if now - self._next * TICK_MS > FRAME_MS:
            self.late_turns += 1
        # After a long stall every phase still gets one turn only: a leg computes itself how many frames are due.
        limit = now + TICK_MS
        for slot in range(max(self._next, last - PHASES + 1), last + 1):
            phase = self._phases[slot % PHASES]
            for member in tuple(phase):
                # The turn of another member may have ended this one.
                if member.due_ms <= limit and member in phase:
                    self._take_turn(member, now)
        self._next = max(self._next, last + 1)
        if self._timeouts:
            at = self.seconds()
            while (then := self._timeouts.pop(at)) is not None:
                self._time_out(then)
        if self._work:
            self._do_work()
        if not self._after_tick():
            self._stop_if_idle()

    def _do_work(self) -> None:
        ends = self.seconds() + WORK_MS / 1000
        work, rest = self._work, len(self._work)
        while rest:
            step = work.popleft()
            rest -= 1
            if self._again(step):
                work.append(step)
            if self.seconds() >= ends:
                return

    def _again(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except Exception:  # noqa: BLE001 - the work of the others must go on
            self._log.failure("a step of work raised")
            return False

    def _take_turn(self, member: ClockMember, now: float) -> None:
        try:
            member.tick(now)
        except Exception:  # noqa: BLE001 - an error of one leg must not stop the others
            self._log.failure("dropping {member} from the clock: its turn raised", member=member)
            self.discard(member)

    def _time_out(self, then: Callable[[], object]) -> None:
        try:
            then()
        except Exception:  # noqa: BLE001 - the other time-outs must still run
            self._log.failure("a time-out raised")
