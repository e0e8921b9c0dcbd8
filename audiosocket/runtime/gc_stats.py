"""How long the garbage collector has held everything up: every pause is a pause in what callers hear."""

from __future__ import annotations

import gc
from time import perf_counter

from audiosocket.json_shapes import GCStatsJSON

#: Frozen objects are counted at most this often, in seconds: it changes once, after the start.
COUNT_SECONDS = 60.0


class GCStats:
    """Counts collections between `start` and `stop`, and remembers the longest pauses, in seconds."""

    def __init__(self) -> None:
        self._began = 0.0
        #: By generation, the last is a full collection.
        self.collections = [0, 0, 0]
        self.longest = [0.0, 0.0, 0.0]
        self._frozen, self._counted_at = 0, -COUNT_SECONDS

    def start(self) -> None:
        """Begin to count; a second time has no effect."""
        if self._collected not in gc.callbacks:
            gc.callbacks.append(self._collected)

    def stop(self) -> None:
        """Count no more."""
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)

    def to_json(self) -> GCStatsJSON:
        """As shown by ``/api/status``."""
        return {
            "collections": sum(self.collections),
            "longest_ms": round(max(self.longest) * 1000, 1),
            "full_collections": self.collections[-1],
            "longest_full_ms": round(self.longest[-1] * 1000, 1),
            "frozen_objects": self._frozen_objects(),
        }

    def _frozen_objects(self) -> int:
        """Counted now and then only: walking the list of 70,000 objects takes 5 ms (measured)."""
        now = perf_counter()
        if now - self._counted_at >= COUNT_SECONDS:
            self._frozen, self._counted_at = gc.get_freeze_count(), now
        return self._frozen

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        """Called by the collector, in whichever thread it runs; `gc.callbacks` says what is given."""
        if phase == "start":
            self._began = perf_counter()
            return
        generation = info["generation"]
        self.collections[generation] += 1
        self.longest[generation] = max(self.longest[generation], perf_counter() - self._began)
