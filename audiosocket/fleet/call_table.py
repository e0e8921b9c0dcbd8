"""The calls of this node in the table of the fleet: written soon after each change, and given up when lost.

The second journal of calls, beside the file: other nodes read it, `CallLookups`. Nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.calls.journal_records import JournalRecord
from audiosocket.calls.journal_replay import SavedCall
from audiosocket.errors import SourceUnavailable
from audiosocket.fleet.call_lookups import Database
from audiosocket.fleet.call_statements import CLAIM, WRITE, written_values
from audiosocket.fleet.own_calls import OwnCalls

#: How long a change waits for others, in seconds.
GATHER_SECONDS = 0.05
#: The pause after the table could not be written, in seconds.
AGAIN_SECONDS = 1.0
#: How long a statement may take, in seconds.
STATEMENT_SECONDS = 5.0
#: Rows in one statement: about 5 ms of PostgreSQL's time.
MOST_ROWS = 200


class CallTable(Service):
    """Implements `call.JournalWriter`. ``node`` is this node's name, ``wall`` the time of day.

    ``lost`` is called with the UUID of each call that another node has taken over.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        clock: IReactorTime,
        node: str,
        wall: Callable[[], float],
        own: OwnCalls | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._node = node
        self._wall = wall
        self.own = own or OwnCalls()
        self.lost: Callable[[UUID], object] = lambda call_id: None
        self._timer: IDelayedCall | None = None
        self._writing = self._claiming = False
        self._trouble = ""
        self.adopted_total = 0
        self.lost_total = 0
        self.written_total = 0

    # `JournalWriter`

    def __enter__(self) -> CallTable:
        """Do nothing: what changes within `GATHER_SECONDS` is written together anyway."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing."""

    def write(self, record: JournalRecord) -> None:
        """Keep one record; the call is written soon."""
        try:
            self.own.change(self._wall(), record)
        except Exception:  # noqa: BLE001 - nothing may raise into a call
            self._log.failure("a change of call {call} is not in the table of the fleet", call=record.call)
        self._write_soon(GATHER_SECONDS)

    # calls of others and of the process before

    def restore(self, calls: Iterable[SavedCall]) -> None:
        """Take the calls of the process before; which of them other nodes have by now is asked."""
        self.own.restore(calls)
        self.came_up()

    def adopt(self, call: SavedCall, epoch: int) -> None:
        """Take a call that was another node's until now."""
        self.own.adopt(call, epoch)
        self.adopted_total += 1

    def came_up(self) -> None:
        """Find out what was missed without a session: which calls are not ours any more."""
        if self._database.is_up:
            self.own.rewrite()
            if not self._claiming:
                self._claiming = True
                self._run(self._claim())

    def heard(self, text: str) -> None:
        """Take the notification that a call was taken over: its UUID, its epoch and its new owner."""
        try:
            call_id, epoch, owner = text.split(" ", 2)
            known, since = UUID(call_id), int(epoch)
        except ValueError:
            self._log.warn("a notification about a call cannot be read: {text!r}", text=text[:200])
            return
        if owner != self._node:
            self._lose(self.own.taken_over(known, since))

    def stopService(self) -> None:
        """Write no more but what is under way."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def flush(self) -> None:
        """Write what waits at once, as far as one statement takes it."""
        if not self._writing and self._database.is_up:
            self._write_now()

    def _write_soon(self, seconds: float) -> None:
        if self._timer is None and not self._writing and self.own.waiting and self.running:
            self._timer = self._clock.callLater(seconds, self._write_now)

    def _write_now(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer, self._writing = None, True
        self._run(self._write())

    async def _write(self) -> None:
        pause = GATHER_SECONDS
        try:
            rows = self.own.take(MOST_ROWS)
            if not rows:
                return
            try:
                values = written_values(rows, self._wall(), self._node)
                written = await self._database.ask(WRITE, values, STATEMENT_SECONDS)
            except SourceUnavailable as problem:
                self.own.failed(rows)
                self._is_wrong(str(problem))
                pause = AGAIN_SECONDS
            else:
                self._is_wrong("")
                self.written_total += len(written)
                self._lose(self.own.written(rows, {UUID(row[0]): int(row[1]) for row in written}))
        finally:
            self._writing = False
            self._write_soon(pause)

    async def _claim(self) -> None:
        try:
            await self._claim_all()
        finally:
            self._claiming = False
            self._write_soon(GATHER_SECONDS)

    async def _claim_all(self) -> None:
        while asked := self.own.unclaimed[:MOST_ROWS]:
            try:
                rows = await self._database.ask(
                    CLAIM, [[str(one) for one in asked], self._node], STATEMENT_SECONDS
                )
            except SourceUnavailable as problem:
                self._is_wrong(str(problem))
                self._clock.callLater(AGAIN_SECONDS, self.came_up)
                return
            epochs = {UUID(row[0]): int(row[1]) for row in rows if row[1] is not None}
            others = [UUID(row[0]) for row in rows if row[1] is None]
            self._lose(self.own.claimed(asked, epochs, others))

    def _lose(self, calls: Iterable[UUID]) -> None:
        for call_id in calls:
            self.lost_total += 1
            self._log.info("{call_id}: another node has taken over this call", call_id=call_id)
            self.lost(call_id)

    def _is_wrong(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._log.warn("the table of calls cannot be written: {why}; calls go on", why=trouble)
        elif self._trouble and not trouble:
            self._log.info("the table of calls is written again")
        self._trouble = trouble

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(self._broke)

    def _broke(self, failure: Failure) -> None:
        self._log.failure("unexpected error with the table of calls", failure)
