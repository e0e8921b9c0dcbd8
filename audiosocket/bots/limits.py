"""Limits in time: how often something may happen, and how long it may take. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Window:
    """Allows ``most`` events in each window of ``length_ms`` milliseconds."""

    def __init__(self, most: int, length_ms: float) -> None:
        self._most = most
        self._length_ms = length_ms
        self._began_ms = float("-inf")
        self._count = 0

    def allows(self, now_ms: float) -> bool:
        """Count one event; false when it is one too many."""
        if now_ms - self._began_ms >= self._length_ms:
            self._began_ms, self._count = now_ms, 0
        self._count += 1
        return self._count <= self._most


class Timers:
    """Named time-outs, each of which is set at most once. ``call_later`` is `AppContext.call_later`."""

    def __init__(self, call_later: Callable[..., Any]) -> None:
        self._call_later = call_later
        self._timers: dict[str, Any] = {}

    def set(self, name: str, seconds: float, then: Callable[..., object], *arguments: object) -> None:
        """Call ``then`` after ``seconds``, in place of the time-out of this name before."""
        self.cancel(name)
        self._timers[name] = self._call_later(seconds, self._fire, name, then, arguments)

    def cancel(self, name: str) -> None:
        """Drop a time-out, if there is one."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def cancel_all(self) -> None:
        """Drop all of them."""
        for name in list(self._timers):
            self.cancel(name)

    def _fire(self, name: str, then: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._timers.pop(name, None)
        then(*arguments)
