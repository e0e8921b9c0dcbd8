"""One worker as the front sees it: a number, and the process that has it at the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosocket.errors import WorkerGone
from audiosocket.outbound.backoff import Backoff
from audiosocket.workers import log_relay as relay
from audiosocket.workers.channel import Message
from audiosocket.workers.child_process import ChildProcess
from audiosocket.workers.shared_ports import SharedPort

#: Pauses before a worker is replaced grow, until one has lived this long, in seconds.
WELL_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 15.0
#: A worker that says nothing for so long, in seconds, is blocked: its calls are lost already.
BLOCKED_SECONDS = 15.0
#: For so long callers wait for a worker that is not there, in seconds.
PATIENCE_SECONDS = 2.0
#: A worker says something at least this often, in seconds.
PULSE_SECONDS = 1.5


class WorkerHandle:
    """Worker number ``index``. ``next_life`` gives it a process.

    ``counted`` is called when it has said how many connections it has, ``moved`` when it comes up, is gone,
    or has been away too long.
    """

    _log = Logger()

    def __init__(
        self,
        index: int,
        next_life: Callable[[], ChildProcess],
        reactor: Any,
        *,
        counted: Callable[[WorkerHandle], object],
        moved: Callable[[WorkerHandle], object],
    ) -> None:
        self.index = index
        self.name = f"worker {index}"
        self._next_life = next_life
        self._reactor = reactor
        self._counted = counted
        self._moved = moved
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._life: ChildProcess | None = None
        self._replacing: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None
        self._stopping = False
        self._heard = 0.0
        #: "starting", "up" or "down".
        self.state = "down"
        #: It has been away for so long that its callers wait no more; until it is up again.
        self.out = False
        self.restarts = 0
        #: What it said of itself last: live legs, connections, lateness.
        self.pulse: Message = {}

    # life

    def start(self) -> None:
        """Give it a process; ``moved`` is the moment to tell it its ports."""
        try:
            life = self._next_life()
        except OSError as error:
            self._log.error("{name} cannot be started: {why}; trying again", name=self.name, why=error.strerror)
            self._replace_later()
            return
        life.hear = lambda message: self._hear(message, life)
        life.over = self._over
        self._life = life
        self._heard = self._reactor.seconds()
        life.begin(self.index)
        self._turn("starting")

    def stop(self) -> Deferred[None]:
        """Let it say goodbye; fires when it is gone. It is not replaced any more."""
        self._stopping = True
        self._cancel_timers()
        return succeed(None) if self._life is None else self._life.stop()

    def kill(self) -> None:
        """End its process at once."""
        if self._life is not None:
            self._life.kill()

    def look(self) -> None:
        """Replace it when it is blocked; called now and then."""
        silent = self._reactor.seconds() - self._heard
        if self._life is not None and silent > BLOCKED_SECONDS:
            self._log.error(
                "{name} (pid {pid}) has said nothing for {s:.0f} s: it is blocked and is replaced",
                name=self.name,
                pid=self.pid,
                s=silent,
            )
            self._heard = self._reactor.seconds()
            self.kill()

    def _over(self) -> None:
        life, self._life = self._life, None
        assert life is not None  # noqa: S101 - for mypy; it was ours
        live, self.pulse = self.pulse.get("live", 0), {}
        self._turn("down")
        if self._stopping:
            if life.why != "exit status 0":
                self._log.warn("{name} (pid {pid}) ended: {why}", name=self.name, pid=life.pid, why=life.why)
            return
        if self._reactor.seconds() - life.began > WELL_SECONDS:
            self._backoff.reset()
        self._log.error(
            "{name} (pid {pid}) died: {why}; {live} legs are cut off and may resume; it is replaced",
            name=self.name,
            pid=life.pid,
            why=life.why,
            live=live,
        )
        self._replace_later()

    def _replace_later(self) -> None:
        self._replacing = self._reactor.callLater(self._backoff.pause(), self._replace)
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

    # what is seen of it

    @property
    def pid(self) -> int | None:
        """The process that is this worker now."""
        return None if self._life is None else self._life.pid

    @property
    def lateness(self) -> float:
        """How late its reactor was within the last 10 s, in seconds; silence is lateness, too."""
        silent = self._reactor.seconds() - self._heard if self.state == "up" else 0.0
        return max(float(self.pulse.get("late", 0.0)), silent - PULSE_SECONDS)

    # talking

    def tell(self, kind: str, **fields: Any) -> None:
        """Say something that needs no answer."""
        if self._life is not None:
            self._life.tell(kind, **fields)

    def ask(self, kind: str, **fields: Any) -> Deferred[Any]:
        """The answer, later; fails with `WorkerGone` when there is none."""
        if self._life is None:
            return fail(WorkerGone(f"{self.name} is being replaced; ask again in a moment"))
        return self._life.ask(kind, **fields)

    def _hear(self, message: Message, life: ChildProcess) -> None:
        if message["kind"] == "log":
            relay.publish(message, self.index)
            if message["lost"]:
                self._log.error("{n} lines of {name} were lost", n=message["lost"], name=self.name)
        if life is not self._life:
            return  # the last words of a dead process are only fit for the log
        self._heard = self._reactor.seconds()
        if message["kind"] == "ready":
            self._cancel_timers()
            self.out = False
            self._turn("up")
        elif message["kind"] == "pulse":
            self.pulse = message
            self._counted(self)

    async def refresh(self) -> None:
        """Bring `pulse` up to date."""
        if self.state == "up":
            self.pulse = await self.ask("pulse")
            self._counted(self)

    # as ports see it

    def open_port(self, port: SharedPort) -> None:
        """Listen there, too."""
        if self.out:
            port.give_up(self.index)
        mine = port.sockets[self.index]
        if mine is not None and self._life is not None:
            about = {"extension": port.side.extension.to_json(), "role": port.side.role.value}
            self._life.tell("open", [mine.fileno()], token=port.token, **about)

    def close_port(self, port: SharedPort) -> Deferred[Any]:
        """Fires when it listens there no more."""
        return self.ask("close", token=port.token)

    def relabel_port(self, port: SharedPort) -> None:
        """The values of the port's row have changed."""
        self.tell("relabel", token=port.token, extension=port.side.extension.to_json())
