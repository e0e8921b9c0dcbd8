"""Keeping one connection open: open it, ping it, wait after a failure, open it again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from audiosocket.errors import AudioSocketError
from audiosocket.outbound.backoff import Backoff


class OpenRefused(AudioSocketError):
    """The other side does not accept this client; asking often makes it worse."""


class Connection(Protocol):
    """What a supervisor needs of a connection."""

    @property
    def lost(self) -> str:
        """Why the connection ended; empty while it lives."""

    def close(self, reason: str) -> None:
        """End the connection, if it has not ended yet."""


ConnectionT = TypeVar("ConnectionT", bound=Connection)


@dataclass(frozen=True)
class Intervals:
    """Times of a `ConnectionSupervisor`, in seconds."""

    #: Between two pings.
    heartbeat: float
    #: After the first failure in a row, and at most.
    first_pause: float
    longest_pause: float
    #: A connection that lived this long ends a row of failures.
    steady: float
    #: Least time between two attempts, also for callers of `ConnectionSupervisor.ready`.
    between_attempts: float = 0.0
    #: The same three after `OpenRefused`; the first is also the least time then.
    first_refused_pause: float = 10.0
    longest_refused_pause: float = 60.0


class ConnectionSupervisor(Generic[ConnectionT]):
    """Keeps one connection open from `start` to `stop`.

    ``open_connection`` makes it: it is given what the connection must call when it is lost, and raises an
    `AudioSocketError` when there is none. ``ping`` closes a connection that does not answer. ``changed`` is called
    when a connection was opened or lost, or could not be opened. ``unavailable`` makes the error of `ready` from
    a reason. ``allowed`` may hold attempts back; `wake` when that changes.
    """

    _log = Logger()

    def __init__(
        self,
        open_connection: Callable[[Callable[[], None]], Awaitable[ConnectionT]],
        ping: Callable[[ConnectionT], Awaitable[object]],
        changed: Callable[[], None],
        clock: IReactorTime,
        intervals: Intervals,
        *,
        unavailable: Callable[[str], AudioSocketError],
        allowed: Callable[[], bool] = lambda: True,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.connection: ConnectionT | None = None
        #: Why there is no connection; empty before the first attempt has ended.
        self.reason = ""
        #: Failures in a row.
        self.attempts = 0
        #: Connections that were opened so far.
        self.opened = 0
        self._open = open_connection
        self._ping = ping
        self._changed = changed
        self._clock = clock
        self._intervals = intervals
        self._unavailable = unavailable
        self._allowed = allowed
        self._backoff = Backoff(intervals.first_pause, intervals.longest_pause, uniform)
        self._refused_backoff = Backoff(intervals.first_refused_pause, intervals.longest_refused_pause, uniform)
        self._running = False
        self._loop: Deferred[None] | None = None
        self._timer: Deferred[None] | None = None
        self._attempted_at = float("-inf")
        self._next_try: float | None = None
        self._least_interval = 0.0
        self._waiting: list[Deferred[ConnectionT]] = []
        #: Whether the loop is calling out; it cannot be cancelled then.
        self._calls_out = False

    @property
    def next_try_seconds(self) -> float | None:
        """Seconds until the next attempt; None with a connection, and while an attempt is in progress."""
        return None if self._next_try is None else max(0.0, self._next_try - self._clock.seconds())

    def start(self) -> None:
        """Begin to connect."""
        self._running = True
        self._loop = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """End an attempt in progress, close the connection, and fail the callers that wait for one."""
        loop, self._loop = self._loop, None
        self._running = False
        if loop is not None:
            if not self._calls_out:
                loop.cancel()
            try:
                await loop
            except defer.CancelledError:
                self._log.debug("the supervision of a connection has ended")
        self.reason = "stopped"
        self._answer("the server is stopping")

    def wake(self) -> None:
        """Ping the connection now, or try now to open one."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.callback(None)

    def ready(self) -> Deferred[ConnectionT]:
        """Return the connection; without one the outcome of an attempt made now or already in progress.

        Fails at once, with the previous reason, if the last attempt began less than ``between_attempts`` ago.
        """
        if self.connection is not None:
            return defer.succeed(self.connection)
        if not self._running:
            return defer.fail(self._unavailable("the connection has been stopped or not been started"))
        just_failed = self._clock.seconds() - self._attempted_at < self._least_interval
        if just_failed and self._next_try is not None:
            return defer.fail(self._unavailable(self.reason))
        waiting: Deferred[ConnectionT] = Deferred(self._waits_no_more)
        self._waiting.append(waiting)
        self.wake()
        return waiting

    async def _run(self) -> None:
        while self._running:
            if not self._allowed():
                await self._rest(None)
                continue
            self._attempted_at = self._clock.seconds()
            self._least_interval, backoff = self._intervals.between_attempts, self._backoff
            try:
                connection = await self._open(self._lost)
            except OpenRefused as problem:
                self._least_interval, backoff = self._intervals.first_refused_pause, self._refused_backoff
                self._failed(str(problem))
            except AudioSocketError as problem:
                self._failed(str(problem))
            except defer.CancelledError:
                raise
            except Exception:  # noqa: BLE001 - a bug here must not end the supervision for good
                self._log.failure("unexpected error while connecting")
                self._failed("unexpected error, see the log")
            else:
                await self._live(connection)
            await self._pause(backoff)

    async def _live(self, connection: ConnectionT) -> None:
        """From the moment a connection is open until it is lost."""
        opened_at = self._clock.seconds()
        self.connection, self.reason, self.attempts = connection, "", 0
        self.opened += 1
        self._refused_backoff.reset()
        try:
            self._report()
            self._answer(connection)
            while self._running and not connection.lost:
                await self._rest(self._intervals.heartbeat)
                await self._ping(connection)
        finally:
            connection.close("stopped")
            self.connection, self.reason = None, connection.lost
        if self._clock.seconds() - opened_at >= self._intervals.steady:
            self._backoff.reset()
        self._report()

    async def _pause(self, backoff: Backoff) -> None:
        if self._waiting:  # a caller that asked after the attempt had ended is owed another one
            pause = max(0.0, self._attempted_at + self._least_interval - self._clock.seconds())
        else:
            pause = backoff.pause()
        self._next_try = self._clock.seconds() + pause
        try:
            await self._rest(pause)
        finally:
            self._next_try = None

    async def _rest(self, seconds: float | None) -> None:
        """Wait that long (None: without end) or until `wake`; not at all after `stop`."""
        if not self._running:
            return
        timer = self._timer = Deferred()
        call = None if seconds is None else self._clock.callLater(seconds, self.wake)
        try:
            await timer
        finally:
            self._timer = None
            if call is not None and call.active():
                call.cancel()

    def _lost(self) -> None:
        if self.connection is not None:  # the loss of one that is only being opened must not cut the pause short
            self.wake()

    def _failed(self, reason: str) -> None:
        self.attempts += 1
        self.reason = reason
        self._report()
        self._answer(reason)

    def _report(self) -> None:
        with self._calling_out(), self._log.failuresHandled("a change of a connection could not be reported"):
            self._changed()

    def _answer(self, outcome: ConnectionT | str) -> None:
        waiting, self._waiting = self._waiting, []
        with self._calling_out():
            for each in waiting:
                if each.called:  # cancelled because of what an earlier one did
                    continue
                if isinstance(outcome, str):
                    each.errback(self._unavailable(outcome))
                else:
                    each.callback(outcome)

    @contextmanager
    def _calling_out(self) -> Iterator[None]:
        before, self._calls_out = self._calls_out, True
        try:
            yield
        finally:
            self._calls_out = before

    def _waits_no_more(self, waiting: Deferred[ConnectionT]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
