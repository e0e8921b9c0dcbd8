"""What is written of an opening in files, now or as soon as that is possible again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.gate.audit import AuditFile
from audiosocket.gate.journal import GateJournal
from audiosocket.gate.opening import Opening
from audiosocket.gate.record import GateRecord

#: What could not be written is written again after so many seconds.
RETRY_SECONDS = 0.5


class OpeningFiles:
    """Writes openings to the journal and the audit file, in ``in_thread``; tries again by ``clock``."""

    _log = Logger()

    def __init__(
        self,
        journal: GateJournal,
        audit: AuditFile,
        clock: IReactorTime,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._journal = journal
        self._audit = audit
        self._clock = clock
        self._in_thread = in_thread

    async def save(self, opening: Opening, write: Callable[[GateRecord], None]) -> None:
        """Call a method of the journal; when it raises OSError log that, and have it made up for later."""
        try:
            await self._in_thread(write, opening.record)
        except OSError as error:
            if opening.saved:
                self._log.error(
                    "the gate's journal cannot be written: {reason}; the gate for call {call_id} goes on",
                    reason=error.strerror or error,
                    call_id=opening.record.call_id,
                )
            opening.saved = False
        else:
            opening.saved = True

    async def until_saved(self, opening: Opening) -> None:
        """Write what is missing in the journal, again and again until it is there."""
        while not opening.saved:
            await deferLater(self._clock, RETRY_SECONDS)
            await self.save(opening, self._journal.update)

    async def until_audited(self, opening: Opening) -> None:
        """Add the line of the audit file, again and again until it is there."""
        line, logged = opening.record.audit_line(), False
        while True:
            add = self._audit.append_once if opening.again or logged else self._audit.append
            try:
                await self._in_thread(add, line)
            except OSError as error:
                if not logged:
                    self._log.error(
                        "the audit file lacks call {call_id} for now: {reason}; writing is tried again",
                        call_id=line["call_id"],
                        reason=error.strerror or error,
                    )
                logged = True
                await deferLater(self._clock, RETRY_SECONDS)
            else:
                return
