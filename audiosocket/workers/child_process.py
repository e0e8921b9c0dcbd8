"""One process that is, or may become, a worker: started, spoken to, ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from audiosocket.workers.channel import Channel, Message, attach

#: The first descriptor of a worker's own: its channel; then all inboxes, then all ends that letters are put into.
FIRST_DESCRIPTOR = 3


@dataclass(frozen=True)
class Launch:
    """How a worker is started: the command, its environment, and what it is told first."""

    command: Sequence[str]
    environment: Mapping[str, str]
    first_words: Message


class ChildProcess(ProcessProtocol):
    """A process. It imports what it needs and waits for ``begin``, which makes it a certain worker."""

    def __init__(self, launch: Launch, descriptors: Sequence[int], reactor: Any) -> None:
        self._launch = launch
        self._reactor = reactor
        self.began = reactor.seconds()
        self.pid: int | None = None
        #: Why it is over: "" while it is not.
        self.why = ""
        #: Called with what it says, and when it is over.
        self.hear: Callable[[Message], object] = lambda message: None
        self.over: Callable[[], object] = lambda: None
        #: It has imported everything and listens to us.
        self.here = False
        self._waiting: list[Deferred[None]] = []
        self._channel = Channel("a worker", self._hear, self._hung_up, reactor)
        self._ending = False
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

    def begin(self, index: int) -> None:
        """From now on it is worker ``index``."""
        self._channel.name = f"worker {index}"
        self.tell("begin", **self._launch.first_words, index=index)

    def tell(self, kind: str, descriptors: Sequence[int] = (), /, **fields: Any) -> None:
        """See `Channel.tell`."""
        self._channel.tell(kind, descriptors, **fields)

    def ask(self, kind: str, **fields: Any) -> Deferred[Any]:
        """See `Channel.ask`."""
        return self._channel.ask(kind, **fields)

    def stop(self) -> Deferred[None]:
        """Let it say goodbye; fires when it is gone."""
        self._ending = True
        if self.why:
            return succeed(None)
        self.tell("stop")
        gone: Deferred[None] = Deferred()
        self._waiting.append(gone)
        return gone

    def kill(self) -> None:
        """End it at once."""
        if not self.why and self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def _hear(self, message: Message, _: list[int]) -> None:
        if message["kind"] == "here":
            self.here = True
        else:
            self.hear(message)

    def _hung_up(self) -> None:
        if not self._ending:  # it is dead, or of no use any more
            self.kill()

    def processEnded(self, reason: Failure) -> None:
        signal, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
        self.why = f"signal {signal}" if signal is not None else f"exit status {status}"
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
        self.over()
