"""All workers together: started, watched, replaced; their ports and their inboxes kept while one is away."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosocket.errors import WorkerGone
from audiosocket.outbound.backoff import Backoff
from audiosocket.workers import socket_passing as handover
from audiosocket.workers.affinity import owner
from audiosocket.workers.child_process import ChildProcess, Launch
from audiosocket.workers.half_close import HalfCloseFactory
from audiosocket.workers.shared_ports import SharedPorts
from audiosocket.workers.socket_passing import Inbox
from audiosocket.workers.worker_handle import WorkerHandle

#: Between two looks whether a worker is blocked, in seconds.
LOOK_SECONDS = 1.0
#: A spare process is started so long after it is missed, in seconds: the workers' own start comes first.
SPARE_SECONDS = 2.0
#: A worker that is told to stop has this long, in seconds, before it is killed.
STOP_SECONDS = 8.0


class WorkerPool(Service):
    """``count`` workers and a process in reserve. ``ports`` is where their listening sockets are opened."""

    _log = Logger()

    def __init__(self, count: int, launch: Launch, reactor: Any) -> None:
        self._launch = launch
        self._reactor = reactor
        self._boxes = [handover.inbox() for _ in range(count)]
        self._spare: ChildProcess | None = None
        self._spares_died = Backoff(0.1, 60.0)
        self.workers = [
            WorkerHandle(index, self._next_life, reactor, counted=self._counted, moved=self._moved)
            for index in range(count)
        ]
        self.ports = SharedPorts(self.workers, reactor)
        farewells = HalfCloseFactory(reactor)
        self._unanswered = [
            Inbox(out, lambda _, descriptor: farewells.say(socket.socket(fileno=descriptor)), reactor)
            for _, out in self._boxes
        ]
        self._standing_in: set[int] = set()
        self._timers: dict[str, IDelayedCall] = {}

    # life

    def startService(self) -> None:
        super().startService()
        for worker in self.workers:
            worker.start()
        self._timers["look"] = self._reactor.callLater(LOOK_SECONDS, self._watch)

    async def stopService(self) -> None:
        super().stopService()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        gone: Deferred[Any] = DeferredList([worker.stop() for worker in self.workers])
        if self._spare is not None:
            self._spare.over = lambda: None
            self._spare.kill()
        end = self._reactor.callLater(STOP_SECONDS, self._kill)
        await gone
        if end.active():
            end.cancel()
        for inbox, (into, out) in zip(self._unanswered, self._boxes, strict=True):
            inbox.stop()
            into.close()
            out.close()

    def stop_now(self) -> None:
        """Shorten a stop that is in progress."""
        for worker in self.workers:
            worker.tell("stop_now")

    def _kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    def _watch(self) -> None:
        self._timers["look"] = self._reactor.callLater(LOOK_SECONDS, self._watch)
        for worker in self.workers:
            worker.look()

    # a process in reserve

    def _next_life(self) -> ChildProcess:
        """The spare if there is one: a worker that has to import everything first is away for half a second."""
        life, self._spare = self._spare or self._new_life(), None
        self._want_spare(0.0)
        return life

    def _new_life(self) -> ChildProcess:
        ends = [*(out for _, out in self._boxes), *(into for into, _ in self._boxes)]
        return ChildProcess(self._launch, [end.fileno() for end in ends], self._reactor)

    @property
    def spare(self) -> int | None:
        """The process that stands ready to replace a worker at once."""
        return self._spare.pid if self._spare is not None and self._spare.here else None

    def _want_spare(self, seconds: float) -> None:
        timer = self._timers.get("spare")
        if timer is None or not timer.active():
            self._timers["spare"] = self._reactor.callLater(seconds + SPARE_SECONDS, self._make_spare)

    def _make_spare(self) -> None:
        if self._spare is not None:
            return
        try:
            self._spare = self._new_life()
        except OSError as error:
            self._log.error("no process stands ready to replace a worker: {why}", why=error.strerror)
            self._spare_died()
        else:
            self._spare.over = self._spare_died

    def _spare_died(self) -> None:
        self._spare = None
        self._want_spare(self._spares_died.pause())

    def _moved(self, worker: WorkerHandle) -> None:
        index = worker.index
        if worker.state == "starting":
            for port in self.ports.ports.values():
                worker.open_port(port)
        elif worker.state == "down":
            self.ports.forget(index)
        if not self.running:
            return
        if worker.out and index not in self._standing_in:
            self._stand_in_for(worker)
        elif worker.state == "up" and index in self._standing_in:
            self._take_back(worker)

    def _stand_in_for(self, worker: WorkerHandle) -> None:
        """Nobody waits in vain: new connections go to the other workers, its own are closed."""
        self._standing_in.add(worker.index)
        for port in self.ports.ports.values():
            port.give_up(worker.index)
        self._unanswered[worker.index].start()

    def _take_back(self, worker: WorkerHandle) -> None:
        self._standing_in.remove(worker.index)
        self._unanswered[worker.index].stop()
        for port in self.ports.ports.values():
            try:
                port.renew(worker.index)
            except OSError as error:
                self._log.error("{name} cannot share a port: {why}", name=worker.name, why=error.strerror)
            else:
                worker.open_port(port)

    def _counted(self, worker: WorkerHandle) -> None:
        self.ports.count(worker.index, worker.pulse["connections"])

    # asking

    @property
    def live_legs(self) -> int:
        """Legs of all workers, as they said last: at most a quarter of a second ago."""
        return sum(worker.pulse.get("live", 0) for worker in self.workers)

    def owner(self, call_id: UUID) -> WorkerHandle:
        """The worker that has this call, if there is such a call."""
        return self.workers[owner(call_id, len(self.workers))]

    def tell(self, kind: str, **fields: Any) -> None:
        """Tell all of them something that needs no answer."""
        for worker in self.workers:
            worker.tell(kind, **fields)

    async def ask(self, kind: str, **fields: Any) -> list[Any]:
        """The answers of those that are there, in the order of the workers."""
        asked = [worker.ask(kind, **fields) for worker in self.workers]
        answers = []
        for each in asked:
            try:
                answers.append(await each)
            except WorkerGone as error:
                self._log.warn("{error}; the answer is without it", error=str(error))
        return answers

    def problems(self) -> list[str]:
        """What is wrong with the workers, one sentence each."""
        wrong = [f"{worker.name} is {worker.state}" for worker in self.workers if worker.state != "up"]
        wanted = len(self.ports.ports)
        for worker in self.workers:
            if worker.state == "up" and worker.pulse.get("ports", 0) < wanted:
                wrong.append(f"{worker.name} listens on {worker.pulse.get('ports', 0)} of {wanted} ports")
        return wrong

    async def refresh(self) -> None:
        """Bring what workers say of themselves now and then up to date."""
        asked = [ensureDeferred(worker.refresh()) for worker in self.workers]
        for each in asked:
            with suppress(WorkerGone):
                await each
