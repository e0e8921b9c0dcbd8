"""Calls as JSON: legs, return calls, the timeline."""

from __future__ import annotations

from typing import Any, TypedDict

from audiosocket.json_shapes.extensions import ExtensionJSON


class CallerJSON(TypedDict):
    """The telephone behind a leg, as Asterisk reports it; a text is empty where it is not known."""

    channel: str
    number: str
    name: str
    dialled: str


class MarkJSON(TypedDict):
    """A mark of played audio; ``at_seconds`` is when it was reached, in seconds since the call began."""

    at_seconds: float
    name: str


class _LegDetails(TypedDict, total=False):
    sound_in: list[list[float]]
    sound_out: list[list[float]]
    late: list[list[float]]
    marks: list[MarkJSON]


class LegJSON(_LegDetails):
    """One leg of a call; ``state`` is "live", "suspended" or "ended".

    Levels are in dBFS. The details are pairs of seconds since the call began; only where one call is asked for.
    """

    role: str
    peer: str
    port: int
    state: str
    outcome: str | None
    duration_seconds: float
    rate: int
    frames_in: int
    frames_out: int
    silence_out: int
    late_turns: int
    underruns: int
    digits: int
    ignored: int
    resumes: int
    #: Figures of the leg's app, such as a bot's latencies; None for most apps.
    app: dict[str, object] | None
    level_in: float | None
    level_out: float | None


class AttemptJSON(TypedDict):
    """One number of a return call; ``end`` is None while it rings."""

    number: str
    end: str | None
    reason: str
    seconds: float


class ReturnCallJSON(TypedDict):
    """A return call to a resident, with its attempts in order."""

    state: str
    reason: str
    attempts: list[AttemptJSON]


#: The latest return call of a call and, oldest first, those before it. ("return" is a keyword of Python.)
ReturnsJSON = TypedDict(
    "ReturnsJSON", {"return": "ReturnCallJSON | None", "earlier_returns": "list[ReturnCallJSON]"}
)


#: One event of a call: ``event``, ``at`` and ``ms``, and the fields of that event; see ``calls/events.py``.
TimelineEntryJSON = dict[str, Any]


class _Timeline(TypedDict, total=False):
    timeline: list[TimelineEntryJSON]


class _Place(TypedDict, total=False):
    node: str


class CallJSON(ReturnsJSON, _Timeline, _Place):
    """A call; ``state`` is "live", "suspended" or "ended".

    ``timeline`` only where one call is asked for, ``node`` where the calls of all nodes are.
    """

    call_id: str
    state: str
    outcome: str | None
    extension: ExtensionJSON
    started_at: str
    duration_seconds: float
    caller: CallerJSON | None
    legs: list[LegJSON]


class CallPageJSON(TypedDict):
    """A page of calls; ``next_cursor`` asks for the calls after them, None when these are the last."""

    total: int
    calls: list[CallJSON]
    next_cursor: str | None


class FleetCallPageJSON(CallPageJSON):
    """A page of the calls of all nodes; ``missing_nodes`` are the names of those that did not answer."""

    missing_nodes: list[str]


class FleetCallsJSON(TypedDict):
    """The calls of this node in the table of the fleet, and what became of those of other nodes."""

    waiting: int
    written_total: int
    dropped_total: int
    adopted_total: int
    lost_total: int
    unanswered_total: int
