"""A process that is, or may become, a worker: start it, exchange messages with it, end it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from audiosocket.server.reactor import ServerReactor
from audiosocket.workers.channel import Channel, Message, attach

#: The first descriptor that a worker gets besides the standard ones: its channel. Then come the reading ends of
#: all inboxes, then their sending ends.
FIRST_DESCRIPTOR = 3


@dataclass(frozen=True)
class Launch:
    """How a worker is started: the command, its environment, and the fields of its first message."""

    command: Sequence[str]
    environment: Mapping[str, str]
    initial_message: Message


class ProcessObserver(Protocol):
    """Receives what a process sends, and its end."""

    def message_received(self, process: ChildProcess, message: Message) -> None:
        """Take a message of the process."""

    def process_ended(self, process: ChildProcess) -> None:
        """Take the end of the process; ``process.exit_reason`` has the cause."""


class ChildProcess(ProcessProtocol):
    """A process that has its modules imported and waits for ``begin``, which makes it worker number ``index``.

    ``observer`` is notified of it until `begin` names another one.
    """

    def __init__(
        self, launch: Launch, descriptors: Sequence[int], reactor: ServerReactor, observer: ProcessObserver
    ) -> None:
        self._launch = launch
        self._observer = observer
        #: When it was started, in seconds of the reactor's clock.
        self.started = reactor.seconds()
        self.pid: int | None = None
        #: Why it ended, as text; "" while it runs.
        self.exit_reason = ""
        #: It has imported everything and can become a worker at once.
        self.prepared = False
        self._waiting: list[Deferred[None]] = []
        self._channel = Channel("a worker", self._message_received, self._channel_lost, reactor)
        self._stopping = False
        ours, its = socket.socketpair()
        try:
            for end in (ours, its):
                end.setblocking(False)
            children = {0: 0, 1: 1, 2: 2}
            children.update({FIRST_DESCRIPTOR + n: fd for n, fd in enumerate([its.fileno(), *descriptors])})
            # Asked now: a daemon has another id than the process that read the options.
            command = [*launch.command, str(os.getpid()), str(len(descriptors) // 2)]
            process = reactor.spawnProcess(
                self, command[0], command, env=dict(launch.environment), childFDs=children
            )
            attach(self._channel, ours, reactor)
        finally:
            ours.close()
            its.close()
        self.pid = process.pid

    def begin(self, index: int, observer: ProcessObserver) -> None:
        """Make it worker ``index``; ``observer`` is notified of it from now on."""
        self._observer = observer
        self._channel.name = f"worker {index}"
        self.notify("begin", **self._launch.initial_message, index=index)

    def notify(self, kind: str, descriptors: Sequence[int] = (), /, **fields: Any) -> None:
        """See `Channel.notify`."""
        self._channel.notify(kind, descriptors, **fields)

    def request(self, kind: str, **fields: Any) -> Deferred[Any]:
        """See `Channel.request`."""
        return self._channel.request(kind, **fields)

    def stop(self) -> Deferred[None]:
        """Ask it to hang up its calls and exit; fires when it is gone."""
        self._stopping = True
        if self.exit_reason:
            return succeed(None)
        self.notify("stop")
        gone: Deferred[None] = Deferred()
        self._waiting.append(gone)
        return gone

    def kill(self) -> None:
        """Kill it without waiting."""
        if not self.exit_reason and self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def _message_received(self, message: Message, _: list[int]) -> None:
        if message["kind"] == "prepared":
            self.prepared = True
        else:
            self._observer.message_received(self, message)

    def _channel_lost(self) -> None:
        if not self._stopping:  # it is dead, or cannot be used any more
            self.kill()

    def processEnded(self, reason: Failure) -> None:
        signal, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
        self.exit_reason = f"signal {signal}" if signal is not None else f"exit status {status}"
        waiting, self._waiting = self._waiting, []
        for gone in waiting:
            gone.callback(None)
        self._observer.process_ended(self)
