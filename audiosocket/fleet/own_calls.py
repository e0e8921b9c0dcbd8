"""Which calls are this node's in the table ``audiosocket_calls``, and which of them have to be written there.

Pure. A call has an owner and an epoch in the table; whoever takes it over sets both, and the epoch only grows. A
row is written only by its owner at its epoch, see ``call_statements.py``; a node whose row is refused has lost the
call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from audiosocket.calls.journal_records import JournalRecord, OpenedRecord, encode
from audiosocket.calls.journal_replay import CallStates, SavedCall

#: Calls that wait to be written, most of all while the database is away; each counts once.
MOST_WAITING = 10_000
#: The epoch of a call that began while the table could not be asked: its first row replaces what is there.
NOT_ASKED = 0


@dataclass(frozen=True)
class CallRow:
    """A call as it is to be written; ``record`` is the line of its snapshot, empty when it has ended.

    ``began`` is in seconds since the epoch.
    """

    call_id: UUID
    epoch: int
    extension_id: int = 0
    port: int = 0
    record: str = ""
    began: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return not self.record


class OwnCalls:
    """The calls of this node; fed with the records of its journal.

    A call that has changed waits once, however often it changes: `take` returns it as it is then.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._states = CallStates()
        self._epochs: dict[UUID, int] = {}
        #: Restored after a restart: another node may have taken them over meanwhile.
        self._unclaimed: set[UUID] = set()
        #: Restored, or taken over from another node; not begun by this process.
        self._inherited: set[UUID] = set()
        self._waiting: dict[UUID, None] = {}
        #: The UUID that was asked about last, and the epoch that a new call begins with.
        self._expected: tuple[UUID | None, int] = (None, NOT_ASKED)
        #: Changes that found no place to wait.
        self.dropped_total = 0

    def __contains__(self, call_id: UUID) -> bool:
        return call_id in self._epochs

    @property
    def waiting(self) -> int:
        """How many calls wait to be written."""
        return len(self._waiting)

    @property
    def unclaimed(self) -> list[UUID]:
        """Calls restored after a restart whose rows have not been looked at."""
        return list(self._unclaimed)

    def inherited(self, call_id: UUID) -> bool:
        """Return whether this process did not begin the call: another one may have authorised in it."""
        return call_id in self._inherited

    # calls begin and change

    def expect(self, call_id: UUID, epoch: int) -> None:
        """Note the epoch with which a call with this UUID would begin, if its leg is admitted now."""
        self._expected = (call_id, epoch)

    def change(self, wall: float, record: JournalRecord) -> None:
        """Take a record of the journal, written at ``wall`` (seconds since the epoch)."""
        call_id = UUID(record.call)
        if isinstance(record, OpenedRecord):
            expected, epoch = self._expected
            self._forget(call_id)
            self._epochs[call_id] = epoch if expected == call_id else NOT_ASKED
        self._states.apply(wall, call_id, record)
        if self._states.ended.pop(call_id, None) is None and call_id not in self._states.calls:
            return
        if call_id in self._epochs:
            self._wait(call_id)

    def restore(self, calls: Iterable[SavedCall]) -> None:
        """Take the calls of the process before; they are written once `claimed` says that they are ours."""
        for call in calls:
            if call.call_id not in self._epochs:
                self._states.calls[call.call_id] = call
                self._epochs[call.call_id] = NOT_ASKED
                self._unclaimed.add(call.call_id)
                self._inherited.add(call.call_id)

    def adopt(self, call: SavedCall, epoch: int) -> None:
        """Take a call that was another node's."""
        self._forget(call.call_id)
        self._states.calls[call.call_id] = call
        self._epochs[call.call_id] = epoch
        self._inherited.add(call.call_id)

    # rows are written

    def take(self, most: int) -> list[CallRow]:
        """Return the next rows to write, at most so many; `written` or `failed` must follow."""
        rows: list[CallRow] = []
        for call_id in list(self._waiting):
            if len(rows) == most:
                break
            if call_id not in self._unclaimed:
                del self._waiting[call_id]
                rows.append(self._row(call_id))
        return rows

    def failed(self, rows: Iterable[CallRow]) -> None:
        """Let rows that could not be written wait again."""
        for row in rows:
            if row.call_id in self._epochs:
                self._wait(row.call_id)

    def written(self, rows: Iterable[CallRow], epochs: Mapping[UUID, int]) -> list[UUID]:
        """Take the epochs of the rows that were written; return the calls that are not ours any more."""
        lost = []
        for row in rows:
            call_id = row.call_id
            if self._epochs.get(call_id) != row.epoch:
                continue  # not ours any more, or begun anew meanwhile
            over = call_id not in self._states.calls
            if call_id in epochs and not row.ended:
                self._epochs[call_id] = max(1, epochs[call_id])
            elif over:
                self._forget(call_id)
            else:
                lost.append(call_id)
        return self._lose(lost)

    def claimed(self, asked: Iterable[UUID], epochs: Mapping[UUID, int], others: Iterable[UUID]) -> list[UUID]:
        """Take the answer about `unclaimed` calls: epochs of our rows, and rows that are not ours.

        Return the calls that are not ours any more.
        """
        for call_id in asked:
            if call_id in self._unclaimed:
                self._unclaimed.discard(call_id)
                self._epochs[call_id] = epochs.get(call_id, 1)
                if call_id not in epochs:  # there is no row yet
                    self._wait(call_id)
        return self._lose([call_id for call_id in others if call_id in self._epochs])

    def rewrite(self) -> None:
        """Let all live calls wait: what was notified while nobody listened is learned from the answer."""
        for call_id in self._states.calls:
            self._wait(call_id)

    def taken_over(self, call_id: UUID, epoch: int) -> list[UUID]:
        """Take the news that another node has a call since ``epoch``; return it if it was ours."""
        own = self._epochs.get(call_id)
        if own is None or own >= epoch:
            return []
        return self._lose([call_id])

    def _lose(self, lost: list[UUID]) -> list[UUID]:
        for call_id in lost:
            self._forget(call_id)
        return lost

    def _row(self, call_id: UUID) -> CallRow:
        call, epoch = self._states.calls.get(call_id), self._epochs[call_id]
        if call is None:
            return CallRow(call_id, epoch)
        record = encode(call.snapshot(), call.changed).decode().rstrip("\n")
        return CallRow(call_id, epoch, call.extension.id, call.extension.port, record, call.started)

    def _wait(self, call_id: UUID) -> None:
        if call_id in self._waiting or len(self._waiting) < self._most:
            self._waiting[call_id] = None
            return
        self.dropped_total += 1
        if call_id not in self._states.calls:
            self._forget(call_id)

    def _forget(self, call_id: UUID) -> None:
        self._states.calls.pop(call_id, None)
        self._epochs.pop(call_id, None)
        self._waiting.pop(call_id, None)
        self._unclaimed.discard(call_id)
        self._inherited.discard(call_id)
