"""One worker as the supervisor sees it: a number, and the process that has it at the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from audiosocket.errors import WorkerGone
from audiosocket.outbound.backoff import Backoff
from audiosocket.workers import log_relay
from audiosocket.workers.channel import Message
from audiosocket.workers.child_process import ChildProcess
from audiosocket.workers.shared_ports import SharedPort
from audiosocket.workers.worker_report import WorkerReport

#: Delays before a worker is replaced grow, until one has run for this long, in seconds.
STABLE_SECONDS = 10.0
#: The first and the longest of these delays, in seconds.
MIN_DELAY, MAX_DELAY = 0.01, 15.0
#: A worker that has sent nothing for this long, in seconds, is blocked: its calls are lost already.
BLOCKED_SECONDS = 15.0
#: The same until it is up: it imports everything and replays its journal, which a busy machine makes slow.
START_SECONDS = 60.0
#: Callers wait this long for a worker that is being replaced, in seconds.
REPLACE_SECONDS = 2.0
#: A worker sends something at least this often, in seconds.
REPORT_SECONDS = 1.5


class WorkerObserver(Protocol):
    """The pool, as its workers see it."""

    def next_process(self) -> ChildProcess:
        """Return a process that can become a worker; raises OSError."""

    def connections_counted(self, worker: WorkerHandle) -> None:
        """Take the connections that the worker has reported, see `WorkerHandle.report`."""

    def calls_counted(self, worker: WorkerHandle, numbers: Mapping[str, int], begun: int) -> None:
        """Take numbers of live calls that have changed at the worker, and how many calls began there."""

    def events_received(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take events of calls, also of a process that has died."""

    def state_changed(self, worker: WorkerHandle) -> None:
        """Take a change of `WorkerHandle.state`, or of `out`: the worker has been down for too long."""


class WorkerHandle:
    """Worker number ``index``; implements `child_process.ProcessObserver`."""

    _log = Logger()

    def __init__(self, index: int, observer: WorkerObserver, clock: IReactorTime) -> None:
        self.index = index
        self.name = f"worker {index}"
        self._observer = observer
        self._clock = clock
        self._backoff = Backoff(MIN_DELAY, MAX_DELAY)
        self._process: ChildProcess | None = None
        self._replacing: IDelayedCall | None = None
        self._giving_up: IDelayedCall | None = None
        self._stopping = False
        self._last_message = 0.0
        #: "starting", "up" or "down".
        self.state = "down"
        #: It has been down for so long that its callers no longer wait; false once it is up again.
        self.out = False
        self.restarts = 0
        self.report = WorkerReport()

    # start and end

    def start(self) -> None:
        """Give it a process; at `WorkerObserver.state_changed` it can be sent its ports."""
        try:
            process = self._observer.next_process()
        except OSError as error:
            self._log.error("{name} cannot be started: {why}; trying again", name=self.name, why=error.strerror)
            self._replace_later()
            return
        self._process = process
        self._last_message = self._clock.seconds()
        process.begin(self.index, self)
        self._set_state("starting")

    def stop(self) -> Deferred[None]:
        """Ask it to hang up its calls and exit; fires when it is gone. It is not replaced any more."""
        self._stopping = True
        self._cancel_timers()
        return succeed(None) if self._process is None else self._process.stop()

    def kill(self) -> None:
        """Kill its process without waiting."""
        if self._process is not None:
            self._process.kill()

    def check(self) -> None:
        """Kill it when it is blocked, so that it is replaced; to be called at regular intervals."""
        silent = self._clock.seconds() - self._last_message
        if self._process is not None and silent > (BLOCKED_SECONDS if self.state == "up" else START_SECONDS):
            self._log.error(
                "{name} (pid {pid}) has sent nothing for {s:.0f} s: it is blocked and is replaced",
                name=self.name,
                pid=self.pid,
                s=silent,
            )
            self._last_message = self._clock.seconds()
            self.kill()

    def process_ended(self, process: ChildProcess) -> None:
        self._process = None
        live, self.report = self.report.live_legs, WorkerReport()
        self._set_state("down")
        if self._stopping:
            if process.exit_reason != "exit status 0":
                self._log.warn(
                    "{name} (pid {pid}) ended: {why}", name=self.name, pid=process.pid, why=process.exit_reason
                )
            return
        if self._clock.seconds() - process.started > STABLE_SECONDS:
            self._backoff.reset()
        self._log.error(
            "{name} (pid {pid}) died: {why}; {live} legs are cut off and may resume; it is replaced",
            name=self.name,
            pid=process.pid,
            why=process.exit_reason,
            live=live,
        )
        self._replace_later()

    def _replace_later(self) -> None:
        self._replacing = self._clock.callLater(self._backoff.pause(), self._replace)
        if self._giving_up is None:
            self._giving_up = self._clock.callLater(REPLACE_SECONDS, self._give_up)

    def _replace(self) -> None:
        self.restarts += 1
        self.start()

    def _give_up(self) -> None:
        self.out = True
        self._observer.state_changed(self)

    def _set_state(self, state: str) -> None:
        self.state = state
        self._observer.state_changed(self)

    def _cancel_timers(self) -> None:
        for timer in (self._replacing, self._giving_up):
            if timer is not None and timer.active():
                timer.cancel()
        self._replacing = self._giving_up = None

    # state

    @property
    def pid(self) -> int | None:
        """The process that is this worker now."""
        return None if self._process is None else self._process.pid

    @property
    def lateness(self) -> float:
        """How late its reactor was within the last 10 s, in seconds; a missing report counts as lateness."""
        silent = self._clock.seconds() - self._last_message if self.state == "up" else 0.0
        return max(self.report.late_seconds, silent - REPORT_SECONDS)

    # messages

    def notify(self, kind: str, **fields: Any) -> None:
        """Send a message without a response; do nothing while it has no process."""
        if self._process is not None:
            self._process.notify(kind, **fields)

    def request(self, kind: str, **fields: Any) -> Deferred[Any]:
        """Send a message; fires with the response, fails with `WorkerGone` when there is none."""
        if self._process is None:
            return fail(WorkerGone(f"{self.name} is being replaced; try again in a moment"))
        return self._process.request(kind, **fields)

    def message_received(self, process: ChildProcess, message: Message) -> None:
        if message["kind"] == "log":
            log_relay.publish(message, self.index)
            if message["dropped"]:
                self._log.error("{n} log lines of {name} were dropped", n=message["dropped"], name=self.name)
        elif message["kind"] == "events":
            self._observer.events_received(message["events"])
        if process is not self._process:
            return  # of the messages of a dead process only the log and the events are of use
        self._last_message = self._clock.seconds()
        if message["kind"] == "ready":
            self._cancel_timers()
            self.out = False
            self._set_state("up")
        elif message["kind"] == "report":
            self.report = WorkerReport.from_json(message)
            self._observer.connections_counted(self)
        elif message["kind"] == "counts":
            self._observer.calls_counted(self, message["numbers"], message["begun"])

    async def refresh(self) -> None:
        """Bring `report` up to date."""
        if self.state == "up":
            self.report = WorkerReport.from_json(await self.request("report"))
            self._observer.connections_counted(self)

    # shared_ports.PortUser

    def open_port(self, port: SharedPort) -> None:
        if self.out:
            port.close_socket(self.index)
        own = port.sockets[self.index]
        if own is not None and self._process is not None:
            fields = {"extension": port.factory.extension.to_json(), "role": port.factory.role.value}
            self._process.notify("open", [own.fileno()], token=port.token, **fields)

    def close_port(self, port: SharedPort) -> Deferred[Any]:
        return self.request("close", token=port.token)

    def relabel_port(self, port: SharedPort) -> None:
        self.notify("relabel", token=port.token, extension=port.factory.extension.to_json())
