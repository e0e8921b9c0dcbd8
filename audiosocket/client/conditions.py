"""Deferreds that fire when a condition becomes true, and fail when that can no longer happen."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class ConditionWaiter:
    """The conditions that are waited for in one call."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._error: Exception | None = None

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires once ``condition()`` is true, now or in a later `check`."""
        deferred: Deferred[None] = Deferred()
        self._waiting.append((condition, deferred))
        self.check()
        return deferred

    def check(self) -> None:
        """Fire the Deferreds whose condition is true; a condition that raises fails its own Deferred."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for condition, deferred in waiting:
            if deferred.called:  # cancelled by the waiter
                continue
            try:
                met = condition()
            except Exception:  # noqa: BLE001 - the condition is the waiter's code
                deferred.errback(Failure())
                continue
            if met:
                deferred.callback(None)
            else:
                self._waiting.append((condition, deferred))
        if self._error is not None:
            self._fail(self._error)

    def end(self, error: Exception) -> None:
        """Fail all Deferreds whose condition is not true now, and all later ones, with ``error``."""
        self._error = error
        self.check()

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for _condition, deferred in waiting:
            if not deferred.called:
                deferred.errback(error)
