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


#: Messages of a bot in one second: the longest burst of 20 ms pieces that may be queued.
MAX_MESSAGES_PER_SECOND = 6_000
#: And in one minute: bursts are one thing, but reading so many all the time would slow down other calls.
MAX_MESSAGES_PER_MINUTE = 36_000
#: Marks that may wait, one for each 20 ms of what may be queued, and characters in the name of one or of an item.
MAX_MARKS, MAX_NAME = 6_000, 1_000

#: Questions about the queue in one second, each of which is answered: many at once would delay other calls.
MAX_QUESTIONS_PER_SECOND = 200


class MessageLimits:
    """What one bot may send. Each method returns what was broken, empty for nothing."""

    def __init__(self) -> None:
        self._second = Window(MAX_MESSAGES_PER_SECOND, 1_000)
        self._minute = Window(MAX_MESSAGES_PER_MINUTE, 60_000)
        self._questions = Window(MAX_QUESTIONS_PER_SECOND, 1_000)

    def message(self, now_ms: float) -> str:
        """Count a message."""
        if not self._second.allows(now_ms):
            return f"more than {MAX_MESSAGES_PER_SECOND} messages in a second"
        if not self._minute.allows(now_ms):
            return f"more than {MAX_MESSAGES_PER_MINUTE} messages in a minute"
        return ""

    def question(self, now_ms: float) -> str:
        """Count a question about the queue."""
        allowed = self._questions.allows(now_ms)
        return "" if allowed else f"more than {MAX_QUESTIONS_PER_SECOND} questions about the queue in a second"

    def mark(self, name: str, waiting: int) -> str:
        """Check a mark, while ``waiting`` others have not been reached."""
        return self.name(name) or (f"more than {MAX_MARKS} marks wait" if waiting >= MAX_MARKS else "")

    def name(self, name: str) -> str:
        """Check the name of a mark or an item, which is kept and sent back."""
        return f"the name of a mark or item has more than {MAX_NAME} characters" if len(name) > MAX_NAME else ""


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
