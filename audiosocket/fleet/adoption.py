"""Calls of other nodes: asked for when a UUID comes that is not known here, continued, and given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Protocol
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from audiosocket.calls.call import Call, JournalWriter
from audiosocket.calls.journal_records import DAMAGED, JournalRecord
from audiosocket.calls.journal_replay import Replayed, call_from
from audiosocket.calls.protocol.connection import AudioSocketProtocol
from audiosocket.calls.registry import REMEMBER_SECONDS, CallRegistry
from audiosocket.extensions.model import Role
from audiosocket.fleet.call_lookups import CallLookups
from audiosocket.fleet.call_statements import Answer, Question
from audiosocket.fleet.call_table import CallTable
from audiosocket.json_shapes import FleetCallsJSON

_log = Logger()


class Calls(Protocol):
    """The calls of this process: `server.switchboard.Switchboard`."""

    def takes_new_calls(self) -> bool:
        """Return whether a UUID that is not known may begin or continue a call here."""

    def restore(self, kept: Replayed) -> None:
        """Continue calls; their legs are suspended until they resume."""

    def expire(self, calls: Iterable[Call] | None = None) -> int:
        """End the suspended legs of these calls; return their number."""

    def leave(self, call: Call) -> None:
        """Close the legs of a call without a goodbye, and announce nothing."""


class BothJournals:
    """The journal in a file and the one in the table, as one; implements `call.JournalWriter`."""

    def __init__(self, file: JournalWriter, table: JournalWriter) -> None:
        self._journals = (file, table)

    def __enter__(self) -> BothJournals:
        for journal in self._journals:
            journal.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        for journal in self._journals:
            journal.__exit__(*exception)

    def write(self, record: JournalRecord) -> None:
        for journal in self._journals:
            journal.write(record)


class Adoption:
    """Continues calls of other nodes here, as the next process continues those of a process that was killed.

    ``file`` is the journal on this machine. Legs of such a call that do not come back within ``resume_seconds``
    are lost. ``wall`` is the time of day.
    """

    def __init__(
        self,
        registry: CallRegistry,
        table: CallTable,
        lookups: CallLookups,
        file: JournalWriter,
        clock: IReactorTime,
        wall: Callable[[], float],
        resume_seconds: float,
    ) -> None:
        self._registry = registry
        #: Set before the first connection.
        self.calls: Calls | None = None
        self.table = table
        self.lookups = lookups
        self._file = file
        self._clock = clock
        self._wall = wall
        self._resume_seconds = resume_seconds
        table.lost = self._lost

    def to_json(self) -> FleetCallsJSON:
        """Return the counters, for the status."""
        return {
            "waiting": self.table.own.waiting,
            "written_total": self.table.written_total,
            "dropped_total": self.table.own.dropped_total,
            "adopted_total": self.table.adopted_total,
            "lost_total": self.table.lost_total,
            "unanswered_total": self.lookups.unanswered_total,
        }

    def locate(self, connection: AudioSocketProtocol, call_id: UUID) -> Deferred[str] | None:
        """Find out whether another node has the call of a UUID; implements `protocol.factory.Locate`."""
        if self.calls is None or not self.calls.takes_new_calls():
            return None
        if self._registry.knows(call_id, self._clock.seconds()):
            return None
        extension, role = connection.factory.extension, connection.factory.role
        port = extension.port if role is Role.VISITOR else -1
        answer = self.lookups.look_up(Question(call_id, extension.id, port))
        if answer.called and answer.result == Answer():  # nobody could be asked
            return None
        return answer.addCallback(self._answered, call_id)

    def may_authorise_alone(self, call_id: UUID) -> bool:
        """Return whether a call may open a gate while the table cannot be asked.

        No other node can have opened it: the call began here, and its visitor is connected here.
        """
        call = self._registry.get(call_id)
        if call is None or call.moved or self.table.own.inherited(call_id):
            return False
        return any(leg.role is Role.VISITOR and not leg.suspended for leg in call.live_legs)

    def _answered(self, answer: Answer, call_id: UUID) -> str:
        if self._registry.knows(call_id, self._clock.seconds()):  # the other leg was quicker
            return ""
        if answer.foreign:
            return "another node has the call, which belongs to another extension"
        if answer.record:
            self._adopt(answer, call_id)
        elif answer.ended is not None and answer.ended <= REMEMBER_SECONDS:
            self._restore(Replayed(ended={call_id: answer.ended}))
        else:
            self.table.own.expect(call_id, answer.epoch)
        return ""

    def _adopt(self, answer: Answer, call_id: UUID) -> None:
        now = self._wall()
        try:
            saved = call_from(answer.record, now - answer.age)
        except DAMAGED as problem:
            _log.error(
                "{call_id}: what node {node} has kept of it cannot be read ({problem}); it begins anew",
                call_id=call_id,
                node=answer.owner,
                problem=problem,
            )
            self.table.own.expect(call_id, answer.epoch)
            return
        saved = replace(saved, changed=now)
        self.table.adopt(saved, answer.epoch)
        self._file.write(saved.snapshot())
        self._restore(Replayed((saved,), at=now))
        call = self._registry.get(call_id)
        if call is None:
            return
        call.note("call.adopted", self._clock.seconds(), node=answer.owner)
        _log.info("{call_id}: the call of node {node} goes on here", call_id=call_id, node=answer.owner)
        self._clock.callLater(self._resume_seconds, partial(self._expire, call))

    def _lost(self, call_id: UUID) -> None:
        call = self._registry.get(call_id)
        if self.calls is not None and call is not None and call.ended is None:
            self.calls.leave(call)

    def _restore(self, kept: Replayed) -> None:
        if self.calls is not None:
            self.calls.restore(kept)

    def _expire(self, call: Call) -> None:
        if self.calls is not None and not call.moved and call.ended is None:
            lost = self.calls.expire([call])
            if lost:
                _log.warn("{call_id}: {n} legs did not come back from another node", call_id=call.name, n=lost)
