"""Workers' log lines, written by the front: one writer per file, so rotation is as safe as in one process.

A worker never waits for the log's disk. What it says while the front is busy waits here, bounded.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from audiosocket.workers.channel import Channel, Message

#: Lines that may wait for the front; beyond it the oldest are lost and counted.
LINES_WAITING = 20_000


@implementer(ILogObserver)
class LogToFront:
    """The only observer of a worker."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: deque[Message] = deque()
        self._lost = 0
        channel.drained = self._flush

    def __call__(self, event: LogEvent) -> None:
        """Send the event, rendered, with its scalar fields beside it."""
        self._waiting.append(as_message(event))
        if len(self._waiting) > LINES_WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._flush()

    def _flush(self) -> None:
        while self._waiting and self._channel.open and not self._channel.full:
            lost, self._lost = self._lost, 0
            self._channel.tell("log", event=self._waiting.popleft(), lost=lost)


def as_message(event: LogEvent) -> Message:
    """What the front needs to write the line: values that JSON knows."""
    failure = event.get("log_failure")
    level = event.get("log_level")
    scalars = (str, int, float, type(None))
    return {
        "time": event.get("log_time"),
        "level": "info" if level is None else level.name,
        "module": str(event.get("log_namespace") or event.get("log_system") or "-"),
        "text": formatEvent(event),
        "traceback": "" if failure is None else failure.getTraceback().strip(),
        "fields": {k: v for k, v in event.items() if not k.startswith("log_") and isinstance(v, scalars)},
    }


def publish(message: Message, worker: int) -> None:
    """Write a worker's line as if it had been said here; in JSON it carries the worker's index."""
    text = message["text"]
    if message["traceback"]:
        text = f"{text} | {message['traceback']}" if text else message["traceback"]
    fields: dict[str, Any] = {**message["fields"], "worker": worker, "text": text}
    event = {
        **fields,
        "log_format": "{text}",
        "log_level": LogLevel.levelWithName(message["level"]),
        "log_namespace": message["module"],
        "log_time": message["time"],
    }
    globalLogPublisher(event)
