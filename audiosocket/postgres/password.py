"""The password of the database, read again for each connection: secrets in files are replaced in place."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from audiosocket.errors import InvalidSetting, SourceUnavailable


class Password:
    """Calls ``read``, which may block, in a thread; one call at a time, however slow the disk is."""

    def __init__(self, read: Callable[[], str], clock: IReactorTime) -> None:
        self._read = read
        self._clock = clock
        self._reading = False
        self._waiting: list[Deferred[str]] = []

    async def current(self, seconds: float) -> str:
        """Return the password; raises `SourceUnavailable` when it cannot be read within ``seconds``."""
        waiting: Deferred[str] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if not self._reading:
            self._reading = True
            deferToThread(self._read).addBoth(self._answer)
        try:
            return await waiting.addTimeout(seconds, self._clock)
        except defer.TimeoutError:
            raise SourceUnavailable(f"DB_PASSWORD_FILE was not read within {seconds:g} s") from None
        except InvalidSetting as problem:
            raise SourceUnavailable(str(problem)) from None

    def _answer(self, outcome: str | Failure) -> None:
        self._reading = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)
