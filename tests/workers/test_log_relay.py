"""Log lines of workers, written by the supervisor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.workers import log_relay
from audiosocket.workers.channel import Channel, Message
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import reactor, until


class RecordingChannel(Channel):
    """An open channel that keeps the messages it is given."""

    def __init__(self) -> None:
        super().__init__("the supervisor", lambda message, descriptors: None, lambda: None, reactor)
        self.open = True
        self.sent: list[Message] = []

    def notify(self, kind: str, descriptors: Sequence[int] = (), /, **fields: object) -> None:
        self.sent.append(fields)


@implementer(ILogObserver)
class Observer:
    """Calls a function for the events of this test: the reactor and the thread pool may log, too."""

    def __init__(self, function: Callable[[LogEvent], object]) -> None:
        self._function = function

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "worker.test":
            self._function(event)


async def test_events_of_a_worker_are_published_again_by_the_supervisor(logged_failures: LoggedFailures) -> None:
    channel = RecordingChannel()
    log = Logger("worker.test")
    relay = log_relay.LogToSupervisor(channel, None, reactor)

    observer = Observer(relay)
    globalLogPublisher.addObserver(observer)
    try:
        log.warn("extension {id} is {what}", id=7, what="late", leg=object())
        await deferToThread(log.info, "from a thread")
        log.failure("it failed", Failure(KeyError("x")))
        await until(lambda: sum(len(message["events"]) for message in channel.sent) == 3)
    finally:
        globalLogPublisher.removeObserver(observer)
    assert logged_failures.flush(KeyError)
    published: list[LogEvent] = []
    observer = Observer(published.append)
    globalLogPublisher.addObserver(observer)
    for message in channel.sent:
        log_relay.publish(message, 1)
    globalLogPublisher.removeObserver(observer)
    first, second, third = published
    assert (first["text"], first["log_level"], first["worker"]) == ("extension 7 is late", LogLevel.warn, 1)
    assert (first["id"], "leg" in first, first["log_namespace"]) == (7, False, "worker.test")
    assert second["text"] == "from a thread"
    assert third["text"].startswith("it failed | ")


async def test_lines_wait_while_the_supervisor_does_not_read_and_dropped_ones_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_relay, "MAX_WAITING", 3)
    channel = RecordingChannel()
    channel.full = True
    relay = log_relay.LogToSupervisor(channel, lambda event: f"{event['n']}\n", reactor)
    for n in range(5):
        relay({"n": n})
    relay.flush()
    assert not channel.sent
    channel.full = False
    relay.flush()
    assert channel.sent == [{"dropped": 2, "lines": ["2\n", "3\n", "4\n"]}]
    await until(lambda: not [call for call in reactor.getDelayedCalls() if call.func == relay.flush])
