"""Deferreds that wait for conditions to become true, and fail when that can no longer happen."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class ConditionWaiter:
    """Whoever waits for something in one call."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._over: Exception | None = None

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fires once ``condition()`` is true, now or at a later `ask`."""
        deferred: Deferred[None] = Deferred()
        self._waiting.append((condition, deferred))
        self.ask()
        return deferred

    def ask(self) -> None:
        """Something has changed: fire what is met. A condition that raises fails its own Deferred."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for condition, deferred in waiting:
            if deferred.called:  # cancelled by whoever waited
                continue
            try:
                met = condition()
            except Exception:  # noqa: BLE001 - it is the waiting test's code: its error belongs to that test
                deferred.errback(Failure())
                continue
            if met:
                deferred.callback(None)
            else:
                self._waiting.append((condition, deferred))
        if self._over is not None:
            self._fail(self._over)

    def end(self, error: Exception) -> None:
        """Nothing will change any more: what is not met by now fails, and so does whoever comes later."""
        self._over = error
        self.ask()

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for _condition, deferred in waiting:
            if not deferred.called:
                deferred.errback(error)
