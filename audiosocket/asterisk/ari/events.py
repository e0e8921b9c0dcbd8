"""Events of ARI that show how an attempt to reach a resident ends; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Types of events that are used.
KINDS = ("ChannelDestroyed", "ChannelStateChange", "Dial")


@dataclass(frozen=True)
class ChannelEvent:
    """One event: ``channel`` is in the state ``word``, ended with ``cause``, or is dialled by ``caller``.

    In an event of type Dial ``word`` is the DIALSTATUS.
    """

    kind: str
    channel: str
    caller: str = ""
    word: str = ""
    cause: int = 0


def parse_event(event: Mapping[str, Any]) -> ChannelEvent | None:
    """Return an event of ARI as a `ChannelEvent`; None if it is not one of `KINDS`, or malformed."""
    kind, peer = event.get("type"), event.get("peer" if event.get("type") == "Dial" else "channel")
    if kind not in KINDS or not isinstance(peer, Mapping) or not isinstance(peer.get("id"), str):
        return None
    caller = event.get("caller")
    word, cause = event.get("dialstatus", peer.get("state")), event.get("cause")
    return ChannelEvent(
        kind,
        peer["id"],
        str(caller.get("id", "")) if isinstance(caller, Mapping) else "",
        word if isinstance(word, str) else "",
        cause if isinstance(cause, int) else 0,
    )
