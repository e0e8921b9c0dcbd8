"""Live calls by what they are limited by: those of this process, and of the others that share its limits.

Pure: `SharedCounts.take_changes` is what the others have to learn, `SharedCounts.learn` takes what they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping


class SharedCounts:
    """Numbers by key. ``changed`` is called after each change of the own ones."""

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        self.changed = changed
        self._own: Counter[str] = Counter()
        self._others: dict[str, int] = {}
        self._changed: set[str] = set()
        self._begun = 0

    def number(self, key: str) -> int:
        """Return the sum of all processes, as far as it is known here."""
        return self._own[key] + self._others.get(key, 0)

    def change(self, keys: tuple[str, ...], by: int) -> None:
        """Count one more (1) or one less (-1) under each of ``keys``."""
        for key in keys:
            self._own[key] += by
            if not self._own[key]:  # or every address would be kept for ever
                del self._own[key]
        self._changed.update(keys)
        self.changed()

    def begun(self) -> None:
        """Count a call that begins, for the limit of calls per second."""
        self._begun += 1
        self.changed()

    def take_changes(self) -> tuple[dict[str, int], int]:
        """Return the own numbers that have changed since they were taken, and how many calls have begun."""
        numbers = {key: self._own[key] for key in self._changed}
        begun, self._begun = self._begun, 0
        self._changed.clear()
        return numbers, begun

    def learn(self, numbers: Mapping[str, int]) -> None:
        """Take sums of the other processes; those that are not contained stay as they are."""
        for key, number in numbers.items():
            if number:
                self._others[key] = number
            else:
                self._others.pop(key, None)
