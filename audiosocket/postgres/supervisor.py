"""The supervision that keeps one PostgreSQL session open: connect, ping, back off, connect again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet import defer, task
from twisted.logger import Logger

from audiosocket.errors import SourceUnavailable
from audiosocket.outbound.backoff import Backoff
from audiosocket.postgres.connection import Reactor
from audiosocket.postgres.session import Session, Timeouts

_log = Logger()


class SessionSupervisor:
    """Keeps one session open while it runs; tells ``moved`` when it came, went or could not be opened.

    ``allowed`` may hold attempts back; `nudge` when it has changed its mind.
    """

    def __init__(
        self,
        open_session: Callable[[], Awaitable[Session]],
        moved: Callable[[], None],
        reactor: Reactor,
        pace: Timeouts,
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.session: Session | None = None
        self.reason = ""
        self.attempts = 0
        self._open = open_session
        self._moved = moved
        self._reactor = reactor
        self._pace = pace
        self._allowed = allowed
        self._backoff = Backoff(pace.first_pause, pace.longest_pause)
        self._loop: defer.Deferred[None] | None = None
        self._nap: defer.Deferred[None] | None = None
        self._next_try: float | None = None
        self._waiting: list[defer.Deferred[Session]] = []

    @property
    def next_try_seconds(self) -> float | None:
        """Seconds until the next attempt; None when up or when an attempt is under way."""
        return None if self._next_try is None else max(0.0, self._next_try - self._reactor.seconds())

    def start(self) -> None:
        """Begins to connect."""
        self._loop = defer.ensureDeferred(self._run())

    async def stop(self) -> None:
        """Closes the session, ends an attempt in progress, and fails whoever waits for one."""
        loop, self._loop = self._loop, None
        if loop is not None:
            # who stops us may have been called by the loop itself, and only one that waits can be cancelled
            await task.deferLater(self._reactor, 0)
            loop.cancel()
            try:
                await loop
            except defer.CancelledError:
                self.reason = "stopped"
        self._answer("the server is stopping")

    def nudge(self) -> None:
        """Pings the session at once, or tries at once to open one."""
        nap, self._nap = self._nap, None
        if nap is not None:
            nap.callback(None)

    async def ready(self) -> Session:
        """The open session; without one the outcome of an attempt made now (or already under way).

        Raises `SourceUnavailable`.
        """
        if self.session is not None:
            return self.session
        if self._loop is None:
            raise SourceUnavailable("the database connection has not been started")
        waiting: defer.Deferred[Session] = defer.Deferred()
        self._waiting.append(waiting)
        self.nudge()
        return await waiting

    async def _run(self) -> None:
        while True:
            while not self._allowed():
                await self._rest(None)
            try:
                session = await self._open()
            except SourceUnavailable as problem:
                self._failed(str(problem))
            except defer.CancelledError:
                raise
            except Exception:  # noqa: BLE001 - a bug here must not end the supervision for good
                _log.failure("unexpected error while connecting to the database")
                self._failed("unexpected error, see the log")
            else:
                await self._live(session)
            # a caller that asked since then is owed an attempt now
            pause = 0.0 if self._waiting else self._backoff.pause()
            self._next_try = self._reactor.seconds() + pause
            try:
                await self._rest(pause)
            finally:
                self._next_try = None

    def _failed(self, reason: str) -> None:
        self.attempts += 1
        self.reason = reason
        self._moved()
        self._answer(reason)

    async def _live(self, session: Session) -> None:
        """From the moment a session is open until it is lost."""
        opened = self._reactor.seconds()
        self.session, self.reason, self.attempts = session, "", 0
        session.on_lost = self.nudge
        try:
            self._moved()
            self._answer(session)
            while not session.lost:
                await self._rest(self._pace.heartbeat)
                await session.ping()
        finally:
            session.on_lost = None
            session.close("stopped")
            self.session, self.reason = None, session.lost
        if self._reactor.seconds() - opened >= self._pace.steady:
            self._backoff.reset()
        self._moved()

    async def _rest(self, seconds: float | None) -> None:
        """Waits that long (None: for ever), or until nudged."""
        nap: defer.Deferred[None] = defer.Deferred()
        self._nap = nap
        timer = None if seconds is None else self._reactor.callLater(seconds, self.nudge)
        try:
            await nap
        finally:
            self._nap = None
            if timer is not None and timer.active():
                timer.cancel()

    def _answer(self, outcome: Session | str) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if isinstance(outcome, Session):
                one.callback(outcome)
            else:
                one.errback(SourceUnavailable(outcome))
