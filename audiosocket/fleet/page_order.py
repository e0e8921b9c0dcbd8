"""Pages of calls: their order, the cursor from one to the next, and one page of the calls of several sources."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import ensureDeferred

from audiosocket.json_shapes import CallJSON, CallPageJSON

#: The place of a call in the order; the greatest is first.
Place = tuple[bool, str, str]


def place_of(call: CallJSON) -> Place:
    """Return the place of a call as the API shows it."""
    return call["state"] != "ended", call["started_at"], call["call_id"]


def cursor_of(place: Place) -> str:
    """Return the cursor of the page that begins after this place."""
    live, started_at, call_id = place
    return f"{'live' if live else 'ended'}_{started_at}_{call_id}"


def place_before(cursor: str) -> Place:
    """Return the place after which the page of a cursor begins."""
    state, started_at, call_id = cursor.split("_")
    return state == "live", started_at, call_id


def as_page(total: int, calls: list[CallJSON], limit: int) -> CallPageJSON:
    """Return the page of the first ``limit`` of ``calls``, of which there is one more if another page follows."""
    more, calls = len(calls) > limit, calls[:limit]
    return {"total": total, "calls": calls, "next_cursor": cursor_of(place_of(calls[-1])) if more else None}


class PageSource:
    """The calls of one process or node in order, asked for when they are needed.

    ``ask`` returns the page after a cursor, None when it cannot be had: then no other one is asked for.
    """

    def __init__(self, ask: Callable[[str], Awaitable[CallPageJSON | None]], cursor: str) -> None:
        self._ask = ask
        self._cursor: str | None = cursor
        self.total = 0
        self.waiting: deque[CallJSON] = deque()

    @property
    def unfilled(self) -> bool:
        """Whether none of its calls waits and there may be more."""
        return not self.waiting and self._cursor is not None

    async def fill(self) -> None:
        """Ask for the next calls."""
        page = await self._ask(self._cursor or "")
        if page is None:
            self._cursor = None
            return
        self.total = page["total"]
        self.waiting.extend(page["calls"])
        self._cursor = page["next_cursor"]


async def merged_page(sources: Sequence[PageSource], limit: int) -> CallPageJSON:
    """Return one page of the calls of all sources, which are asked side by side.

    A call that two of them have is there once: one is just taking it over.
    """
    calls: list[CallJSON] = []
    while len(calls) <= limit:
        asked = [ensureDeferred(source.fill()) for source in sources if source.unfilled]
        for each in asked:
            await each
        some = [source for source in sources if source.waiting]
        if not some:
            break
        first = max(some, key=lambda source: place_of(source.waiting[0]))
        call = first.waiting.popleft()
        if not calls or place_of(calls[-1]) != place_of(call):
            calls.append(call)
    return as_page(sum(source.total for source in sources), calls, limit)
