"""Removes recordings and transcripts whose time is over: at the start, and once a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.media.retention import erase_expired

#: Seconds after the start, and between two looks.
FIRST_SECONDS, EVERY_SECONDS = 60.0, 86_400.0


class Retention(Service):
    """Looks after ``directory``. ``in_thread`` runs blocking work, ``wall`` is the time of day."""

    _log = Logger()

    def __init__(
        self,
        directory: Path,
        clock: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        wall: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._in_thread = in_thread
        self._wall = wall
        self._timer: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self._timer = self._clock.callLater(FIRST_SECONDS, self._look)

    def stopService(self) -> None:
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._clock.callLater(EVERY_SECONDS, self._look)
        work = self._in_thread(erase_expired, self._directory, self._wall())
        work.addCallbacks(self._erased, self._failed)

    def _erased(self, files: int) -> None:
        if files:
            self._log.info("{n} files of recordings and transcripts were removed: retention_days is over", n=files)

    def _failed(self, failure: Any) -> None:
        failure.trap(OSError)
        self._log.error(
            "{directory}: recordings cannot be removed: {why}",
            directory=str(self._directory),
            why=failure.value.strerror or failure.value,
        )
