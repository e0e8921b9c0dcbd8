"""A call: everything that carries one UUID. No sockets, no clock: the time is an argument, in seconds.

A `Call` has its legs, its timeline and exactly one outcome: the first one that is decided. Which legs may join it
is decided in ``registry.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from audiosocket.calls.event_quota import LIMITED, EventQuota
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
from audiosocket.calls.sound import Sound, Spans
from audiosocket.calls.timeline import shorten
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import CallerInfo
from audiosocket.json_shapes import CallJSON, LegJSON, MarkJSON, ReturnCallJSON, ReturnsJSON, TimelineEntryJSON

#: A leg that sent a frame within this time is alive and cannot be taken over, in seconds.
ALIVE_SECONDS = 1.0
#: The marks that are kept of one leg, the latest ones.
MAX_MARKS = 50
#: Characters of a mark's name that are shown.
MAX_MARK_NAME = 64
#: What one app may keep for after a restart, as JSON, in characters.
MAX_STATE_CHARACTERS = 16_384


#: The saved state with this name, in the place of an app's, is the id of the channel behind the leg: no app has
#: a name with a blank.
CHANNEL = "the channel"

#: The saved states of a call without any, as most are.
_NOTHING: Mapping[tuple[Role, str], Any] = MappingProxyType({})


class ShownInJson(Protocol):
    """A return call as a call shows it: `returncalls.return_call.ReturnCall`."""

    def to_json(self, now: float) -> ReturnCallJSON:
        """Return it for the API, with whole numbers; durations in seconds."""

    def as_event(self, now: float) -> ReturnCallJSON:
        """Return it for timeline and log, with masked numbers."""


class JournalWriter(Protocol):
    """What keeps the changes of calls for the next process: `journal.CallJournal`.

    Within ``with journal:`` records may be held back; they are written when it ends.
    """

    def __enter__(self) -> object:
        """Hold records back."""

    def __exit__(self, *exception: object) -> None:
        """Write the records that were held back."""

    def write(self, record: JournalRecord) -> None:
        """Keep one record; never raises."""


@dataclass(slots=True)
class LegState:
    """The state of one leg; its counters are those of `leg.Leg`."""

    role: Role
    peer: str
    port: int
    joined: float
    last_received: float
    rate: int = 8000
    frames_in: int = 0
    frames_out: int = 0
    silence_out: int = 0
    #: Turns of the clock that were more than a frame (20 ms) late for this leg.
    late_turns: int = 0
    #: Times the queue of played audio ran empty before its end.
    underruns: int = 0
    digits: int = 0
    ignored: int = 0
    #: Frames that came more than a frame later than they should have.
    late_in: int = 0
    resumes: int = 0
    outcome: LegOutcome | None = None
    ended: float | None = None
    #: It was live when the previous process ended, and has not resumed yet.
    suspended: bool = False
    #: Its connection through a proxy was closed, and its UUID may be presented again; its apps go on.
    reconnecting: bool = False
    #: The telephone behind it, once that is known.
    caller: CallerInfo | None = None
    #: Figures of the leg's app, for the API.
    app_figures: Mapping[str, object] | None = None
    #: What was received, and what was sent; spans and marks are in seconds since the call began.
    sound_in: Sound = field(default_factory=Sound)
    sound_out: Sound = field(default_factory=Sound)
    #: When its turns of the clock were late.
    late: Spans = field(default_factory=Spans)
    #: Played audio that was heard up to a mark.
    marks: tuple[MarkJSON, ...] = ()

    def continue_from(self, before: LegState) -> None:
        """Take over what an earlier leg of the same role leaves: how often it resumed, and what was heard when."""
        self.resumes = before.resumes + 1
        self.sound_in, self.sound_out = before.sound_in, before.sound_out
        self.late, self.marks = before.late, before.marks

    def note_mark(self, name: str, at: float) -> None:
        """Keep a mark that was reached ``at`` seconds after the call began."""
        mark: MarkJSON = {"at_seconds": round(at, 3), "name": name[:MAX_MARK_NAME]}
        self.marks = (*self.marks[1 - MAX_MARKS :], mark)

    def alive(self, now: float) -> bool:
        """Return whether it has not ended and sent a frame within the last second."""
        return self.outcome is None and not self.reconnecting and now - self.last_received <= ALIVE_SECONDS

    def to_json(self, now: float, *, began: float, timeline: bool = False) -> LegJSON:
        """Return it for the API; durations in seconds. ``began`` is when the call did."""
        waits = self.suspended or self.reconnecting
        connected = self.outcome is None and not waits
        shown: LegJSON = {
            "role": self.role.value,
            "peer": self.peer,
            "port": self.port,
            "state": "suspended" if waits else "live" if self.outcome is None else "ended",
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
            "app": None if self.app_figures is None else dict(self.app_figures),
            "level_in": self.sound_in.level(now - began) if connected else None,
            "level_out": self.sound_out.level(now - began) if connected else None,
        }
        if timeline:
            shown["sound_in"] = self.sound_in.spans.to_json()
            shown["sound_out"] = self.sound_out.spans.to_json()
            shown["late"] = self.late.to_json()
            shown["marks"] = list(self.marks)
        return shown


@dataclass(slots=True)
class Call:
    """One call; ``extension`` is the row as it was when the call began, whatever becomes of the table."""

    call_id: UUID
    extension: Extension
    started: float
    started_at: str
    events: EventLog
    legs: dict[Role, LegState] = field(default_factory=dict)
    #: Events with their time, the oldest first, `MAX_TIMELINE` at most: see ``timeline.py``.
    timeline: list[TimelineEntryJSON] = field(default_factory=list)
    outcome: str | None = None
    #: The outcome if the call ends before one is decided; it dies with the process.
    presumed: str | None = None
    ended: float | None = None
    #: What apps keep for after a restart, by role and app name.
    states: Mapping[tuple[Role, str], Any] = field(default_factory=lambda: _NOTHING)
    journal: JournalWriter | None = None
    #: The return calls to residents, the oldest first.
    return_calls: tuple[ShownInJson, ...] = ()
    #: Another node has taken it over: nothing that happens to it here is announced or written any more.
    moved: bool = False
    #: The address of the peer whose leg began it.
    host: str = ""
    #: How many events may still be noted; None before the first one that counts.
    _quota: EventQuota | None = None
    #: The UUID as text.
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = str(self.call_id)

    def note(self, event: str, now: float, /, **fields: Any) -> None:
        """Add an event to the timeline and pass it on to the event sinks; no field replaces its name or time.

        One that comes too often is counted instead, see ``event_quota.py``.
        """
        if self.moved or (event in LIMITED and not self._may_note(event, now)):
            return
        identity = {"call_id": self.name, "extension": self.extension.id, "number": self.extension.number}
        self.events.emit(event, identity, fields)
        at = round(now - self.started, 3)
        entry: TimelineEntryJSON = {AT_SECONDS: at, EVENT: event}
        if fields:
            entry = {**entry, **fields, AT_SECONDS: at, EVENT: event}
        self.timeline.append(entry)
        if len(self.timeline) > MAX_TIMELINE:
            shorten(self.timeline)
        if self.journal is not None:
            self.journal.write(EventRecord(self.name, entry))

    def _may_note(self, event: str, now: float) -> bool:
        if self._quota is None:
            self._quota = EventQuota(now)
        allowed = self._quota.allow(event, now)
        if self._quota.due(now):
            self._note_omitted(now)
        return allowed

    def _note_omitted(self, now: float) -> None:
        omitted = {} if self._quota is None else self._quota.take()
        if omitted:
            self.note("call.omitted", now, events=omitted)

    def decide(self, outcome: str) -> bool:
        """Set the outcome; return false when there is one already."""
        if self.outcome is not None:
            return False
        self.outcome = outcome
        if self.journal is not None:
            self.journal.write(OutcomeRecord(self.name, outcome))
        return True

    def remember(self, role: Role, app: str, state: Any) -> None:
        """Keep the state of an app for its leg to resume with after a restart.

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

    def states_of(self, role: Role) -> dict[str, Any]:
        """Return what the apps of a leg keep, by name."""
        return {app: state for (whose, app), state in self.states.items() if whose is role}

    def save_return(self, number: int, saved: SavedReturn) -> None:
        """Keep the state of the ``number``-th return call; its times are relative to now."""
        if self.journal is not None:
            self.journal.write(ReturnRecord(self.name, number, saved))

    def open_journal(self, journal: JournalWriter | None) -> None:
        """Write the first record, and one for every change from now on."""
        self.journal = journal
        if journal is not None:
            journal.write(OpenedRecord(self.name, self.extension, self.started_at))

    @property
    def suspended(self) -> bool:
        """Whether no leg has resumed since a restart."""
        found = False
        for leg in self.legs.values():  # without a list: the status asks this of thousands of calls
            if leg.outcome is None:
                if not leg.suspended:
                    return False
                found = True
        return found

    @property
    def live_legs(self) -> list[LegState]:
        """The legs that have not ended, the suspended ones included."""
        return [leg for leg in self.legs.values() if leg.outcome is None]

    def to_json(self, now: float, *, timeline: bool = False) -> CallJSON:
        """Return it for the API; durations in seconds."""
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
            "legs": [leg.to_json(now, began=self.started, timeline=timeline) for leg in self.legs.values()],
            "return": returns["return"],
            "earlier_returns": returns["earlier_returns"],
        }
        if timeline:
            shown["timeline"] = list(self.timeline)
        return shown

    def note_end(self, now: float) -> None:
        """Add the event that ends the call, with every attempt to reach a resident."""
        self._note_omitted(now)
        shown = [one.as_event(now) for one in self.return_calls]
        returns: dict[str, Any] = {**_latest_and_earlier(shown)} if shown else {}
        duration = round(now - self.started, 3)
        self.note("call.ended", now, **{"outcome": self.outcome, "duration_seconds": duration, **returns})


def _latest_and_earlier(returns: list[ReturnCallJSON]) -> ReturnsJSON:
    """The latest return call and, oldest first, those before it, each with all its attempts."""
    return {"return": returns[-1] if returns else None, "earlier_returns": returns[:-1]}
