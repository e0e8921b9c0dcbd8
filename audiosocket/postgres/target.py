"""Where the database is, as the settings say, with the password as it is now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.interfaces import IReactorTime

from audiosocket.postgres.password import Password
from audiosocket.postgres.session import ConnectionParameters
from audiosocket.settings import Settings


class Target:
    """Where to connect, and as whom.

    ``password`` is called in a thread before each connection where it is not text; it may raise `InvalidSetting`.
    """

    def __init__(self, settings: Settings, password: str | Callable[[], str], clock: IReactorTime) -> None:
        self._parameters = ConnectionParameters(
            settings.db_host,
            settings.db_port,
            settings.db_name,
            settings.db_user,
            password if isinstance(password, str) else "",
            settings.db_sslmode,
            settings.db_sslrootcert,
        )
        self._password = None if isinstance(password, str) else Password(password, clock)

    async def current(self, seconds: float) -> ConnectionParameters:
        """Return how to connect; raises `SourceUnavailable` when the password is not read within ``seconds``."""
        if self._password is None:
            return self._parameters
        return replace(self._parameters, password=await self._password.current(seconds))
