"""How long the pauses of the garbage collector were; callers hear a long one as a gap."""

from __future__ import annotations

import gc
from time import perf_counter

from audiosocket.json_shapes import GCStatsJSON

#: Time between the two counts of the frozen objects, in seconds: their number changes once, after the start.
COUNT_SECONDS = 60.0
COUNTS = 2


class GCStats:
    """Counts collections between `start` and `stop`, and keeps the longest pauses, in seconds."""

    def __init__(self) -> None:
        self._began = 0.0
        #: By generation; the last one is that of full collections.
        self.collections = [0, 0, 0]
        self.longest = [0.0, 0.0, 0.0]
        self._frozen, self._counted_at, self._counts = 0, -COUNT_SECONDS, 0

    def start(self) -> None:
        """Begin to count; a second call has no effect."""
        if self._collected not in gc.callbacks:
            gc.callbacks.append(self._collected)

    def stop(self) -> None:
        """Stop counting."""
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)

    def to_json(self) -> GCStatsJSON:
        """Return what ``/api/status`` shows."""
        return {
            "collections": sum(self.collections),
            "longest_ms": round(max(self.longest) * 1000, 1),
            "full_collections": self.collections[-1],
            "longest_full_ms": round(self.longest[-1] * 1000, 1),
            "frozen_objects": self._frozen_objects(),
        }

    def _frozen_objects(self) -> int:
        """Return their number, which is cached: counting 70,000 objects takes 5 to 10 ms (measured)."""
        now = perf_counter()
        if self._counts < COUNTS and now - self._counted_at >= COUNT_SECONDS:
            self._frozen, self._counted_at = gc.get_freeze_count(), now
            self._counts += 1
        return self._frozen

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        """Count a collection; called by the collector, in any thread, with the arguments of `gc.callbacks`."""
        if phase == "start":
            self._began = perf_counter()
            return
        generation = info["generation"]
        self.collections[generation] += 1
        self.longest[generation] = max(self.longest[generation], perf_counter() - self._began)
