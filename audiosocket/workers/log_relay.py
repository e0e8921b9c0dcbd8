"""Workers' log lines, written by the supervisor: one writer per file, so that rotation works as in one process.

A worker never waits for the log's disk. Its lines are sent once per turn of its reactor, in one message; those
that the supervisor does not read yet are kept, up to a limit. Where the operator chose one of twistd's logs
instead of ours, events are sent, and the supervisor publishes them as its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from audiosocket.runtime.logs import process_log
from audiosocket.server.reactor import ServerReactor
from audiosocket.workers.channel import Channel, Message

#: Lines that may wait for the supervisor; beyond it the oldest are dropped and counted.
MAX_WAITING = 20_000


@implementer(ILogObserver)
class LogToSupervisor:
    """The only log observer of a worker. ``line`` formats an event; None sends the events themselves."""

    def __init__(self, channel: Channel, line: Callable[[LogEvent], str] | None, reactor: ServerReactor) -> None:
        self._channel = channel
        self._format: Callable[[LogEvent], Any] = line or as_message
        self._key = "events" if line is None else "lines"
        self._reactor = reactor
        self._waiting: deque[Any] = deque()
        self._dropped = 0
        self._scheduled = False

    def __call__(self, event: LogEvent) -> None:
        """Send the event by the end of this turn of the reactor; may be called in any thread."""
        self._waiting.append(self._format(event))
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        if not self._scheduled:
            self._scheduled = True
            if isInIOThread():
                self._reactor.callLater(0, self.flush)
            else:
                self._reactor.callFromThread(self.flush)

    def flush(self) -> None:
        """Send what waits, if the supervisor reads it."""
        self._scheduled = False
        if not self._waiting or self._channel.full or not self._channel.open:
            return
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        dropped, self._dropped = self._dropped, 0
        self._channel.notify("log", dropped=dropped, **{self._key: waiting})


def as_message(event: LogEvent) -> Message:
    """Return the event as values that JSON can hold, its text formatted."""
    failure = event.get("log_failure")
    level = event.get("log_level")
    scalars = (str, int, float, type(None))
    return {
        "time": event.get("log_time"),
        "level": "info" if level is None else level.name,
        "module": str(event.get("log_namespace") or event.get("log_system") or "-"),
        "text": formatEvent(event),
        "traceback": "" if failure is None else failure.getTraceback().strip(),
        # Twisted's old log marks failures by "isError"; the failure itself is not sent.
        "fields": {
            key: value
            for key, value in event.items()
            if not key.startswith("log_") and key != "isError" and isinstance(value, scalars)
        },
    }


def publish(message: Message, worker: int) -> None:
    """Write the lines, or publish the events, of a message that a worker has sent."""
    if lines := message.get("lines"):
        process_log.write("".join(lines))
    for event in message.get("events", ()):
        globalLogPublisher(_event(event, worker))


def _event(sent: Message, worker: int) -> LogEvent:
    text = sent["text"]
    if sent["traceback"]:
        text = f"{text} | {sent['traceback']}" if text else sent["traceback"]
    return {
        **sent["fields"],
        "worker": worker,
        "text": text,
        "log_format": "{text}",
        "log_level": LogLevel.levelWithName(sent["level"]),
        "log_namespace": sent["module"],
        "log_time": sent["time"],
    }
