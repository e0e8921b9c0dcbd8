"""All workers: started, watched and replaced; their ports and inboxes are kept while one is being replaced."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosocket.errors import WorkerGone
from audiosocket.outbound.backoff import Backoff
from audiosocket.server.reactor import ServerReactor
from audiosocket.transport.accept_gate import AcceptGate
from audiosocket.transport.open_files import DescriptorReserve
from audiosocket.workers import socket_passing
from audiosocket.workers.affinity import owner
from audiosocket.workers.call_counts import WorkerCounts
from audiosocket.workers.channel import Message
from audiosocket.workers.child_process import ChildProcess, Launch
from audiosocket.workers.half_close import HalfCloseFactory
from audiosocket.workers.shared_ports import SharedPorts
from audiosocket.workers.socket_passing import Inbox, PassedSocket
from audiosocket.workers.worker_handle import WorkerHandle

#: Interval between two checks whether a worker is blocked, in seconds.
CHECK_SECONDS = 1.0
#: A spare process is started this long after the last one was used, in seconds: the workers start first.
SPARE_SECONDS = 2.0
#: Delays between attempts to start a spare process when they die, in seconds.
MIN_SPARE_DELAY, MAX_SPARE_DELAY = 0.1, 60.0
#: A worker that is asked to stop is killed after this, in seconds.
STOP_SECONDS = 8.0


class WorkerPool(Service):
    """``count`` workers and a spare process. ``ports`` opens their listening sockets.

    ``publish`` is called with every event of a call.

    Implements `worker_handle.WorkerObserver`, and `child_process.ProcessObserver` for the spare process.
    """

    _log = Logger()

    def __init__(
        self,
        count: int,
        launch: Launch,
        reactor: ServerReactor,
        publish: Callable[[Mapping[str, Any]], object] = lambda record: None,
    ) -> None:
        self._publish = publish
        self._launch = launch
        self._reactor = reactor
        #: The sending and the reading end of each worker's inbox.
        self._inboxes = [socket_passing.inbox() for _ in range(count)]
        self._spare: ChildProcess | None = None
        self._spare_backoff = Backoff(MIN_SPARE_DELAY, MAX_SPARE_DELAY)
        self.workers = [WorkerHandle(index, self, reactor) for index in range(count)]
        self.ports = SharedPorts(self.workers, reactor)
        self._half_close = HalfCloseFactory(reactor)
        #: Read the inboxes of workers that are out.
        gate = AcceptGate(reactor, DescriptorReserve(0))
        self._stand_ins = [Inbox(out, self._close_passed, reactor, gate) for _, out in self._inboxes]
        self._standing_in: set[int] = set()
        self._timers: dict[str, IDelayedCall] = {}
        self._counts = WorkerCounts(count)
        #: The condominiums of all extensions, once they are known.
        self._condominiums: list[int] | None = None

    # start and end

    def startService(self) -> None:
        super().startService()
        for worker in self.workers:
            worker.start()
        self._timers["check"] = self._reactor.callLater(CHECK_SECONDS, self._check)

    async def stopService(self) -> None:
        super().stopService()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        gone: Deferred[Any] = DeferredList([worker.stop() for worker in self.workers])
        if self._spare is not None:
            self._spare.kill()
        killing = self._reactor.callLater(STOP_SECONDS, self._kill)
        await gone
        if killing.active():
            killing.cancel()
        for inbox, (into, out) in zip(self._stand_ins, self._inboxes, strict=True):
            inbox.stop()
            into.close()
            out.close()

    def stop_now(self) -> None:
        """Shorten a stop that is in progress."""
        self.notify("stop_now")

    def _kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    def _check(self) -> None:
        self._timers["check"] = self._reactor.callLater(CHECK_SECONDS, self._check)
        for worker in self.workers:
            worker.check()

    # processes

    def next_process(self) -> ChildProcess:
        """Return the spare process, if there is one: a new one needs half a second to import everything."""
        process, self._spare = self._spare or self._new_process(), None
        self._start_spare_later(0.0)
        return process

    def _new_process(self) -> ChildProcess:
        ends = [*(out for _, out in self._inboxes), *(into for into, _ in self._inboxes)]
        return ChildProcess(self._launch, [end.fileno() for end in ends], self._reactor, self)

    @property
    def spare(self) -> int | None:
        """The process id of the spare process, once it can replace a worker at once."""
        return self._spare.pid if self._spare is not None and self._spare.prepared else None

    def _start_spare_later(self, delay: float) -> None:
        timer = self._timers.get("spare")
        if self.running and (timer is None or not timer.active()):
            self._timers["spare"] = self._reactor.callLater(delay + SPARE_SECONDS, self._start_spare)

    def _start_spare(self) -> None:
        if self._spare is not None:
            return
        try:
            self._spare = self._new_process()
        except OSError as error:
            self._log.error("no spare process can be started: {why}; trying again", why=error.strerror)
            self._start_spare_later(self._spare_backoff.pause())

    def message_received(self, process: ChildProcess, message: Message) -> None:
        """Ignore messages of a spare process: before it begins it has nothing to report."""

    def process_ended(self, process: ChildProcess) -> None:
        """Start another spare process later when the spare one has ended."""
        if process is self._spare:
            self._spare = None
            self._start_spare_later(self._spare_backoff.pause())

    # workers

    def state_changed(self, worker: WorkerHandle) -> None:
        index = worker.index
        if worker.state == "starting":
            if self._condominiums is not None:
                worker.notify("condominiums", ids=self._condominiums)
            worker.notify("counts", numbers=self._counts.of_others(index), begun=0)
            for port in self.ports.ports.values():
                worker.open_port(port)
        elif worker.state == "down":
            self.ports.forget(index)
            self._share_counts(worker, self._counts.forget(index), 0)
        if not self.running:
            return
        if worker.out and index not in self._standing_in:
            self._stand_in_for(worker)
        elif worker.state == "up" and index in self._standing_in:
            self._hand_back(worker)

    def _stand_in_for(self, worker: WorkerHandle) -> None:
        """Direct new connections to the other workers, and half-close those that only this one may have."""
        self._standing_in.add(worker.index)
        for port in self.ports.ports.values():
            port.close_socket(worker.index)
        self._stand_ins[worker.index].start()

    def _close_passed(self, _: PassedSocket, descriptor: int) -> None:
        self._half_close.half_close(socket.socket(fileno=descriptor))

    def _hand_back(self, worker: WorkerHandle) -> None:
        self._standing_in.remove(worker.index)
        self._stand_ins[worker.index].stop()
        for port in self.ports.ports.values():
            try:
                port.reopen_socket(worker.index)
            except OSError as error:
                self._log.error("{name} cannot share a port: {why}", name=worker.name, why=error.strerror)
            else:
                worker.open_port(port)

    def events_received(self, events: Sequence[Mapping[str, Any]]) -> None:
        for event in events:
            self._publish(event)

    def connections_counted(self, worker: WorkerHandle) -> None:
        self.ports.count(worker.index, worker.report.connections)

    def calls_counted(self, worker: WorkerHandle, numbers: Mapping[str, int], begun: int) -> None:
        self._counts.update(worker.index, numbers)
        self._share_counts(worker, numbers, begun)

    def _share_counts(self, changed: WorkerHandle, keys: Iterable[str], begun: int) -> None:
        for worker in self.workers:
            if worker is not changed:
                worker.notify("counts", numbers=self._counts.of_others(worker.index, keys), begun=begun)

    # calls

    @property
    def live_legs(self) -> int:
        """Legs of all workers, as reported last: at most a quarter of a second ago."""
        return sum(worker.report.live_legs for worker in self.workers)

    def owner(self, call_id: UUID) -> WorkerHandle:
        """Return the worker that has this call, if there is such a call."""
        return self.workers[owner(call_id, len(self.workers))]

    def notify(self, kind: str, **fields: Any) -> None:
        """Send a message without a response to all workers."""
        for worker in self.workers:
            worker.notify(kind, **fields)

    async def request(self, kind: str, **fields: Any) -> list[Any]:
        """Return the responses of the workers that respond, in the order of the workers."""
        requests = [worker.request(kind, **fields) for worker in self.workers]
        responses = []
        for request in requests:
            try:
                responses.append(await request)
            except WorkerGone as error:
                self._log.warn("{error}; the response is without it", error=str(error))
        return responses

    def set_condominiums(self, ids: Iterable[int]) -> None:
        """Tell the workers, also those that come, the condominiums of all extensions."""
        known = sorted(ids)
        if known != self._condominiums:
            self._condominiums = known
            self.notify("condominiums", ids=known)

    def problems(self) -> list[str]:
        """Return what is wrong with the workers, one sentence each."""
        wrong = [f"{worker.name} is {worker.state}" for worker in self.workers if worker.state != "up"]
        wanted = len(self.ports.ports)
        for worker in self.workers:
            if worker.state == "up" and worker.report.open_ports < wanted:
                wrong.append(f"{worker.name} listens on {worker.report.open_ports} of {wanted} ports")
        return wrong

    async def refresh(self) -> None:
        """Bring the reports of all workers up to date."""
        refreshes = [ensureDeferred(worker.refresh()) for worker in self.workers]
        for refresh in refreshes:
            with suppress(WorkerGone):
                await refresh
