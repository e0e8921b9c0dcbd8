"""How a supervised session is opened: with the target as it is now, prepared before it counts as open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from audiosocket.outbound.resolver import Resolver
from audiosocket.postgres.connection import IDatabaseReactor
from audiosocket.postgres.leftovers import Leftovers
from audiosocket.postgres.session import Session, Timeouts
from audiosocket.postgres.target import Target


class SessionOpener:
    """Opens the sessions of one target, and has ``leftovers`` remember them."""

    def __init__(
        self, target: Target, reactor: IDatabaseReactor, timeouts: Timeouts, leftovers: Leftovers
    ) -> None:
        self._target = target
        self._reactor = reactor
        self._timeouts = timeouts
        self._leftovers = leftovers
        self._resolver = Resolver(reactor, reactor)

    async def open(
        self,
        prepare: Callable[[Session], Awaitable[object]],
        *,
        on_lost: Callable[[], None],
        notified: Callable[[Sequence[str]], None] = lambda _: None,
        measure: Callable[[float], object] = lambda _: None,
    ) -> Session:
        """Return a session once ``prepare`` has run on it; the callbacks are those of `Session.open`.

        Raises `SourceUnavailable`, or what ``prepare`` raised; the session is closed then.
        """
        target = await self._target.current(self._timeouts.lookup)
        session = await Session.open(
            target,
            self._reactor,
            self._resolver,
            self._timeouts,
            on_lost=on_lost,
            notified=notified,
            measure=measure,
        )
        try:
            await prepare(session)
        except BaseException:
            session.close("not opened")
            raise
        self._leftovers.remember(session)
        return session
