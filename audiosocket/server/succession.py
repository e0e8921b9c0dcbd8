"""Starting while the previous process still drains, as in a rolling restart.

A process that stops closes its ports, lets its calls end by themselves, and gives its journals up just before it
cuts off the rest. The next process opens nothing until then: a caller that is cut off finds it with the journal
read, and resumes. Callers that come in between find the ports closed, and their dialplan tries again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.calls.journal_lock import locked_by_others, owner_of

#: Interval between two looks at the journals, in seconds.
LOOK_SECONDS = 0.05
#: The stop of the previous process takes DRAIN_SECONDS, and so many seconds more.
STOP_SECONDS = 10.0
#: The longest wait, in seconds: the shipped dialplan keeps its callers that long.
MAX_WAIT_SECONDS = 30.0


class Succession:
    """Waits for the process that has the journals in ``directory``, for at most ``limit`` seconds.

    ``prepare`` is called when they are free, before anything starts.
    """

    _log = Logger()

    def __init__(
        self, directory: Path, clock: IReactorTime, limit: float, prepare: Callable[[], object] = lambda: None
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._limit = limit
        self._prepare = prepare
        self._start: Callable[[], object] = lambda: None
        self._began = 0.0
        self._look: IDelayedCall | None = None

    def begin(self, start: Callable[[], object]) -> None:
        """Call ``start`` when no other process has the journals: at once, or later."""
        self._start, self._began = start, self._clock.seconds()
        taken = self._taken()
        if not taken:
            self._go()
            return
        self._log.warn(
            "process {pid} has the calls in {directory}, so it is still running or stopping; waiting for its end, "
            "for at most {limit:g} s, before anything is opened",
            pid=owner_of(taken[0]) or "(unknown)",
            directory=str(self._directory),
            limit=self._limit,
        )
        self._look = self._clock.callLater(LOOK_SECONDS, self._look_again)

    def cancel(self) -> bool:
        """Wait no longer; return whether nothing was started yet."""
        look, self._look = self._look, None
        if look is None:
            return False
        look.cancel()
        return True

    def _look_again(self) -> None:
        waited = self._clock.seconds() - self._began
        taken = self._taken()
        if taken and waited < self._limit:
            self._look = self._clock.callLater(LOOK_SECONDS, self._look_again)
            return
        self._look = None
        if taken:
            self._log.error(
                "process {pid} still has the calls in {directory} after {waited:.1f} s; starting without them "
                "until it ends; a second server needs its own DATA_DIR",
                pid=owner_of(taken[0]) or "(unknown)",
                directory=str(self._directory),
                waited=waited,
            )
        else:
            self._log.info("the previous process is gone after {waited:.1f} s", waited=waited)
        self._go()

    def _go(self) -> None:
        self._prepare()
        self._start()

    def _taken(self) -> list[Path]:
        return list(locked_by_others(sorted(self._directory.glob("calls*.journal"))))
