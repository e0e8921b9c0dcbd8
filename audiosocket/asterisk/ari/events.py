"""What ARI's events say of channels, as far as it tells how an attempt ends; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Events that tell how a channel fares.
KINDS = ("ChannelDestroyed", "ChannelStateChange", "Dial")


@dataclass(frozen=True)
class ChannelEvent:
    """One event: ``channel`` is in the state ``word``, ended with ``cause``, or is dialled by ``caller``.

    Of the end of dialling ``word`` is the DIALSTATUS.
    """

    kind: str
    channel: str
    caller: str = ""
    word: str = ""
    cause: int = 0


def parse_event(event: Mapping[str, Any]) -> ChannelEvent | None:
    """What an event of ARI's says, if it is one of `KINDS` and as ARI makes them."""
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
