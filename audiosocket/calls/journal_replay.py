"""What a call journal says: its lines folded into the calls that went on and the UUIDs that were over.

Pure: lines in, values out; whatever cannot be read is counted and left out. Five kinds of lines follow a
call (``call`` is its UUID, ``wall`` seconds since the epoch): ``opened``, ``event`` (an entry of its
timeline), ``outcome``, ``state`` (what an app wants back) and ``return`` (how a return call stands).
``snapshot`` and ``ended`` stand for all lines of a call before them, ``entries`` in ``opened`` for the events of
the same moment.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.parsing import parse_json

#: Entries of a timeline that are kept; the oldest go first.
TIMELINE_MOST = 200

Line = dict[str, Any]


@dataclass
class SavedLeg:
    """A leg as it stood; ``ending`` is None for one that was up, ``joined`` seconds since the call began."""

    peer: str
    port: int
    joined: float
    resumes: int = 0
    ending: str | None = None
    ended: float | None = None


@dataclass(frozen=True)
class SavedAttempt:
    """One number of a return call; times in seconds since the epoch, ``end`` is None while it rings."""

    number: str
    attempt_id: str
    began: float
    ended: float | None
    end: str | None
    reason: str


@dataclass(frozen=True)
class SavedReturn:
    """A return call as it stood: ``numbers`` were left to be rung.

    ``until`` is when the ringing stops or the leg may no longer come, in seconds since the epoch.
    """

    state: str
    reason: str
    numbers: tuple[str, ...]
    until: float
    attempts: tuple[SavedAttempt, ...]


@dataclass
class SavedCall:
    """A call as it stood; ``started`` and ``changed`` are seconds since the epoch."""

    call_id: UUID
    extension: Extension
    started: float
    started_at: str
    changed: float
    outcome: str | None = None
    legs: dict[Role, SavedLeg] = field(default_factory=dict)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    states: dict[tuple[Role, str], Any] = field(default_factory=dict)
    #: Return calls, the oldest first.
    returns: list[SavedReturn] = field(default_factory=list)

    def snapshot(self) -> Line:
        """The one line that stands for all lines of this call."""
        return {
            "wall": self.changed,
            "kind": "snapshot",
            "call": str(self.call_id),
            "extension": self.extension.to_json(),
            "started": self.started,
            "started_at": self.started_at,
            "outcome": self.outcome,
            "legs": {role.value: vars(leg) for role, leg in self.legs.items()},
            "timeline": self.timeline[-TIMELINE_MOST:],
            "states": [[role.value, app, state] for (role, app), state in self.states.items()],
            "returns": [_return_line(kept, self.changed) for kept in self.returns],
        }


@dataclass(frozen=True)
class Replayed:
    """``calls`` went on, ``ended`` maps the UUIDs of calls that were over to their age in seconds, oldest first.

    ``damaged`` counts lines that say nothing; the first of them is number ``first_damaged``.
    """

    calls: tuple[SavedCall, ...] = ()
    ended: Mapping[UUID, float] = field(default_factory=dict)
    damaged: int = 0
    first_damaged: int = 0
    #: When this was said, seconds since the epoch.
    at: float = 0.0

    def lines(self) -> Iterator[Line]:
        """The fewest lines that say the same."""
        for call_id, age in self.ended.items():
            yield {"wall": round(self.at - age, 3), "kind": "ended", "call": str(call_id)}
        for call in self.calls:
            yield call.snapshot()


def replay(lines: Iterable[bytes], now: float, *, remember: float = 60.0, goes_on: bool = False) -> Replayed:
    """What ``lines`` say at ``now`` (seconds since the epoch); UUIDs over for ``remember`` seconds are forgotten.

    A clock that was set back gives no negative age. ``goes_on`` tells that more lines follow, so that a
    call may be between two of them.
    """
    books = _State()
    damaged, first = 0, 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            books.take(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, InvalidExtension):
            damaged += 1
            first = first or number
    if not goes_on:
        books.settle()
    ages = {call_id: max(0.0, now - wall) for call_id, wall in books.ended.items()}
    ended = sorted((item for item in ages.items() if item[1] <= remember), key=lambda item: -item[1])
    return Replayed(tuple(books.calls.values()), dict(ended), damaged, first, now)


class _State:
    """The state that the lines move, one after the other; a line that raises has moved nothing."""

    def __init__(self) -> None:
        self.calls: OrderedDict[UUID, SavedCall] = OrderedDict()
        self.ended: dict[UUID, float] = {}

    def take(self, line: Line) -> None:
        call_id, wall, kind = UUID(line["call"]), float(line["wall"]), line["kind"]
        if kind in {"opened", "snapshot"}:
            call = _snapshot(call_id, wall, line)
            for entry in line.get("entries", []):
                self._event(call, wall, entry)
            self.ended.pop(call_id, None)
            self.calls[call_id] = call
        elif kind == "ended":
            self._over(call_id, wall)
        elif kind not in {"event", "outcome", "state", "return"}:
            raise ValueError(kind)
        elif call_id in self.calls:  # else its beginning was damaged, or lost to a full disk
            self._change(self.calls[call_id], wall, kind, line)

    def settle(self) -> None:
        """A process may have died between two lines: what has no leg that was up is no live call."""
        for call_id, call in list(self.calls.items()):
            if not call.legs:
                del self.calls[call_id]
            elif all(leg.ending is not None for leg in call.legs.values()):
                self._over(call_id, call.changed)

    def _over(self, call_id: UUID, wall: float) -> None:
        self.calls.pop(call_id, None)
        self.ended[call_id] = wall

    def _change(self, call: SavedCall, wall: float, kind: str, line: Line) -> None:
        if kind == "outcome":
            call.outcome = str(line["outcome"])
        elif kind == "state":
            call.states[Role(line["role"]), str(line["app"])] = line["state"]
        elif kind == "return":
            number = int(line["number"])
            call.returns[number - 1 : number] = [_return(line, wall)]
        else:
            self._event(call, wall, line["entry"])
        call.changed = wall

    def _event(self, call: SavedCall, wall: float, entry: Line) -> None:
        event, at = str(entry["event"]), float(entry["at_seconds"])
        if event in {"leg.joined", "leg.resumed"}:
            role = Role(entry["role"])
            before = call.legs.get(role)
            resumes = 0 if before is None else before.resumes + 1
            joined = at if before is None or before.ending is not None else before.joined
            call.legs[role] = SavedLeg(str(entry["peer"]), int(entry["port"]), joined, resumes)
        elif event == "leg.left":
            leg = call.legs[Role(entry["role"])]
            leg.ending, leg.ended = str(entry["outcome"]), at
        elif event == "call.ended":
            self._over(call.call_id, wall)
        call.timeline.append(entry)
        del call.timeline[:-TIMELINE_MOST]


def _snapshot(call_id: UUID, wall: float, line: Line) -> SavedCall:
    outcome = line.get("outcome")
    return SavedCall(
        call_id,
        parse_json(line["extension"]),
        float(line.get("started", wall)),
        str(line["started_at"]),
        wall,
        None if outcome is None else str(outcome),
        {Role(role): _leg(leg) for role, leg in line.get("legs", {}).items()},
        [dict(entry) for entry in line.get("timeline", [])],
        {(Role(role), str(app)): state for role, app, state in line.get("states", [])},
        [_return(kept, wall) for kept in line.get("returns", [])],
    )


def _return(line: Line, wall: float) -> SavedReturn:
    """Times of a line are counted from the moment ``wall`` at which it was written."""
    attempts = [
        SavedAttempt(
            str(one["number"]),
            str(one["id"]),
            wall - float(one["began"]),
            None if one["ended"] is None else wall - float(one["ended"]),
            None if one["end"] is None else str(one["end"]),
            str(one["reason"]),
        )
        for one in line["attempts"]
    ]
    numbers = tuple(str(number) for number in line["numbers"])
    return SavedReturn(
        str(line["state"]), str(line["reason"]), numbers, wall + float(line["left"]), tuple(attempts)
    )


def _return_line(kept: SavedReturn, wall: float) -> Line:
    return {
        "state": kept.state,
        "reason": kept.reason,
        "numbers": kept.numbers,
        "left": round(kept.until - wall, 3),
        "attempts": [
            {
                "number": one.number,
                "id": one.attempt_id,
                "began": round(wall - one.began, 3),
                "ended": None if one.ended is None else round(wall - one.ended, 3),
                "end": one.end,
                "reason": one.reason,
            }
            for one in kept.attempts
        ],
    }


def _leg(leg: Line) -> SavedLeg:
    ending, ended = leg["ending"], leg["ended"]
    return SavedLeg(
        str(leg["peer"]),
        int(leg["port"]),
        float(leg["joined"]),
        int(leg["resumes"]),
        None if ending is None else str(ending),
        None if ended is None else float(ended),
    )
