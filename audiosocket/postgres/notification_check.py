"""Whether notifications arrive: a connection pooler may have no backend for a session between transactions."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from audiosocket.outbound.supervision import OpenRefused
from audiosocket.postgres.session import Session, Timeouts

_NO_NOTIFICATIONS = (
    "a connection pooler is between, and LISTEN does not work through it (pgbouncer with pool_mode=transaction); "
    "connect to PostgreSQL itself or with pool_mode=session"
)


class NotificationCheck:
    """Sends a notification with a random payload, and waits for it."""

    def __init__(self, timeouts: Timeouts, reactor: IReactorTime) -> None:
        self._seconds = timeouts.notification
        self._reactor = reactor
        #: The payload that is waited for, and what waits.
        self._waiting: tuple[str, Deferred[None]] | None = None

    async def check(self, session: Session, query: Session) -> None:
        """Raise `OpenRefused` unless what ``query`` notifies arrives at ``session``."""
        payload = f"audiosocket_{token_hex(8)}"
        self._waiting = (payload, arrived := Deferred[None]())
        try:
            await session.run(f"listen {payload}")
            async with query.lock:
                await query.run("select pg_notify(%s, %s)", [payload, payload])
            await arrived.addTimeout(self._seconds, self._reactor)
            await session.run(f"unlisten {payload}")
        except TimeoutError:
            await session.run(f"unlisten {payload}")
            raise OpenRefused(_NO_NOTIFICATIONS) from None
        finally:
            self._waiting = None

    def arrived(self, payloads: Sequence[str]) -> bool:
        """Return whether these payloads are those of the check."""
        if self._waiting is None or self._waiting[0] not in payloads:
            return False
        if not self._waiting[1].called:
            self._waiting[1].callback(None)
        return True
