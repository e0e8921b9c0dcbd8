"""What a call's timeline keeps when it is full: its beginning, its decisions and its end. Pure."""

from __future__ import annotations

from typing import Any

from audiosocket.calls.journal_records import EVENT, MAX_TIMELINE

#: The first entries, which are never dropped: how the call began.
FIRST_KEPT = 50
#: Events that a peer, an app or a bot can cause as often as it likes. They are dropped before any other one.
REPEATABLE = frozenset(
    {"leg.digit", "leg.refused", "leg.rate", "leg.suspended", "leg.resumed", "app.note", "bot.command"}
)


def shorten(timeline: list[Any]) -> None:
    """Drop entries until `MAX_TIMELINE` are left: the oldest repeatable ones behind the beginning first."""
    while len(timeline) > MAX_TIMELINE:
        later = range(FIRST_KEPT, len(timeline) - 1)
        del timeline[next((n for n in later if timeline[n].get(EVENT) in REPEATABLE), FIRST_KEPT)]
