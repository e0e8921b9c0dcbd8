"""Earlier sessions that PostgreSQL still keeps, as it was frozen or unreachable when they were closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from audiosocket.errors import SourceUnavailable
from audiosocket.postgres.session import MARK, Identity, Session

#: How often, and how far apart in seconds, it is looked whether they have ended.
LOOKS, LOOK_SECONDS = 10, 0.1
_END = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where usename = current_user and (pid, backend_start) in %s and pid in (
        select pid from pg_locks where locktype = 'advisory' and classid = %s and objid = %s and objsubid = 2)
"""


class Leftovers:
    """The sessions opened so far; those that are not open any more and still alive at the server are ended.

    ``open_sessions`` returns those in use.
    """

    def __init__(self, open_sessions: Callable[[], Sequence[Session]], reactor: IReactorTime) -> None:
        self._open_sessions = open_sessions
        self._reactor = reactor
        self._opened: set[Identity] = set()

    def remember(self, session: Session) -> None:
        """Note a session that was opened."""
        if session.identity is not None:
            self._opened.add(session.identity)

    async def end(self, session: Session, allowed: int) -> None:
        """End them through ``session``.

        Raises `SourceUnavailable` when more than ``allowed`` stay: one more session would be the third.
        """
        for _ in range(LOOKS):
            leftovers = self._opened - {known.identity for known in self._open_sessions()}
            if not leftovers:
                return
            async with session.lock:
                alive = (await session.run(_END, [tuple(leftovers), *MARK])).count
            if not alive:
                self._opened -= leftovers
                return
            await deferLater(self._reactor, LOOK_SECONDS)
        if alive > allowed:
            raise SourceUnavailable(f"PostgreSQL still keeps {alive} earlier session(s) of this server")
