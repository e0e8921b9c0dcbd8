"""Secrets as settings give them: a text, or a file that is read at each use, as it may be replaced in place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from audiosocket.errors import InvalidSetting
from audiosocket.secret_files import secret_line

#: A secret, or what returns the current one and raises `InvalidSetting` where there is none.
Secret = str | Callable[[], Awaitable[str]]
#: Seconds in which a file has to be read.
READ_SECONDS = 5.0


async def current(secret: Secret) -> str:
    """Return the secret as it is now; raises `InvalidSetting`, which names the setting, but never the secret."""
    return secret if isinstance(secret, str) else await secret()


def secret_from(name: str, text: str, path: str, clock: IReactorTime) -> Secret:
    """Return the secret of the setting ``name``: ``text``, or the first line of the file at ``path`` if given."""
    return SecretFile(f"{name}_FILE", path, clock) if path else text


class SecretFile:
    """Calling it reads the file at ``path``, which ``setting`` names, in a thread.

    Callers at the same time share one reading, so that a disk that does not answer holds one thread.
    """

    def __init__(
        self,
        setting: str,
        path: str,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._setting = setting
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._reading = False
        self._waiting: list[Deferred[str]] = []

    async def __call__(self) -> str:
        """Return the first line; raises `InvalidSetting`."""
        waiting: Deferred[str] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if not self._reading:
            self._reading = True
            self._in_thread(secret_line, self._setting, self._path).addBoth(self._answer)
        try:
            return await waiting.addTimeout(READ_SECONDS, self._clock)
        except defer.TimeoutError:
            raise InvalidSetting(f"{self._setting} was not read within {READ_SECONDS:g} s") from None

    def _answer(self, outcome: str | Failure) -> None:
        self._reading = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)
