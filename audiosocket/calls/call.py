"""Calls: everything that carries one UUID. No sockets, no clock: the time is an argument in seconds.

A `Call` holds its legs, its timeline and exactly one outcome: the first cause wins, later ones are its echoes.
Who may join it is for ``callregistry.py`` to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from audiosocket.calls.events import EventLog
from audiosocket.calls.journal_records import (
    AT_SECONDS,
    EVENT,
    MAX_TIMELINE,
    EventRecord,
    JournalRecord,
    OpenedRecord,
    OutcomeRecord,
    ReturnRecord,
    SavedReturn,
    StateRecord,
)
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import CallerInfo
from audiosocket.json_shapes import CallJSON, LegJSON, ReturnCallJSON, ReturnsJSON, TimelineEntryJSON

#: A leg that delivered a frame this recently is alive and cannot be taken over, in seconds.
ALIVE_SECONDS = 1.0
#: What one app may keep for after a restart, as JSON, in characters.
MAX_STATE_CHARACTERS = 16_384


#: What apps remember of a call that is told nothing to remember: most are not.
_NOTHING: Mapping[tuple[Role, str], Any] = MappingProxyType({})


class ShownInJson(Protocol):
    """Something of a call that the API and the end of the call show: `returncall.Run`."""

    def to_json(self, now: float) -> ReturnCallJSON:
        """As shown by the API, with whole numbers; durations in seconds."""

    def as_event(self, now: float) -> ReturnCallJSON:
        """The same for timeline and log, with masked numbers."""


class JournalWriter(Protocol):
    """Where changes are kept, so that calls outlive the process: `journal.CallJournal`.

    Within ``with journal:`` lines may be kept together, and are kept when it ends.
    """

    def __enter__(self) -> object:
        """Several lines follow at once."""

    def __exit__(self, *exception: object) -> None:
        """That was all."""

    def write(self, record: JournalRecord) -> None:
        """Keep one record; never raises."""


@dataclass(slots=True)
class LegState:
    """One leg as the books know it; the counters are moved by the leg itself."""

    role: Role
    peer: str
    port: int
    joined: float
    last_received: float
    rate: int = 8000
    frames_in: int = 0
    frames_out: int = 0
    silence_out: int = 0
    #: Turns of the clock that came more than a frame (20 ms) late for this leg.
    late_turns: int = 0
    #: Times speech ran dry in the middle.
    underruns: int = 0
    digits: int = 0
    ignored: int = 0
    resumes: int = 0
    outcome: LegOutcome | None = None
    ended: float | None = None
    #: It was up when the server before this one died, and has not come back yet.
    suspended: bool = False
    #: Who is on it, once that is known.
    caller: CallerInfo | None = None

    def alive(self, now: float) -> bool:
        """True when it delivered a frame within the last second and is not over."""
        return self.outcome is None and now - self.last_received <= ALIVE_SECONDS

    def to_json(self, now: float) -> LegJSON:
        """As shown by the API; durations in seconds."""
        return {
            "role": self.role.value,
            "peer": self.peer,
            "port": self.port,
            "state": "suspended" if self.suspended else "live" if self.outcome is None else "ended",
            "outcome": None if self.outcome is None else self.outcome.value,
            "duration_seconds": round((self.ended if self.ended is not None else now) - self.joined, 3),
            "rate": self.rate,
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "silence_out": self.silence_out,
            "late_turns": self.late_turns,
            "underruns": self.underruns,
            "digits": self.digits,
            "ignored": self.ignored,
            "resumes": self.resumes,
        }


@dataclass(slots=True)
class Call:
    """One UUID's conversation; ``extension`` is a snapshot that later changes of the table leave alone."""

    call_id: UUID
    extension: Extension
    started: float
    started_at: str
    events: EventLog
    legs: dict[Role, LegState] = field(default_factory=dict)
    #: Events with their time, the oldest first, `MAX_TIMELINE` at most. Most calls have a few.
    timeline: list[TimelineEntryJSON] = field(default_factory=list)
    outcome: str | None = None
    ended: float | None = None
    #: What apps want back after a restart, by role and app name.
    states: Mapping[tuple[Role, str], Any] = field(default_factory=lambda: _NOTHING)
    journal: JournalWriter | None = None
    #: The return calls to residents, the latest last.
    return_calls: tuple[ShownInJson, ...] = ()
    #: The UUID as text, for everything that is written down.
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = str(self.call_id)

    def note(self, event: str, now: float, /, **fields: Any) -> None:
        """Write an event into the timeline and to the event sinks; no field hides what it is and when it was."""
        identity = {"call_id": self.name, "extension": self.extension.id, "number": self.extension.number}
        self.events.emit(event, identity, fields)
        own = {AT_SECONDS: round(now - self.started, 3), EVENT: event}
        if len(self.timeline) >= MAX_TIMELINE:
            del self.timeline[0]
        entry = {**own, **fields, **own} if fields else own
        self.timeline.append(entry)
        if self.journal is not None:
            self.journal.write(EventRecord(self.name, entry))

    def decide(self, outcome: str) -> bool:
        """Set the outcome unless there is one; false when somebody was first."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        if self.journal is not None:
            self.journal.write(OutcomeRecord(self.name, outcome))
        return True

    def remember(self, role: Role, app: str, state: Any) -> None:
        """Keep what an app wants back when its leg resumes after a restart.

        Raises TypeError or ValueError for what JSON cannot carry in `MAX_STATE_CHARACTERS`.
        """
        text = json.dumps(state)
        if len(text) > MAX_STATE_CHARACTERS:
            raise ValueError(f"a state of {len(text)} characters is more than {MAX_STATE_CHARACTERS}")
        state = json.loads(text)
        if self.states.get((role, app)) != state:
            self.states = {**self.states, (role, app): state}
            if self.journal is not None:
                self.journal.write(StateRecord(self.name, role, app, state))

    def save_return(self, number: int, saved: SavedReturn) -> None:
        """Keep the ``number``-th return call of this call as it is; its times are relative to now."""
        if self.journal is not None:
            self.journal.write(ReturnRecord(self.name, number, saved))

    def open_journal(self, journal: JournalWriter | None) -> None:
        """Keep every change from now on, the first record with what the call is."""
        self.journal = journal
        if journal is not None:
            journal.write(OpenedRecord(self.name, self.extension, self.started_at))

    @property
    def suspended(self) -> bool:
        """True after a restart until the first of its legs has come back."""
        live = self.live_legs
        return bool(live) and all(leg.suspended for leg in live)

    @property
    def live_legs(self) -> list[LegState]:
        """The legs that are not over, suspended ones among them."""
        return [leg for leg in self.legs.values() if leg.outcome is None]

    def to_json(self, now: float, *, timeline: bool = False) -> CallJSON:
        """As shown by the API; durations in seconds."""
        visitor = self.legs.get(Role.VISITOR)
        caller = None if visitor is None else visitor.caller
        returns = _latest_and_earlier([one.to_json(now) for one in self.return_calls])
        shown: CallJSON = {
            "call_id": self.name,
            "state": "suspended" if self.suspended else "live" if self.ended is None else "ended",
            "outcome": self.outcome,
            "extension": self.extension.to_json(),
            "started_at": self.started_at,
            "duration_seconds": round((self.ended if self.ended is not None else now) - self.started, 3),
            "caller": None if caller is None else caller.to_json(),
            "legs": [leg.to_json(now) for leg in self.legs.values()],
            "return": returns["return"],
            "earlier_returns": returns["earlier_returns"],
        }
        if timeline:
            shown["timeline"] = list(self.timeline)
        return shown

    def note_end(self, now: float) -> None:
        """Write down the one end of the call, with every attempt to reach a resident, if there were any."""
        shown = [one.as_event(now) for one in self.return_calls]
        returns: dict[str, Any] = {**_latest_and_earlier(shown)} if shown else {}
        duration = round(now - self.started, 3)
        self.note("call.ended", now, **{"outcome": self.outcome, "duration_seconds": duration, **returns})


def _latest_and_earlier(returns: list[ReturnCallJSON]) -> ReturnsJSON:
    """The latest return call and, oldest first, those before it, each with all its attempts."""
    return {"return": returns[-1] if returns else None, "earlier_returns": returns[:-1]}
