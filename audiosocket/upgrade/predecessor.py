"""The old process at an upgrade: starts the next one and, once that is ready, hands everything over and leaves.

The next process gets the same command line and environment, and one end of a `HandOverChannel`. While it starts,
calls go on here. When it is ready, this process does nothing else any more: it saves all calls, connections and
ports as a value, which changes nothing, and sends it. The next process answers that it has understood it, is told
to begin, and says that it has begun. Until it is told it touches nothing; if anything fails before, it is killed,
and calls go on here. After that this process ends without closing anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from audiosocket.runtime.file_thread import FileThread
from audiosocket.server.reactor import ServerReactor
from audiosocket.upgrade.channel import BEGIN, DONE, READY, REFUSED, TAKEN, HandOverChannel
from audiosocket.upgrade.codec import encode

#: How long the next process may take until it is ready, in seconds.
START_SECONDS = 60.0
#: A request that comes before this process has started is looked at again after so many seconds.
AGAIN_SECONDS = 0.1
#: How long the file thread may take to write what recordings have, in seconds.
FILE_SECONDS = 1.0
#: The environment variable with the descriptor of the channel, and the descriptor.
VARIABLE, DESCRIPTOR = "AUDIOSOCKET_UPGRADE_FD", 3


@dataclass(frozen=True)
class NextProcess:
    """The command line and the environment of the next process."""

    command: Sequence[str]
    environment: Mapping[str, str]


class Upgrade(Service):
    """Hands this process's calls over to a next one, on request.

    ``save`` appends descriptors to a list and returns the value that goes with them. ``lock`` is held while ports
    change. ``ending`` returns whether this process stops, ``leave`` ends it at once.
    """

    _log = Logger()

    def __init__(
        self,
        following: NextProcess,
        reactor: ServerReactor,
        *,
        save: Callable[[list[int]], Mapping[str, Any]],
        lock: DeferredLock,
        files: FileThread,
        ending: Callable[[], object],
        leave: Callable[[], object],
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._following = following
        self._reactor = reactor
        self._save = save
        self._lock = lock
        self._files = files
        self._ending = ending
        #: Called with "starting", "failed" or "leaving" and the id of the next process.
        self.notify: Callable[[str, int], object] = lambda what, pid: None
        self._leave = leave
        self._start_seconds = start_seconds
        self._child: _Child | None = None
        self._deadline: IDelayedCall | None = None

    def begin(self) -> None:
        """Start the next process, unless one is being started."""
        if self._ending():
            self._log.warn("no upgrade: the server is stopping")
            return
        if not self.running:  # it has taken over itself a moment ago, or waits for a previous process
            self._reactor.callLater(AGAIN_SECONDS, self.begin)
            return
        if self._child is not None:
            self._log.warn("an upgrade is under way already: process {pid} starts", pid=self._child.pid)
            return
        if os.getpid() == 1:  # its end is that of the container
            self._log.warn("no upgrade: as process 1 the server cannot be replaced; restart the container")
            return
        channel, theirs = HandOverChannel.pair()
        with theirs:
            child = _Child(channel, self._answered, self._ended)
            try:
                child.transport = self._reactor.spawnProcess(
                    child,
                    self._following.command[0],
                    list(self._following.command),
                    {**self._following.environment, VARIABLE: str(DESCRIPTOR)},
                    childFDs={0: 0, 1: 1, 2: 2, DESCRIPTOR: theirs.fileno()},
                )
            except OSError as error:
                channel.close()
                self._log.error("no upgrade: the next process cannot be started: {why}", why=error.strerror)
                return
        self._child = child
        self._log.info("upgrade: process {pid} starts; calls go on here until it is ready", pid=child.pid)
        self.notify("starting", child.pid)
        self._reactor.addReader(child)
        late = f"was not ready within {self._start_seconds:g} s"
        self._deadline = self._reactor.callLater(self._start_seconds, self._fail, late)

    def stopService(self) -> None:
        """Kill a next process that is being started, as this one stops."""
        super().stopService()
        if self._child is not None:
            self._fail("was stopped together with this one")

    def _answered(self, message: bytes) -> None:
        if message == READY:
            self._run()
        elif message.startswith(REFUSED):
            self._fail(f"cannot take over: {message.removeprefix(REFUSED).decode(errors='replace')}")
        elif not message and self._child is not None:
            self._reactor.removeReader(self._child)  # `_ended` follows

    def _run(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        work: Deferred[Any] = self._lock.run(self._hand_over)
        work.addErrback(self._broke)

    def _broke(self, failure: Failure) -> None:
        self._log.failure("the upgrade failed", failure)
        self._fail("could not be given the calls")

    def _hand_over(self) -> None:
        child = self._child
        if child is None or self._ending():
            return
        began = self._reactor.seconds()
        descriptors: list[int] = []
        saved = self._save(descriptors)
        if not self._files.settle(FILE_SECONDS):
            self._fail("was not given the calls: a disk does not answer")
            return
        data = encode(saved)
        try:
            child.channel.send_all(data, descriptors)
            answer = child.channel.receive()
            if answer != TAKEN:
                self._answered(answer)
                return
            self.notify("leaving", child.pid)
            child.channel.send(BEGIN)
        except OSError as error:
            self._fail(f"could not be given the calls: {error}")
            return
        try:
            child.channel.expect(DONE)
        except OSError as error:
            self._log.error(
                "upgrade: process {pid} was told to begin, and then: {why}", pid=child.pid, why=str(error)
            )
        else:
            milliseconds = round((self._reactor.seconds() - began) * 1000)
            self._log.info(
                "upgrade: process {pid} has taken over; {n} descriptors and {kb} kB in {ms} ms. This process ends",
                pid=child.pid,
                n=len(descriptors),
                kb=len(data) // 1000,
                ms=milliseconds,
            )
        self._leave()

    def _fail(self, why: str) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._log.error("no upgrade: process {pid} {why}; nothing has changed", pid=child.pid, why=why)
        self._reactor.removeReader(child)
        child.kill()
        self.notify("failed", child.pid)

    def _ended(self, status: str) -> None:
        self._fail(f"ended ({status}) before it was ready; its standard error has the reason")


@implementer(IReadDescriptor)
class _Child(ProcessProtocol):
    """The next process while it starts."""

    transport: IProcessTransport | None

    def __init__(
        self, channel: HandOverChannel, answered: Callable[[bytes], object], ended: Callable[[str], object]
    ) -> None:
        self.channel = channel
        self._answered = answered
        self._ended: Callable[[str], object] | None = ended

    @property
    def pid(self) -> int:
        """Its process id, 0 once it is gone."""
        pid = getattr(self.transport, "pid", None)
        return pid if isinstance(pid, int) else 0

    def kill(self) -> None:
        """Kill it, and take no further message."""
        self._ended = None
        if self.pid and self.transport is not None:
            self.transport.signalProcess("KILL")
        self.channel.close()

    def processEnded(self, reason: Failure) -> None:
        if self._ended is not None:
            done = reason.check(ProcessDone) is not None
            self._ended("status 0" if done else reason.getErrorMessage().rstrip("."))

    def fileno(self) -> int:
        return self.channel.fileno()

    def logPrefix(self) -> str:
        return "upgrade"

    def doRead(self) -> None:
        try:
            message = self.channel.receive()
        except OSError:
            message = b""
        self._answered(message)

    def connectionLost(self, reason: object) -> None:
        """Do nothing; the reactor calls it when it stops."""
