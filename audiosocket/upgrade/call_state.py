"""A live call and its legs as a value, for the process that goes on with them.

Times are those of the steady clock, which all processes of a machine share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.events import EventLog
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.sound import Spans
from audiosocket.extensions.model import Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.interfaces import CallerInfo

#: What of a leg is taken as it is.
_PLAIN = (
    *("peer", "port", "joined", "last_received", "rate", "frames_in", "frames_out", "silence_out", "late_turns"),
    *("underruns", "digits", "ignored", "late_in", "resumes", "ended", "suspended"),
)
_CALLER = ("channel", "channel_id", "number", "name", "dialled")


def save_call(call: Call) -> dict[str, Any]:
    """Return the call without its return calls."""
    return {
        "call_id": call.name,
        "extension": call.extension.to_json(),
        "started": call.started,
        "started_at": call.started_at,
        "timeline": call.timeline,
        "outcome": call.outcome,
        "presumed": call.presumed,
        "states": [[role.value, app, state] for (role, app), state in call.states.items()],
        "host": call.host,
        "legs": [_save_leg(leg) for leg in call.legs.values()],
    }


def load_call(saved: Mapping[str, Any], events: EventLog) -> Call:
    """Return the call, without a journal."""
    legs = {leg.role: leg for leg in map(_load_leg, saved["legs"])}
    call = Call(
        UUID(saved["call_id"]),
        parse_json(saved["extension"]),
        float(saved["started"]),
        str(saved["started_at"]),
        events,
        legs,
        host=str(saved["host"]),
    )
    call.timeline.extend(saved["timeline"])
    call.outcome, call.presumed = saved["outcome"], saved["presumed"]
    call.states = {(Role(role), str(app)): state for role, app, state in saved["states"]}
    return call


def _save_leg(leg: LegState) -> dict[str, Any]:
    return {
        **{name: getattr(leg, name) for name in _PLAIN},
        # One whose proxy has closed its connection resumes there as after a restart.
        "suspended": leg.suspended or leg.reconnecting,
        "role": leg.role.value,
        "outcome": None if leg.outcome is None else leg.outcome.value,
        "caller": None if leg.caller is None else {name: getattr(leg.caller, name) for name in _CALLER},
        "figures": None if leg.app_figures is None else dict(leg.app_figures),
        "sound_in": leg.sound_in.spans.to_json(),
        "sound_out": leg.sound_out.spans.to_json(),
        "late": leg.late.to_json(),
        "marks": list(leg.marks),
    }


def _load_leg(saved: Mapping[str, Any]) -> LegState:
    leg = LegState(Role(saved["role"]), "", 0, joined=0.0, last_received=0.0)
    for name in _PLAIN:
        setattr(leg, name, saved[name])
    outcome = saved["outcome"]
    if outcome is not None:  # one that only another version knows
        leg.outcome = next((each for each in LegOutcome if each.value == outcome), LegOutcome.LOST)
    if saved["caller"] is not None:
        leg.caller = CallerInfo(**{name: str(saved["caller"][name]) for name in _CALLER})
    leg.app_figures = saved["figures"]
    for spans, pairs in (
        (leg.sound_in.spans, saved["sound_in"]),
        (leg.sound_out.spans, saved["sound_out"]),
        (leg.late, saved["late"]),
    ):
        _add_all(spans, pairs)
    leg.marks = tuple(saved["marks"])
    return leg


def _add_all(spans: Spans, pairs: Iterable[tuple[float, float]]) -> None:
    for start, end in pairs:
        spans.add(float(start), float(end))
