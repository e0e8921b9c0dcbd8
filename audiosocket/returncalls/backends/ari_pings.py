"""When ARI is pinged: now and then, soon after a failure, and at once on news of its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class Pings:
    """Awaits ``ping()``, and again ``interval()`` seconds after its end; never two at a time."""

    _log = Logger()

    def __init__(
        self, ping: Callable[[], Awaitable[None]], interval: Callable[[], float], clock: IReactorTime
    ) -> None:
        self._ping = ping
        self._interval = interval
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._pinging = False
        self.running = False

    def start(self) -> None:
        """Ping now and from now on."""
        self.running = True
        self.now()

    def now(self) -> None:
        """Ping at once, unless an answer is waited for."""
        if not self.running or self._pinging:
            return
        self._forget_next()
        self._pinging = True
        pinging = Deferred.fromCoroutine(self._one())
        pinging.addErrback(lambda failure: self._log.failure("ARI could not be pinged", failure))
        pinging.addBoth(lambda _: self._later())

    def stop(self) -> None:
        """Ping no more."""
        self.running = False
        self._forget_next()

    async def _one(self) -> None:
        await self._ping()

    def _later(self) -> None:
        self._pinging = False
        if self.running:
            self._next = self._clock.callLater(self._interval(), self.now)

    def _forget_next(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
