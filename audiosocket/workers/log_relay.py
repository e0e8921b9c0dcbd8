"""Workers' log lines, written by the front: one writer per file, so rotation is as safe as in one process.

A worker never waits for the log's disk. Its lines go out once per turn of its reactor, in one message, and
what it says while the front is busy waits here, bounded. Where an operator chose one of twistd's logs instead of
ours, events travel, and the front says them as its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from audiosocket.runtime import logs
from audiosocket.workers.channel import Channel, Message

#: Lines that may wait for the front; beyond it the oldest are lost and counted.
LINES_WAITING = 20_000


@implementer(ILogObserver)
class LogToSupervisor:
    """The only observer of a worker. ``line`` makes lines of events; None sends the events."""

    def __init__(self, channel: Channel, line: Callable[[LogEvent], str] | None, reactor: Any) -> None:
        self._channel = channel
        self._make: Callable[[LogEvent], Any] = line or as_message
        self._key = "events" if line is None else "lines"
        self._reactor = reactor
        self._waiting: deque[Any] = deque()
        self._lost = 0
        self._scheduled = False
        channel.drained = self.flush

    def __call__(self, event: LogEvent) -> None:
        """Send the event, by the end of this turn of the reactor; may be called in any thread."""
        self._waiting.append(self._make(event))
        if len(self._waiting) > LINES_WAITING:
            self._waiting.popleft()
            self._lost += 1
        if not self._scheduled:
            self._scheduled = True
            if isInIOThread():
                self._reactor.callLater(0, self.flush)
            else:
                self._reactor.callFromThread(self.flush)

    def flush(self) -> None:
        """Send what waits, if the front takes it."""
        self._scheduled = False
        if not self._waiting or self._channel.full or not self._channel.open:
            return
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        lost, self._lost = self._lost, 0
        self._channel.tell("log", lost=lost, **{self._key: waiting})


def as_message(event: LogEvent) -> Message:
    """An event of values that JSON knows, rendered."""
    failure = event.get("log_failure")
    level = event.get("log_level")
    scalars = (str, int, float, type(None))
    return {
        "time": event.get("log_time"),
        "level": "info" if level is None else level.name,
        "module": str(event.get("log_namespace") or event.get("log_system") or "-"),
        "text": formatEvent(event),
        "traceback": "" if failure is None else failure.getTraceback().strip(),
        # Twisted's old log marks failures by "isError"; the failure itself stays here.
        "fields": {
            key: value
            for key, value in event.items()
            if not key.startswith("log_") and key != "isError" and isinstance(value, scalars)
        },
    }


def publish(message: Message, worker: int) -> None:
    """Write what a worker says as if it had been said here."""
    if lines := message.get("lines"):
        logs.write("".join(lines))
    for event in message.get("events", ()):
        globalLogPublisher(_event(event, worker))


def _event(said: Message, worker: int) -> LogEvent:
    text = said["text"]
    if said["traceback"]:
        text = f"{text} | {said['traceback']}" if text else said["traceback"]
    return {
        **said["fields"],
        "worker": worker,
        "text": text,
        "log_format": "{text}",
        "log_level": LogLevel.levelWithName(said["level"]),
        "log_namespace": said["module"],
        "log_time": said["time"],
    }
