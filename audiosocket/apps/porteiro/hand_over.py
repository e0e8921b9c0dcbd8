"""A visit in progress as a value, for the process that goes on with it at an upgrade.

The functions are part of the app, `app.Porteiro`, and use its attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiosocket.apps.porteiro.words import Outcome, Stage
from audiosocket.interfaces import Leg
from audiosocket.prompts.player import Sound


def save(app: Any, leg: Leg) -> dict[str, Any] | None:
    """Return the visit, and what this leg is played.

    None while a name is recorded, the gate is asked or a prompt is read: after that the visit goes on as after a
    restart, which does these again.
    """
    dialogue, player = app._dialogue, app._players.get(leg.role)
    said = None if player is None else player.save()
    if dialogue is None or said is None or app._recording is not None or app._events or app._stopped:
        return None
    if dialogue.visit.stage is Stage.OPENING:
        return None
    return {
        "dialogue": dialogue.save(),
        "player": said,
        "name": None if app._name is None else [app._name.pcm, app._name.rate],
        "connected": app._connected,
        "ringing": app._ringing,
        "rang_before": app._rang_before,
        "decided": None if app._decided is None else app._decided.value,
    }


def load(app: Any, leg: Leg, state: Mapping[str, Any]) -> None:
    """Go on with a leg of the visit; the first one brings the conversation."""
    first = app._dialogue is None
    app._decided = None if state["decided"] is None else Outcome(state["decided"])
    app._arrive(leg)
    app._players[leg.role].load(state["player"])
    dialogue = app._dialogue_of(leg)
    if not first:
        return
    dialogue.load(state["dialogue"])
    if state["name"] is not None:
        app._name = Sound(*state["name"])
    app._connected, app._ringing = bool(state["connected"]), str(state["ringing"])
    app._rang_before = bool(state["rang_before"])
    app._plan(dialogue.due)
