"""Which calls of this process a page has, and their conversion in pieces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from heapq import nlargest

from audiosocket.calls.call import Call
from audiosocket.control_interface import CallSelection
from audiosocket.extensions.model import Role
from audiosocket.fleet.page_order import Place, place_before
from audiosocket.json_shapes import CallJSON

#: Calls that are converted between two turns of the reactor: less than a millisecond.
PER_TURN = 8


def select(calls: Iterable[Call], selection: CallSelection) -> tuple[int, list[Call]]:
    """Return how many calls there are in all, and those of the page and one more if there is one."""
    before = place_before(selection.cursor) if selection.cursor else None
    wanted = selection.search.casefold()
    total = 0
    places: list[tuple[Place, Call]] = []
    for call in calls:
        live = call.ended is None
        if selection.state and live != (selection.state == "live"):
            continue
        if selection.extension is not None and call.extension.id != selection.extension:
            continue
        if wanted and wanted not in _searched(call):
            continue
        total += 1
        place = (live, call.started_at, call.name)
        if before is None or place < before:
            places.append((place, call))
    return total, [call for _, call in nlargest(selection.limit + 1, places, key=lambda pair: pair[0])]


def _searched(call: Call) -> str:
    """Return what a search looks through."""
    visitor = call.legs.get(Role.VISITOR)
    caller = None if visitor is None else visitor.caller
    known = () if caller is None else (caller.number, caller.name, caller.channel)
    peer = "" if visitor is None else visitor.peer
    return "\n".join((call.name, call.extension.number, call.outcome or "", peer, *known)).casefold()


async def in_pieces(calls: Sequence[Call], now: float, turn: Callable[[], Awaitable[object]]) -> list[CallJSON]:
    """Return calls for the API; ``turn`` lets the reactor turn in between."""
    shown: list[CallJSON] = []
    for first in range(0, len(calls), PER_TURN):
        if first:
            await turn()
        shown += [call.to_json(now) for call in calls[first : first + PER_TURN]]
    return shown
