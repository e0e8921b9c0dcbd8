"""Events of ARI that show which channel leads to which leg, and that it has ended; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audiosocket.asterisk.channel_names import parse_leg

#: Types of events that are used. One ChannelDialplan comes for each step of each channel in the dialplan.
CHANNEL_KINDS = ("ChannelCreated", "ChannelDestroyed", "ChannelDialplan")
#: Extensions that no telephone dials.
_SPECIAL_EXTENS = frozenset({"", "s", "h", "i", "t"})


@dataclass(frozen=True)
class SeenChannel:
    """A channel as one event shows it; ``leg`` is what it leads to from now on, UUID and port."""

    kind: str
    channel_id: str
    name: str
    number: str
    caller: str
    dialled: str
    leg: tuple[UUID, int] | None


def is_of_use(message: str) -> bool:
    """Return whether an event may be needed; steps of a dialplan that lead nowhere are most of all events."""
    return '"ChannelDialplan"' not in message or "audiosocket" in message.lower()


def parse_channel(event: Mapping[str, Any]) -> SeenChannel | None:
    """Return what an event of `CHANNEL_KINDS` reports; None for any other one, and for one that is malformed."""
    kind, channel = event.get("type"), event.get("channel")
    if kind not in CHANNEL_KINDS or not isinstance(channel, Mapping):
        return None
    channel_id, name = _text(channel, "id"), _text(channel, "name")
    if not channel_id:
        return None
    exten = _text(channel.get("dialplan"), "exten")
    caller = channel.get("caller")
    return SeenChannel(
        kind,
        channel_id,
        name,
        _text(caller, "number"),
        _text(caller, "name"),
        "" if exten in _SPECIAL_EXTENS else exten,
        None if kind != "ChannelDialplan" or name.startswith("AudioSocket/") else _leg(event),
    )


def _leg(event: Mapping[str, Any]) -> tuple[UUID, int] | None:
    """Return UUID and port; the shipped dialplan checks with a UUID of zeros whether the server answers."""
    leg = parse_leg(f"{_text(event, 'dialplan_app')}({_text(event, 'dialplan_app_data')})")
    return leg if leg is not None and leg[0].int else None


def _text(values: Any, key: str) -> str:
    value = values.get(key) if isinstance(values, Mapping) else None
    return value if isinstance(value, str) else ""
