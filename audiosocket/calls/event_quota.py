"""How many events of one call are noted that a peer, an app or a bot can cause without limit.

Each event is a line of the log, one of the journal and an entry of the timeline. A person presses ten keys a
second at most, and not for long; what exceeds `BURST` and `PER_SECOND` is counted instead, and the count is noted.
Pure: the time is an argument, in seconds.
"""

from __future__ import annotations

from collections import Counter

from audiosocket.calls.timeline import REPEATABLE

#: Events that can be left out: ``leg.resumed`` cannot, as a restart needs it.
LIMITED = REPEATABLE - {"leg.resumed"}
#: Events that are noted at once, and those that are noted for each second after that.
BURST = 100
PER_SECOND = 2.0
#: Counts are noted so often while events are left out, in seconds.
SUMMARY_SECONDS = 10.0


class EventQuota:
    """The quota of one call, and how many of its events were left out."""

    __slots__ = ("_at", "_left", "_omitted", "_since")

    def __init__(self, now: float) -> None:
        self._at = now
        self._left = float(BURST)
        self._omitted: Counter[str] = Counter()
        #: When the first event was left out that no count contains yet.
        self._since = now

    def allow(self, event: str, now: float) -> bool:
        """Return whether an event in `LIMITED` may be noted; count it if not."""
        self._left = min(float(BURST), self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return True
        if not self._omitted:
            self._since = now
        self._omitted[event] += 1
        return False

    def due(self, now: float) -> bool:
        """Return whether the counts are to be noted now."""
        return bool(self._omitted) and now - self._since >= SUMMARY_SECONDS

    def take(self) -> dict[str, int]:
        """Return how many events were left out since the last call of this method, by name."""
        omitted, self._omitted = dict(self._omitted), Counter()
        return omitted
