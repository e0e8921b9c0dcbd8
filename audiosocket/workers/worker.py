"""One worker as the front sees it: a process that is started, spoken to, watched and replaced."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.backoff import Backoff
from audiosocket.workers import relay
from audiosocket.workers.channel import Channel, Message, attach
from audiosocket.workers.sharedports import SharedPort

#: Pauses before a worker is replaced grow, until one has lived this long, in seconds.
WELL_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 15.0
#: A worker that says nothing for so long, in seconds, is blocked: its calls are lost already.
BLOCKED_SECONDS = 15.0
#: For so long callers wait for a worker that is not there, in seconds.
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Launch:
    """How a worker is started: the command, its environment, and what it is told first."""

    command: Sequence[str]
    environment: Mapping[str, str]
    first_words: Message


class Worker(ProcessProtocol):
    """Worker number ``index``, in all its lives. ``boxes`` are the ends that all workers send into.

    ``news`` is called with what it says, ``moved`` when it comes up, is gone, or has been away too long.
    """

    _log = Logger()

    def __init__(
        self,
        index: int,
        launch: Launch,
        inbox: socket.socket,
        boxes: Sequence[socket.socket],
        reactor: Any,
        *,
        news: Callable[[Worker, Message], object],
        moved: Callable[[Worker], object],
    ) -> None:
        self.index = index
        self.name = f"worker {index}"
        self._launch = launch
        self._inbox = inbox
        self._boxes = boxes
        self._reactor = reactor
        self._news = news
        self._moved = moved
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._channel: Channel | None = None
        self._replacing: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None
        self._stopping = False
        self._began = 0.0
        self._heard = 0.0
        self._ended: list[Deferred[None]] = []
        self.pid: int | None = None
        #: "starting", "up" or "down".
        self.state = "down"
        #: It has been away for so long that its callers wait no more; until it is up again.
        self.out = False
        self.restarts = 0
        #: What it said of itself last: live legs, connections, lateness.
        self.pulse: Message = {}

    # life

    def start(self) -> None:
        """Start the process; ``moved`` is the moment to tell it its ports."""
        ours, its = socket.socketpair()
        for end in (ours, its):
            end.setblocking(False)
        children = {0: 0, 1: 1, 2: 2, 3: its.fileno(), 4: self._inbox.fileno()}
        children.update({5 + n: box.fileno() for n, box in enumerate(self._boxes)})
        command = [*self._launch.command, str(self.index)]
        self._began = self._heard = self._reactor.seconds()
        try:
            process = self._reactor.spawnProcess(
                self, command[0], command, env=dict(self._launch.environment), childFDs=children
            )
            self._channel = channel = self._new_channel()
            attach(channel, ours, self._reactor)
        finally:
            ours.close()
            its.close()
        self.pid = process.pid
        channel.tell("begin", **self._launch.first_words, index=self.index)
        self._turn("starting")

    def kill(self) -> None:
        """End the process at once."""
        if self.transport is not None and self.pid is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")

    def stop(self) -> Deferred[None]:
        """Let it say goodbye; fires when it is gone. It is not replaced any more."""
        self._stopping = True
        self._cancel_timers()
        if self.pid is None:
            return succeed(None)
        self.tell("stop")
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended

    def look(self) -> None:
        """Replace it when it is blocked; called now and then."""
        silent = self._reactor.seconds() - self._heard
        if self.pid is not None and silent > BLOCKED_SECONDS:
            self._log.error(
                "{name} (pid {pid}) has said nothing for {s:.0f} s: it is blocked and is replaced",
                name=self.name,
                pid=self.pid,
                s=silent,
            )
            self._heard = self._reactor.seconds()
            self.kill()

    def processEnded(self, reason: Failure) -> None:
        pid, self.pid = self.pid, None
        lived = self._reactor.seconds() - self._began
        live, self.pulse = self.pulse.get("live", 0), {}
        self._turn("down")
        if self._stopping:
            if not reason.check(ProcessDone):
                self._log.warn("{name} (pid {pid}) ended: {why}", name=self.name, pid=pid, why=_why(reason))
            for ended in self._ended:
                ended.callback(None)
            self._ended = []
            return
        if lived > WELL_SECONDS:
            self._backoff.reset()
        pause = self._backoff.pause()
        self._log.error(
            "{name} (pid {pid}) died: {why}; {live} legs are cut off and may resume; replacing it in {s:.1f} s",
            name=self.name,
            pid=pid,
            why=_why(reason),
            live=live,
            s=pause,
        )
        self._replacing = self._reactor.callLater(pause, self._replace)
        if self._patience is None:
            self._patience = self._reactor.callLater(PATIENCE_SECONDS, self._give_up)

    def _replace(self) -> None:
        self.restarts += 1
        self.start()

    def _give_up(self) -> None:
        self.out = True
        self._moved(self)

    def _turn(self, state: str) -> None:
        self.state = state
        self._moved(self)

    def _cancel_timers(self) -> None:
        for timer in (self._replacing, self._patience):
            if timer is not None and timer.active():
                timer.cancel()
        self._replacing = self._patience = None

    @property
    def lateness(self) -> float:
        """How late its reactor was within the last 10 s, in seconds; silence is lateness, too."""
        silent = self._reactor.seconds() - self._heard if self.state == "up" else 0.0
        return max(float(self.pulse.get("late", 0.0)), silent - 1.5)

    # talking

    def tell(self, kind: str, **fields: Any) -> None:
        """Say something that needs no answer."""
        if self._channel is not None:
            self._channel.tell(kind, **fields)

    def ask(self, kind: str, **fields: Any) -> Deferred[Any]:
        """The answer, later; fails with `WorkerGone` when there is none."""
        return (self._channel or self._new_channel()).ask(kind, **fields)

    def _new_channel(self) -> Channel:
        def hear(message: Message, _: list[int]) -> None:
            self._hear(message, channel is self._channel and self.pid is not None)

        def hung_up() -> None:
            if channel is self._channel and not self._stopping:  # it is dead, or of no use any more
                self.kill()

        channel = Channel(self.name, hear, hung_up, self._reactor)
        return channel

    def _hear(self, message: Message, lives: bool) -> None:
        """The last words of a dead process are only fit for the log."""
        if message["kind"] == "log":
            relay.publish(message["event"], self.index)
            if message["lost"]:
                self._log.error("{n} lines of {name} were lost", n=message["lost"], name=self.name)
        if not lives:
            return
        self._heard = self._reactor.seconds()
        if message["kind"] == "ready":
            self._cancel_timers()
            self.out = False
            self._turn("up")
        elif message["kind"] == "pulse":
            self.pulse = message
            self._news(self, message)

    # as ports see it

    def open_port(self, port: SharedPort) -> None:
        """Listen there, too."""
        if self.out:
            port.give_up(self.index)
        mine = port.sockets[self.index]
        if mine is not None and self._channel is not None:
            about = {"extension": port.side.extension.as_json(), "role": port.side.role.value}
            self._channel.tell("open", [mine.fileno()], token=port.token, **about)

    def close_port(self, port: SharedPort) -> Deferred[Any]:
        """Fires when it listens there no more."""
        return self.ask("close", token=port.token)

    def relabel_port(self, port: SharedPort) -> None:
        """The values of the port's row have changed."""
        self.tell("relabel", token=port.token, extension=port.side.extension.as_json())


def _why(reason: Failure) -> str:
    signal, status = getattr(reason.value, "signal", None), getattr(reason.value, "exitCode", None)
    return f"signal {signal}" if signal is not None else f"exit status {status}"
