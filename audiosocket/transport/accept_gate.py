"""What happens when file descriptors run out: accepting pauses, so that established calls can go on.

While descriptors are left some are kept in reserve (`DescriptorReserve`). An ``accept()`` that finds none gives
the reserve up, for the files and connections that established calls need; the port stops reading, and its
connections wait in the kernel's queue. Accepting goes on once the reserve can be filled again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.transport import open_files
from audiosocket.transport.open_files import DescriptorReserve

#: Interval between two attempts to go on, in seconds.
RETRY_SECONDS = 0.2
#: A pause is logged at most so often, in seconds: a process at its limit pauses again and again.
LOG_SECONDS = 10.0
#: Errors of ``accept()`` that last until something else is closed.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class PausedPort(Protocol):
    """A port that has stopped to accept."""

    def go_on(self) -> None:
        """Accept again, unless it is closed."""


class AcceptGate:
    """Pauses the ports of a process that has no descriptors left, and lets them go on.

    Before `start` and after `stop` it keeps no reserve; ports pause all the same.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        reserve: DescriptorReserve,
        *,
        used: Callable[[], int] = open_files.used,
        limit: Callable[[], int] = open_files.limit,
    ) -> None:
        self._clock = clock
        self._reserve = reserve
        self._used = used
        self._limit = limit
        self._paused: set[PausedPort] = set()
        self._running = False
        self._next_try: IDelayedCall | None = None
        self._logged_at = -LOG_SECONDS
        self._logged = False
        #: How often accepting was paused.
        self.pauses_total = 0

    @property
    def paused(self) -> bool:
        """Whether a port waits for descriptors."""
        return bool(self._paused)

    def start(self) -> None:
        """Fill the reserve."""
        self._running = True
        if not self._reserve.fill():
            self._try_later()

    def stop(self) -> None:
        """Give the reserve up; ports that are paused stay so."""
        self._running = False
        self._paused.clear()
        self._reserve.give_up()
        if self._next_try is not None:
            self._next_try.cancel()
            self._next_try = None

    def pause(self, port: PausedPort, error: OSError) -> None:
        """Give the reserve up, and call ``port.go_on`` once it could be filled again."""
        if not self._paused:
            self.pauses_total += 1
            self._note_pause(error)
        self._reserve.give_up()
        self._paused.add(port)
        self._try_later()

    def _try_later(self) -> None:
        if self._next_try is None:
            self._next_try = self._clock.callLater(RETRY_SECONDS, self._try)

    def _try(self) -> None:
        self._next_try = None
        if not self._reserve.fill():
            self._try_later()
            return
        if not self._running:
            self._reserve.give_up()
        paused, self._paused = self._paused, set()
        if paused and self._logged:
            self._log.info("file descriptors are free again: connections are accepted")
        for port in paused:
            port.go_on()

    def _note_pause(self, error: OSError) -> None:
        now = self._clock.seconds()
        self._logged = now - self._logged_at >= LOG_SECONDS
        if self._logged:
            self._logged_at = now
            self._log.error(
                "no connection can be accepted: {why} ({used} of {limit} file descriptors are open). New calls "
                "wait; raise LimitNOFILE of the service, or ulimit -n",
                why=error.strerror,
                used=self._used(),
                limit=self._limit(),
            )
