"""The records of the call journal: one dataclass for each kind, and how it is written as a line.

A line is a JSON object that begins with `WALL` (time of day, in seconds since the epoch), `KIND` and `CALL` (the
UUID), in this order: the compaction reads so much of it as bytes. Four kinds follow a call: `EventRecord`,
`OutcomeRecord`, `StateRecord` and `ReturnRecord`. `OpenedRecord` begins it; `SnapshotRecord`, `EndedRecord` and
`MovedRecord` stand for all its lines before them. Nobody changes a record; those of every call are not frozen, as
that makes one take three times as long. Keys and their meaning are fixed: the next version reads what this one
wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.parsing import parse_json

#: Entries that a timeline keeps; ``timeline.py`` says which.
MAX_TIMELINE = 200

WALL, KIND, CALL, ENTRY = "wall", "kind", "call", "entry"
#: The first keys of each entry of a timeline, in this order.
AT_SECONDS, EVENT = "at_seconds", "event"

Line: TypeAlias = dict[str, Any]
#: An entry of a timeline: what happened, when (seconds since the call began), and the fields of that event.
Entry: TypeAlias = dict[str, Any]

#: What reading a damaged line raises.
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, InvalidExtension)

_encode = json.JSONEncoder(separators=(",", ":"), skipkeys=True, default=str).encode


@dataclass
class SavedLeg:
    """A leg as it was; ``outcome`` is None while it is live, ``joined`` and ``ended`` are seconds of the call."""

    peer: str
    port: int
    joined: float
    resumes: int = 0
    outcome: str | None = None
    ended: float | None = None

    def to_line(self) -> Line:
        return {
            "peer": self.peer,
            "port": self.port,
            "joined": self.joined,
            "resumes": self.resumes,
            "ending": self.outcome,
            "ended": self.ended,
        }

    @classmethod
    def from_line(cls, line: Line) -> SavedLeg:
        return cls(
            str(line["peer"]),
            int(line["port"]),
            float(line["joined"]),
            int(line["resumes"]),
            _optional_text(line["ending"]),
            None if line["ended"] is None else float(line["ended"]),
        )


@dataclass(frozen=True, slots=True)
class SavedAttempt:
    """One number of a return call; ``end`` is None while it rings. Times as in `SavedReturn`."""

    number: str
    attempt_id: str
    began: float
    ended: float | None
    end: str | None
    reason: str

    def shifted(self, seconds: float) -> SavedAttempt:
        ended = None if self.ended is None else self.ended + seconds
        return replace(self, began=self.began + seconds, ended=ended)

    def to_line(self) -> Line:
        return {
            "number": self.number,
            "id": self.attempt_id,
            "began": round(0.0 - self.began, 3),
            "ended": None if self.ended is None else round(0.0 - self.ended, 3),
            "end": self.end,
            "reason": self.reason,
        }

    @classmethod
    def from_line(cls, line: Line) -> SavedAttempt:
        return cls(
            str(line["number"]),
            str(line["id"]),
            -float(line["began"]),
            None if line["ended"] is None else -float(line["ended"]),
            _optional_text(line["end"]),
            str(line["reason"]),
        )


@dataclass(frozen=True, slots=True)
class SavedReturn:
    """A return call as it was; ``numbers`` are those that have not been rung.

    ``until`` is when the ringing stops, or when the leg may no longer come. Times are in seconds of any clock; in
    a record the zero of that clock is the time of its line, see `shifted`.
    """

    state: str
    reason: str
    numbers: tuple[str, ...]
    until: float
    attempts: tuple[SavedAttempt, ...]

    def shifted(self, seconds: float) -> SavedReturn:
        """Return the same for a clock that shows ``seconds`` more."""
        attempts = tuple(attempt.shifted(seconds) for attempt in self.attempts)
        return replace(self, until=self.until + seconds, attempts=attempts)

    def to_line(self) -> Line:
        return {
            "state": self.state,
            "reason": self.reason,
            "numbers": list(self.numbers),
            "left": round(self.until, 3),
            "attempts": [attempt.to_line() for attempt in self.attempts],
        }

    @classmethod
    def from_line(cls, line: Line) -> SavedReturn:
        return cls(
            str(line["state"]),
            str(line["reason"]),
            tuple(str(number) for number in line["numbers"]),
            float(line["left"]),
            tuple(SavedAttempt.from_line(attempt) for attempt in line["attempts"]),
        )


@dataclass(slots=True)
class OpenedRecord:
    """The first record of a call; ``entries`` are the events of the same moment."""

    kind: ClassVar[str] = "opened"
    call: str
    extension: Extension
    started_at: str
    entries: Sequence[Entry] = ()

    @classmethod
    def from_line(cls, call: str, line: Line) -> OpenedRecord:
        return cls(call, parse_json(line["extension"]), str(line["started_at"]), line.get("entries", ()))


@dataclass(slots=True)
class EventRecord:
    """One entry of a timeline."""

    kind: ClassVar[str] = "event"
    call: str
    entry: Entry

    def to_line(self) -> Line:
        return {ENTRY: self.entry}

    @classmethod
    def from_line(cls, call: str, line: Line) -> EventRecord:
        return cls(call, line[ENTRY])


@dataclass(slots=True)
class OutcomeRecord:
    """The outcome of a call."""

    kind: ClassVar[str] = "outcome"
    call: str
    outcome: str

    def to_line(self) -> Line:
        return {"outcome": self.outcome}

    @classmethod
    def from_line(cls, call: str, line: Line) -> OutcomeRecord:
        return cls(call, str(line["outcome"]))


@dataclass(frozen=True, slots=True)
class StateRecord:
    """What an app of a leg wants back after a restart, as JSON gives it."""

    kind: ClassVar[str] = "state"
    call: str
    role: Role
    app: str
    state: Any

    def to_line(self) -> Line:
        return {"role": self.role.value, "app": self.app, "state": self.state}

    @classmethod
    def from_line(cls, call: str, line: Line) -> StateRecord:
        return cls(call, Role(line["role"]), str(line["app"]), line["state"])


@dataclass(frozen=True, slots=True)
class ReturnRecord:
    """The ``number``-th return call of a call, as it is now; times are relative to the line."""

    kind: ClassVar[str] = "return"
    call: str
    number: int
    saved: SavedReturn

    def to_line(self) -> Line:
        return {"number": self.number, **self.saved.to_line()}

    @classmethod
    def from_line(cls, call: str, line: Line) -> ReturnRecord:
        return cls(call, int(line["number"]), SavedReturn.from_line(line))


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A call as it is now, instead of all its records so far; ``started`` is in seconds since the epoch."""

    kind: ClassVar[str] = "snapshot"
    call: str
    extension: Extension
    started: float
    started_at: str
    outcome: str | None
    legs: Mapping[Role, SavedLeg]
    timeline: Sequence[Entry]
    states: Mapping[tuple[Role, str], Any]
    #: Return calls, the oldest first; their times are relative to the line.
    returns: Sequence[SavedReturn]

    def to_line(self) -> Line:
        return {
            "extension": self.extension.to_json(),
            "started": self.started,
            "started_at": self.started_at,
            "outcome": self.outcome,
            "legs": {role.value: leg.to_line() for role, leg in self.legs.items()},
            "timeline": self.timeline,
            "states": [[role.value, app, state] for (role, app), state in self.states.items()],
            "returns": [saved.to_line() for saved in self.returns],
        }

    @classmethod
    def from_line(cls, call: str, line: Line) -> SnapshotRecord:
        return cls(
            call,
            parse_json(line["extension"]),
            float(line["started"]),
            str(line["started_at"]),
            _optional_text(line["outcome"]),
            {Role(role): SavedLeg.from_line(leg) for role, leg in line["legs"].items()},
            [dict(entry) for entry in line["timeline"]],
            {(Role(role), str(app)): state for role, app, state in line["states"]},
            [SavedReturn.from_line(saved) for saved in line.get("returns", [])],
        )


@dataclass(slots=True)
class EndedRecord:
    """The end of a call, instead of all its records so far."""

    kind: ClassVar[str] = "ended"
    call: str

    def to_line(self) -> Line:
        return {}

    @classmethod
    def from_line(cls, call: str, line: Line) -> EndedRecord:
        return cls(call)


@dataclass(frozen=True, slots=True)
class MovedRecord:
    """The end of a call here, because another node has taken it over: its UUID is not over."""

    kind: ClassVar[str] = "moved"
    call: str

    def to_line(self) -> Line:
        return {}

    @classmethod
    def from_line(cls, call: str, line: Line) -> MovedRecord:
        return cls(call)


JournalRecord: TypeAlias = (
    OpenedRecord
    | EventRecord
    | OutcomeRecord
    | StateRecord
    | ReturnRecord
    | SnapshotRecord
    | EndedRecord
    | MovedRecord
)
KINDS: Mapping[str, type[JournalRecord]] = {
    record.kind: record
    for record in (
        OpenedRecord,
        EventRecord,
        OutcomeRecord,
        StateRecord,
        ReturnRecord,
        SnapshotRecord,
        EndedRecord,
        MovedRecord,
    )
}


def encode(record: JournalRecord, wall: float) -> bytes:
    """Return the line of ``record`` at ``wall``, with its newline.

    Raises TypeError, ValueError or RecursionError for what JSON cannot carry.
    """
    if isinstance(record, OpenedRecord):  # of every call: the row is the same in the lines of many
        entries = f',"entries":{_encode(record.entries)}' if record.entries else ""
        started = _encode(record.started_at)
        rest = f',"extension":{_extension_text(record.extension)},"started_at":{started}{entries}}}\n'
    else:
        fields = record.to_line()
        rest = f",{_encode(fields)[1:]}\n" if fields else "}\n"
    beginning = f'{{"{WALL}":{round(wall, 3)!r},"{KIND}":"{record.kind}","{CALL}":{_encode(record.call)}'
    return (beginning + rest).encode()


@lru_cache(maxsize=1_000)
def _extension_text(extension: Extension) -> str:
    return _encode(extension.to_json())


def decode(line: bytes) -> tuple[float, UUID, JournalRecord]:
    """Return time, call and record of a line; raises one of `DAMAGED` for what is none."""
    fields = json.loads(line)
    call_id = UUID(fields[CALL])
    return float(fields[WALL]), call_id, KINDS[fields[KIND]].from_line(str(call_id), fields)


def call_of(line: bytes) -> UUID:
    """Return the call that a line belongs to; raises as `decode` does."""
    return UUID(json.loads(line)[CALL])


def _optional_text(value: object) -> str | None:
    return None if value is None else str(value)
