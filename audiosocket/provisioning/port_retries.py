"""When ports that cannot be had are tried again: a process that ends gives them back at any time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Ports that cannot be had are tried again after so many seconds, and longer for each of them when they are many.
RETRY_SECONDS, RETRY_SECONDS_PER_PORT = 0.4, 0.002


class PortRetries:
    """Calls ``retry`` a while after `schedule`, until it is stopped."""

    _log = Logger()

    def __init__(self, retry: Callable[[], Coroutine[Deferred[Any], Any, None]], reactor: IReactorTime) -> None:
        self._retry = retry
        self._reactor = reactor
        self._next: IDelayedCall | None = None
        #: True once ports are closed for good: none is opened any more.
        self.stopped = False

    def start(self) -> None:
        """Allow retries again."""
        self.stopped = False

    def stop(self) -> None:
        """Make no more of them."""
        self.stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def schedule(self, ports: int) -> None:
        """Try again for so many ports, unless that is scheduled already."""
        if ports and self._next is None and not self.stopped:
            delay = RETRY_SECONDS + RETRY_SECONDS_PER_PORT * ports
            self._next = self._reactor.callLater(delay, self._now)

    def _now(self) -> None:
        self._next = None
        trying = Deferred.fromCoroutine(self._retry())
        trying.addErrback(lambda failure: self._log.failure("ports cannot be tried again", failure))
