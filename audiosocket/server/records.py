"""What is kept on the disk of visits: what the API asks of it, and what removes recordings whose time is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.apps.porteiro.directory_files import DirectoryFiles
from audiosocket.errors import SourceUnavailable
from audiosocket.gate.audit import AuditFile
from audiosocket.json_shapes import ApartmentPageJSON, ApartmentsJSON, MediaFileJSON
from audiosocket.media.retention import erase_expired, files_of

#: Seconds after the start, and between two looks.
FIRST_SECONDS, EVERY_SECONDS = 60.0, 86_400.0


class RecordControl:
    """Implements `control_interface.RecordControl`. ``in_thread`` runs blocking work."""

    def __init__(
        self,
        apartments: DirectoryFiles,
        audit: AuditFile,
        media_directory: Path,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._apartments = apartments
        self._audit = audit
        self._media = media_directory
        self._in_thread = in_thread

    def status(self) -> ApartmentsJSON:
        """Return the part of the status that is about apartments."""
        return self._apartments.to_json()

    def apartments(self, condominium_id: int | None, limit: int, offset: int) -> ApartmentPageJSON:
        return self._apartments.listing(condominium_id, limit, offset)

    async def audit(self, since: datetime | None, limit: int) -> list[dict[str, Any]]:
        try:
            lines: list[dict[str, Any]] = await self._in_thread(self._audit.read, since, limit)
        except OSError as error:
            raise SourceUnavailable(f"the audit file cannot be read: {error.strerror or error}") from None
        return lines

    async def media(self, call_id: UUID) -> list[MediaFileJSON]:
        try:
            found: list[MediaFileJSON] = await self._in_thread(media_files, self._media, call_id)
        except OSError as error:
            raise SourceUnavailable(f"the recordings cannot be read: {error.strerror or error}") from None
        return found

    async def erase_media(self, call_id: UUID) -> list[MediaFileJSON]:
        try:
            erased: list[MediaFileJSON] = await self._in_thread(erase_media, self._media, call_id)
        except OSError as error:
            raise SourceUnavailable(f"a recording cannot be erased: {error.strerror or error}") from None
        return erased


def media_files(directory: Path, call_id: UUID) -> list[MediaFileJSON]:
    """All files of a call but the one that says until when. Blocking; raises `OSError`."""
    return [_shown(path) for path in files_of(directory, call_id) if path.suffix != ".json"]


def erase_media(directory: Path, call_id: UUID) -> list[MediaFileJSON]:
    """Remove all files of a call and return what they were. Blocking; raises `OSError`."""
    erased = media_files(directory, call_id)
    for path in files_of(directory, call_id):
        path.unlink(missing_ok=True)
    return erased


def _shown(path: Path) -> MediaFileJSON:
    status = path.stat()
    changed = datetime.fromtimestamp(status.st_mtime, timezone.utc).isoformat(timespec="seconds")
    return {"name": path.name, "bytes": status.st_size, "changed_at": changed.replace("+00:00", "Z")}


class Retention(Service):
    """Removes from ``directory``, at the start and once a day, what is not to be kept any more.

    ``in_thread`` runs blocking work, ``wall`` is the time of day.
    """

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
