"""The gate: opened once for each call that a resident has authorised, also over ``kill -9``.

An authorisation is in the gate's journal before anything is done for it, and what the ways of opening answered is
there before anybody is told. What a process leaves unfinished the next one finishes: the webhook is sent again
with the same key, keys that were begun are not repeated, a missing audit line is written. But a gate that stayed
shut as nothing could be written is not left to it: the visitor was refused, and may have gone long before.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.gate.audit import AuditFile
from audiosocket.gate.journal import KEEP_SECONDS, GateJournal
from audiosocket.gate.opening import Opening, record_of
from audiosocket.gate.opening_files import OpeningFiles
from audiosocket.gate.record import GateRecord, WayAnswer
from audiosocket.interfaces import Authorisation, GateAnswer

InThread = Callable[..., Awaitable[Any]]
#: Writes an event of a call: its record, the event, its fields.
Note = Callable[[GateRecord, str, dict[str, Any]], None]


class Way(Protocol):
    """A way to open the gate: `GateWebhook`, `GateKeys`."""

    name: str

    async def open(self, record: GateRecord, begin: Callable[[], Awaitable[None]]) -> WayAnswer:
        """Do it and return what was answered. ``begin`` is for what must not be repeated."""


class Claims(Protocol):
    """What the nodes of a fleet agree on: `fleet.gate_claims.GateClaims`."""

    async def claim(self, call_id: UUID, visit: str) -> tuple[bool, str] | None:
        """Claim the opening for a visit. None: it is this node's; else whether another opened, and its answer."""

    def answered(self, call_id: UUID, visit: str, *, opened: bool, detail: str) -> None:
        """Tell the other nodes what the gate answered."""


#: Stands for a way in the answers of an opening that another node has claimed.
OTHER_NODE = "fleet"
#: The answer of a way that is not asked, or not again, as the server was away for too long.
LATE = "not asked: the server was away for too long"
#: How old an opening may be that a start finishes, at least, in seconds.
FINISH_SECONDS = 60.0


class GateOpener(Service):
    """Implements `interfaces.Gate`. ``mine`` says which calls are this process's, among several workers.

    ``in_thread`` runs blocking work in a thread of its own, so that no recording is in the way of a gate;
    ``close`` ends it at last. ``claims`` is given with several nodes, one of which may open. A start asks
    nothing for an opening that is older than ``resume_seconds`` and `FINISH_SECONDS`: nobody waits any more.
    """

    _log = Logger()

    def __init__(
        self,
        ways: Sequence[Way],
        journal: GateJournal,
        audit: AuditFile,
        clock: IReactorTime,
        in_thread: InThread,
        note: Note,
        *,
        wall: Callable[[], float] = time.time,
        mine: Callable[[UUID], bool] = lambda call_id: True,
        close: Callable[[], Awaitable[None]] | None = None,
        claims: Claims | None = None,
        resume_seconds: float = 0,
    ) -> None:
        self._finish_seconds = max(FINISH_SECONDS, resume_seconds)
        self._ways = tuple(ways)
        self._journal = journal
        self._files = OpeningFiles(journal, audit, clock, in_thread)
        self._clock = clock
        self._in_thread = in_thread
        self._note = note
        self._wall = wall
        self._mine = mine
        self._close = close
        self._claims = claims
        self._openings: dict[UUID, Opening] = {}
        self._cleaning: IDelayedCall | None = None
        self.opened_total = 0
        self.failed_total = 0

    def startService(self) -> None:
        super().startService()
        for record in self._journal.records():
            if not record.done and self._mine(record.uuid):
                self._finish_after_restart(record)
        self._clean()

    def _finish_after_restart(self, record: GateRecord) -> None:
        """Go on with an opening that an earlier process left, unless its lock cannot be taken."""
        try:
            handle = self._journal.hold(record.uuid)
        except OSError as error:
            self._log.error(
                "the gate for call {call_id} is not finished: {path} cannot be locked after the restart "
                "({reason}); mend that, and the next start finishes it",
                call_id=record.call_id,
                path=error.filename,
                reason=error.strerror or error,
            )
            return
        if handle is None:
            self._log.warn("another process opens the gate for call {call_id}", call_id=record.call_id)
            return
        late = not record.answered and self._wall() - record.began > self._finish_seconds
        self._log.info("the gate for call {call_id} is finished after a restart", call_id=record.call_id)
        self._begin(record, handle, again=True, late=late)

    def stopService(self) -> Deferred[None]:
        """Leave what is under way to the next process; fires when connections and thread are closed."""
        super().stopService()
        if self._cleaning is not None and self._cleaning.active():
            self._cleaning.cancel()
        for opening in list(self._openings.values()):
            opening.cancel()
        return Deferred.fromCoroutine(self._closed())

    async def _closed(self) -> None:
        if self._close is not None:
            await self._close()

    def open(self, authorisation: Authorisation) -> Deferred[GateAnswer]:
        """Open the gate for this visit, once however often it is asked; fires with what came of it."""
        opening = self._openings.get(authorisation.call_id)
        if opening is not None and opening.record.visit == authorisation.visit:
            return opening.answer()
        record = record_of(authorisation, self._wall())
        try:
            kept, handle = self._take(record)
        except OSError as error:
            reason = f"the gate's journal cannot be written: {error.strerror or error}"
            self._log.error(
                "{reason}; the gate for call {call_id} stays shut", reason=reason, call_id=record.call_id
            )
            self._note(record, "gate.failed", {"reason": reason})
            self.failed_total += 1
            answer: Deferred[GateAnswer] = Deferred()
            answer.callback(GateAnswer(False, reason))
            return answer
        return self._begin(kept, handle, again=kept is not record).answer()

    def _take(self, record: GateRecord) -> tuple[GateRecord, int]:
        """The record that counts for this call, and its lock. Raises `OSError`; then none of ours is left."""
        kept = self._claim(record)
        try:
            handle = self._journal.hold(record.uuid)
            if handle is None:
                raise BlockingIOError(errno.EBUSY, "another process opens it")
        except OSError:
            if kept is record:
                self._journal.remove(record.uuid)
            raise
        return kept, handle

    def _claim(self, record: GateRecord) -> GateRecord:
        """The record that counts for this call: this one, or what is left of the same visit. Raises `OSError`."""
        for _ in range(2):
            try:
                self._journal.begin(record)
            except FileExistsError:
                kept = self._journal.read(record.uuid)
                if kept is None:
                    raise
                if kept.visit == record.visit:
                    return kept
                if not kept.done:
                    raise
                self._journal.remove(record.uuid)  # another visit with this UUID, which is over
            else:
                return record
        raise FileExistsError(errno.EEXIST, "another process has begun")

    def _begin(self, record: GateRecord, handle: int, *, again: bool, late: bool = False) -> Opening:
        opening = self._openings[record.uuid] = Opening(record, again=again, late=late)
        work = Deferred.fromCoroutine(self._run(opening))
        work.addBoth(self._release, record.uuid, handle)
        opening.work = work
        work.addErrback(self._broke, opening)
        return opening

    def _release(self, result: Any, call_id: UUID, handle: int) -> Any:
        self._journal.release(call_id, handle)
        return result

    async def _run(self, opening: Opening) -> None:
        record = opening.record
        if record.done:
            opening.finish()
            return
        if not record.answered:
            await self._files.save(opening, self._journal.sync)
            if not await self._claimed_elsewhere(opening):
                await self._ask_all(opening)
            record.answered = True
            await self._files.save(opening, self._journal.update)
            self._report(record)
        opening.finish()
        await self._files.until_saved(opening)
        await self._files.until_audited(opening)
        record.done = True
        await self._files.save(opening, self._journal.update)
        await self._files.until_saved(opening)

    async def _claimed_elsewhere(self, opening: Opening) -> bool:
        """Return whether another node of the fleet opens, or nobody may; that is the answer then."""
        record = opening.record
        if self._claims is None or record.claimed or OTHER_NODE in record.answers:
            return OTHER_NODE in record.answers
        other = await self._claims.claim(record.uuid, record.visit)
        if other is None:
            record.claimed = True
            await self._files.save(opening, self._journal.update)
        else:
            record.answers[OTHER_NODE] = WayAnswer(*other)
        return other is not None

    async def _ask_all(self, opening: Opening) -> None:
        record = opening.record
        if not opening.again:
            self._note(record, "gate.opening", {"ways": [way.name for way in self._ways]})
        asked = [Deferred.fromCoroutine(self._ask(way, opening)) for way in self._ways]
        try:
            for one in asked:
                await one
        except Exception:  # a stop, too, is one
            for one in asked:
                one.addErrback(lambda failure: None)
                one.cancel()
            raise
        if self._claims is not None:
            opened = all(answer.ok for answer in record.answers.values())
            detail = "; ".join(f"{way}: {answer.detail}" for way, answer in record.answers.items())
            self._claims.answered(record.uuid, record.visit, opened=opened, detail=detail)

    async def _ask(self, way: Way, opening: Opening) -> None:
        """One way, unless it has answered before a restart."""
        record = opening.record
        if way.name in record.answers:
            return
        if opening.late:
            record.answers[way.name] = WayAnswer(False, LATE)
            return

        async def begin() -> None:
            record.keys_begun = True
            await self._in_thread(self._journal.update, record)

        try:
            answer = await way.open(record, begin)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault here must not leave a visitor waiting
            self._log.failure("the gate cannot be opened by {way}", way=way.name)
            answer = WayAnswer(False, f"{type(error).__name__}: {error}")
        record.answers[way.name] = answer
        await self._files.save(opening, self._journal.update)

    def _report(self, record: GateRecord) -> None:
        answers = {way: answer.detail for way, answer in record.answers.items()}
        if record.opened:
            self.opened_total += 1
            self._note(record, "gate.opened", {"answers": answers})
        else:
            self.failed_total += 1
            self._note(record, "gate.failed", {"reason": record.reason})

    def _broke(self, failure: Any, opening: Opening) -> None:
        if failure.check(CancelledError):
            return
        self._log.failure(
            "the gate for {call_id}: {error}", failure, call_id=opening.record.call_id, error=failure.value
        )
        opening.finish(str(failure.value))

    def _clean(self) -> None:
        """Now and then forget what ended long ago, in memory and on the disk."""
        for call_id, opening in list(self._openings.items()):
            if opening.record.done:
                del self._openings[call_id]
        work = Deferred.fromCoroutine(_awaited(self._in_thread(self._journal.forget_old, self._wall())))
        work.addErrback(lambda failure: self._log.failure("old openings of the gate cannot be forgotten", failure))
        self._cleaning = self._clock.callLater(KEEP_SECONDS / 4, self._clean)


async def _awaited(work: Awaitable[Any]) -> None:
    await work
