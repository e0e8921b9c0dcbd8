"""All events that were logged in a ``with``, of any library."""

from __future__ import annotations

from types import TracebackType

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer


@implementer(ILogObserver)
class LoggedEvents(list[LogEvent]):
    """The events, in order."""

    def __call__(self, event: LogEvent) -> None:
        self.append(event)

    def __enter__(self) -> LoggedEvents:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        globalLogPublisher.removeObserver(self)

    @property
    def text(self) -> str:
        """All messages."""
        return "\n".join(formatEvent(event) or "" for event in self)
