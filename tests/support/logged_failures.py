"""The failures that were logged while a test ran."""

from __future__ import annotations

from twisted.logger import LogEvent, formatEvent
from twisted.python.failure import Failure


class LoggedFailures(list[LogEvent]):
    """Log events that carry a failure; those still in the list after the test make it fail."""

    def flush(self, *types: type[BaseException]) -> list[LogEvent]:
        """Remove the events whose failure has one of ``types`` (all events without types); return them."""
        found = [event for event in self if not types or failure_of(event).check(*types)]
        self[:] = [event for event in self if event not in found]
        return found


def failure_of(event: LogEvent) -> Failure:
    """Return the failure of an event; an error logged by the old `twisted.python.log` may have none."""
    found = event.get("log_failure") or event.get("failure")
    return found if isinstance(found, Failure) else Failure(RuntimeError(formatEvent(event)))
