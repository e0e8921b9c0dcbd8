"""Which of a bot's utterances are queued, and how much of each has been heard. Pure; times in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class _Utterance:
    item: str
    #: Where it begins in all that was said since the queue was last empty of us.
    start_ms: float
    length_ms: float = 0.0


class Utterances:
    """The audio given to a leg since the last clear, in order."""

    def __init__(self) -> None:
        self._total_ms = 0.0
        self._items: list[_Utterance] = []

    def add(self, item: str, length_ms: float, unheard_ms: float) -> None:
        """More audio of ``item`` is queued; ``unheard_ms`` waited before it."""
        self._forget_heard(unheard_ms)
        if not self._items or self._items[-1].item != item:
            self._items.append(_Utterance(item, self._total_ms))
        self._items[-1].length_ms += length_ms
        self._total_ms += length_ms

    def clear(self, unheard_ms: float) -> list[tuple[str, int]]:
        """Forget all; returns the items that were not heard to their end, with the milliseconds that were."""
        heard_ms = self._total_ms - unheard_ms
        cut = [
            (one.item, int(max(0.0, min(one.length_ms, heard_ms - one.start_ms))))
            for one in self._items
            if heard_ms < one.start_ms + one.length_ms - 1
        ]
        self._items.clear()
        self._total_ms = 0.0
        return cut

    def _forget_heard(self, unheard_ms: float) -> None:
        heard_ms = self._total_ms - unheard_ms
        while self._items and self._items[0].start_ms + self._items[0].length_ms <= heard_ms:
            if len(self._items) == 1:
                break  # more of it may come
            self._items.pop(0)
