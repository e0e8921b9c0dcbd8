"""The calls and the ended UUIDs that the lines of a call journal stand for.

Pure: lines in, values out; a line that cannot be read is counted and left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audiosocket.calls.journal_records import (
    AT_SECONDS,
    DAMAGED,
    EVENT,
    EndedRecord,
    Entry,
    EventRecord,
    JournalRecord,
    MovedRecord,
    OpenedRecord,
    OutcomeRecord,
    ReturnRecord,
    SavedLeg,
    SavedReturn,
    SnapshotRecord,
    StateRecord,
    decode,
    encode,
)
from audiosocket.calls.timeline import shorten
from audiosocket.extensions.model import Extension, Role


@dataclass
class SavedCall:
    """A call as it was; ``started`` and ``changed`` are seconds since the epoch."""

    call_id: UUID
    extension: Extension
    started: float
    started_at: str
    changed: float
    outcome: str | None = None
    legs: dict[Role, SavedLeg] = field(default_factory=dict)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    states: dict[tuple[Role, str], Any] = field(default_factory=dict)
    #: Return calls, the oldest first; their times are seconds since the epoch.
    returns: list[SavedReturn] = field(default_factory=list)

    def snapshot(self) -> SnapshotRecord:
        """Return the one record that stands for all records of this call."""
        return SnapshotRecord(
            str(self.call_id),
            self.extension,
            self.started,
            self.started_at,
            self.outcome,
            self.legs,
            self.timeline[:],
            self.states,
            [saved.shifted(-self.changed) for saved in self.returns],
        )


@dataclass(frozen=True)
class Replayed:
    """What the lines of a journal stand for.

    ``calls`` have not ended; ``ended`` maps the UUIDs of those that have to the seconds since then, the oldest
    first. ``damaged`` is the number of lines that cannot be read, ``first_damaged`` the number of the first one.
    """

    calls: tuple[SavedCall, ...] = ()
    ended: Mapping[UUID, float] = field(default_factory=dict)
    damaged: int = 0
    first_damaged: int = 0
    #: The time of the replay, in seconds since the epoch.
    at: float = 0.0

    def lines(self) -> Iterator[bytes]:
        """Return the fewest lines that stand for the same."""
        for call_id, age in self.ended.items():
            yield encode(EndedRecord(str(call_id)), self.at - age)
        for call in self.calls:
            yield encode(call.snapshot(), call.changed)


def replay(lines: Iterable[bytes], now: float, *, remember: float = 60.0, goes_on: bool = False) -> Replayed:
    """Return what ``lines`` stand for at ``now``; times are seconds since the epoch.

    UUIDs that ended more than ``remember`` seconds ago are left out; a clock that was set back gives no negative
    age. ``goes_on`` says that more lines follow, so that a call may be between two of them.
    """
    state = CallStates()
    damaged, first = 0, 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            state.apply(*decode(line))
        except DAMAGED:
            damaged += 1
            first = first or number
    if not goes_on:
        state.settle()
    ages = {call_id: max(0.0, now - wall) for call_id, wall in state.ended.items()}
    ended = sorted((item for item in ages.items() if item[1] <= remember), key=lambda item: -item[1])
    return Replayed(tuple(state.calls.values()), dict(ended), damaged, first, now)


def call_from(line: str, changed: float) -> SavedCall:
    """Return the call of a `SnapshotRecord` that was written at ``changed``, in seconds since the epoch of here.

    The clock of the machine that wrote it may be another one. Raises one of `DAMAGED`.
    """
    wall, call_id, record = decode(line.encode())
    if not isinstance(record, SnapshotRecord):
        raise TypeError(f"a record of kind {record.kind} is no snapshot")
    call = _from_snapshot(record, call_id, changed)
    call.started += changed - wall
    return call


class CallStates:
    """What the records change, one after the other; a record that raises has changed nothing.

    ``calls`` have not ended; ``ended`` maps the UUIDs of those that have to the time of their last record.
    """

    def __init__(self) -> None:
        self.calls: OrderedDict[UUID, SavedCall] = OrderedDict()
        self.ended: dict[UUID, float] = {}

    def apply(self, wall: float, call_id: UUID, record: JournalRecord) -> None:
        if isinstance(record, OpenedRecord):
            call = SavedCall(call_id, record.extension, wall, record.started_at, wall)
            for entry in record.entries:
                self._event(call, wall, entry)
            self._begin(call)
        elif isinstance(record, SnapshotRecord):
            self._begin(_from_snapshot(record, call_id, wall))
        elif isinstance(record, EndedRecord):
            self._end(call_id, wall)
        elif isinstance(record, MovedRecord):
            self.calls.pop(call_id, None)
        elif call_id in self.calls:
            self._change(self.calls[call_id], wall, record)
        elif isinstance(record, EventRecord) and record.entry[EVENT] == "call.ended":
            self._end(call_id, wall)  # its first record was damaged, or lost to a full disk; its UUID is over

    def settle(self) -> None:
        """End the calls without a live leg: a process may have died between two lines."""
        for call_id, call in list(self.calls.items()):
            if not call.legs:
                del self.calls[call_id]
            elif all(leg.outcome is not None for leg in call.legs.values()):
                self._end(call_id, call.changed)

    def _begin(self, call: SavedCall) -> None:
        self.ended.pop(call.call_id, None)
        self.calls[call.call_id] = call

    def _end(self, call_id: UUID, wall: float) -> None:
        self.calls.pop(call_id, None)
        self.ended[call_id] = wall

    def _change(
        self, call: SavedCall, wall: float, record: EventRecord | OutcomeRecord | StateRecord | ReturnRecord
    ) -> None:
        if isinstance(record, OutcomeRecord):
            call.outcome = record.outcome
        elif isinstance(record, StateRecord):
            call.states[record.role, record.app] = record.state
        elif isinstance(record, ReturnRecord):
            call.returns[record.number - 1 : record.number] = [record.saved.shifted(wall)]
        else:
            self._event(call, wall, record.entry)
        call.changed = wall

    def _event(self, call: SavedCall, wall: float, entry: Entry) -> None:
        event, at = str(entry[EVENT]), float(entry[AT_SECONDS])
        if event in {"leg.joined", "leg.resumed"}:
            role = Role(entry["role"])
            before = call.legs.get(role)
            resumes = 0 if before is None else before.resumes + 1
            joined = at if before is None or before.outcome is not None else before.joined
            call.legs[role] = SavedLeg(str(entry["peer"]), int(entry["port"]), joined, resumes)
        elif event == "leg.left":
            leg = call.legs[Role(entry["role"])]
            leg.outcome, leg.ended = str(entry["outcome"]), at
        elif event == "call.ended":
            self._end(call.call_id, wall)
        call.timeline.append(entry)
        shorten(call.timeline)


def _from_snapshot(record: SnapshotRecord, call_id: UUID, wall: float) -> SavedCall:
    return SavedCall(
        call_id,
        record.extension,
        record.started,
        record.started_at,
        wall,
        record.outcome,
        dict(record.legs),
        list(record.timeline),
        dict(record.states),
        [saved.shifted(wall) for saved in record.returns],
    )
