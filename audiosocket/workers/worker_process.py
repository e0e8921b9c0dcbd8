"""A worker: begins when the supervisor says so, opens ports, responds about its calls, stops."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import FilteringLogObserver, Logger, globalLogBeginner

from audiosocket.apps import registry
from audiosocket.bots.call_tokens import CallTokens
from audiosocket.control_interface import CallSelection
from audiosocket.errors import WorkerGone
from audiosocket.extensions.model import Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.fleet.database import FleetDatabase
from audiosocket.fleet.this_node import NodeSession
from audiosocket.json_shapes import WorkerStatusJSON
from audiosocket.media import lazy_imports
from audiosocket.postgres.target import Target
from audiosocket.runtime.log_format import formatter
from audiosocket.runtime.logs import level_filter
from audiosocket.runtime.warmup import install_runtime_services
from audiosocket.server.assembly import CallComponents, build_call_components, select_apps
from audiosocket.server.call_control import LocalCallControl
from audiosocket.server.call_server import CallServer
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.visit_services import make_apartments
from audiosocket.settings import Settings
from audiosocket.settings_files import merge, read_env_file, read_password
from audiosocket.workers.affinity import owner
from audiosocket.workers.call_counts import CountsToSupervisor
from audiosocket.workers.channel import Channel, Message
from audiosocket.workers.event_relay import EventsToSupervisor
from audiosocket.workers.log_relay import LogToSupervisor
from audiosocket.workers.worker_ports import WorkerPorts
from audiosocket.workers.worker_report import WorkerReport

#: Interval between two checks whether the report has changed, in seconds.
REPORT_SECONDS = 0.1
#: An unchanged report is sent every so many checks, to show that the worker is alive.
UNCHANGED_CHECKS = 10


@dataclass(frozen=True)
class Running:
    """The parts of a worker that has begun."""

    server: CallServer
    ports: WorkerPorts
    components: CallComponents
    calls: LocalCallControl


class WorkerProcess:
    """The process of one worker.

    ``receiving`` and ``sending`` are the ends of all workers' inboxes; ``stop`` ends the process. ``environment``
    are the variables of the process.
    """

    _log = Logger()

    def __init__(
        self,
        receiving: Sequence[socket.socket],
        sending: Sequence[socket.socket],
        reactor: ServerReactor,
        stop: Callable[[], object],
        environment: Mapping[str, str],
    ) -> None:
        self._environment = environment
        self._receiving = receiving
        self._sending = sending
        self._reactor = reactor
        self._stop = stop
        self._running: Running | None = None
        self._log_relay: LogToSupervisor | None = None
        self._event_relay: EventsToSupervisor | None = None
        self._timer: IDelayedCall | None = None
        self._sent_report = WorkerReport()
        self._unchanged = 0
        self._stopping = False
        #: Of all extensions; None until the supervisor has said them.
        self._condominiums: frozenset[int] | None = None
        self.channel = Channel("the supervisor", self._handle, self._channel_lost, reactor, self._drained)
        self._handlers: Mapping[str, Callable[[Running, Message], Any]] = {
            "relabel": lambda us, sent: us.ports.relabel(sent["token"], parse_json(sent["extension"])),
            "close": lambda us, sent: us.ports.close(sent["token"]).addCallback(lambda _: None),
            "counts": lambda us, sent: us.components.switchboard.registry.limits.learn(
                sent["numbers"], sent["begun"], us.components.clock.now_ms() / 1000
            ),
            "drain": lambda us, sent: us.components.switchboard.refuse_new_calls(),
            "read_again": lambda us, sent: us.components.selection.read_again(),
            "stop_now": lambda us, sent: us.server.stop_now(),
            "report": lambda us, sent: self._make_report(us).to_json(),
            "status": lambda us, sent: self._status(us),
            "page": lambda us, sent: us.calls.page(CallSelection(**sent["selection"])),
            "call": lambda us, sent: us.calls.get(UUID(sent["call_id"])),
            "hang_up": lambda us, sent: us.calls.hang_up(UUID(sent["call_id"]), Role(sent["role"])),
            "return_call": lambda us, sent: us.calls.return_call(UUID(sent["call_id"]), sent["numbers"]),
            "cancel_return": lambda us, sent: us.calls.cancel_return(UUID(sent["call_id"])),
            "command": lambda us, sent: us.calls.command(
                UUID(sent["call_id"]), Role(sent["role"]), sent["command"], sent["arguments"]
            ),
            "attempt_ended": lambda us, sent: us.calls.attempt_ended(sent["attempt"], sent["end"], sent["reason"]),
        }

    def report_prepared(self) -> None:
        """Report that everything is imported, so that the worker can begin at once."""
        self.channel.notify("prepared")

    def _handle(self, message: Message, descriptors: list[int]) -> Any:
        kind = message["kind"]
        if kind == "begin":
            return self._begin(message)
        if kind == "condominiums":
            self._condominiums = frozenset(message["ids"])
            return None
        if kind == "stop":
            self._stopping = True
            return self._stop()
        running = self._running
        if running is None:
            raise RuntimeError(f"{kind} before begin")
        if kind == "open":
            extension, role = parse_json(message["extension"]), Role(message["role"])
            return running.ports.open(message["token"], extension, role, descriptors[0])
        return self._handlers[kind](running, message)

    def _begin(self, message: Message) -> None:
        settings = Settings.parse(message["settings"])
        index = message["index"]
        self._start_log(settings, lines=message["lines"])
        apps = {
            Role.VISITOR: registry.load(settings.visitor_app),
            Role.RESIDENT: registry.load(settings.resident_app),
        }
        journal = Path(settings.data_dir) / message["journals"][index]
        selection = select_apps(settings, apps, self._values(message["env_file"]), self._reactor, quiet=True)
        count = len(message["journals"])
        self._event_relay = EventsToSupervisor(self.channel, self._reactor, time.time)
        node = self._node_session(settings, message["node"])
        components = build_call_components(
            settings,
            selection,
            journal,
            self._reactor,
            tokens=CallTokens(**message["call_tokens"]),
            apartments=make_apartments(settings, self._reactor, lambda: self._condominiums, quiet=True),
            mine=lambda call_id: owner(call_id, count) == index,
            publish=self._event_relay,
            node=node,
        )
        switchboard = components.switchboard
        CountsToSupervisor(self.channel, switchboard.registry.limits.counts, self._reactor)
        ports = WorkerPorts(
            index,
            components.make_factory,
            self._receiving[index],
            self._sending,
            self._reactor,
            lambda why: switchboard.admission.reject("crowded", why),
            components.accepting,
        )
        server = CallServer(
            ports,
            switchboard,
            components.files,
            self._reactor,
            journal=components.journal,
            resume_seconds=settings.resume_seconds,
            shared=None if components.adoption is None else components.adoption.table,
        )
        components.add_services(server)
        if node is not None:
            node.database.setServiceParent(server)
        install_runtime_services(
            server,
            self._reactor,
            busy=lambda: switchboard.live_legs > 0,
            listening=lambda: True,
            forget=switchboard.forget,
            load=lazy_imports.load,
        )
        calls = LocalCallControl(
            server,
            self._reactor.seconds,
            components.backend,
            components.histograms,
            components.gate,
            accepting=components.accepting,
        )
        self._running = Running(server, ports, components, calls)
        server.startService()
        self.channel.notify("ready", pid=os.getpid())
        self._report()

    def _node_session(self, settings: Settings, node: str) -> NodeSession | None:
        """Return the session of this worker as a part of ``node``; None outside a fleet.

        All workers have the name of their node: a UUID is always the same worker's.
        """
        if not node:
            return None
        password = partial(read_password, settings) if settings.db_password_file else settings.db_password
        return NodeSession(node, FleetDatabase(Target(settings, password, self._reactor), self._reactor))

    def _values(self, env_file: str) -> Callable[[], Mapping[str, str]]:
        """Return what reads the values of ``${NAME}`` in ``apps.toml``, each time from the current file."""
        return lambda: merge(read_env_file(env_file, self._environment), self._environment)

    def _start_log(self, settings: Settings, *, lines: bool) -> None:
        """Send the log to the supervisor: as finished lines, or as events where ``lines`` is false."""
        line = formatter(settings.log_format) if lines else None
        self._log_relay = LogToSupervisor(self.channel, line, self._reactor)
        globalLogBeginner.beginLoggingTo([FilteringLogObserver(self._log_relay, level_filter(settings.log_level))])

    def _drained(self) -> None:
        for relay in (self._log_relay, self._event_relay):
            if relay is not None:
                relay.flush()

    # stop

    async def close(self) -> None:
        """Hang up all calls, and wait until the supervisor has read the last line of the log."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._running is not None:
            await maybeDeferred(self._running.server.stopService)
        self._drained()
        with suppress(WorkerGone):  # a supervisor that does not wait is gone already
            await self.channel.request("stopped")

    def _channel_lost(self) -> None:
        """Exit without the supervisor: the next one must find the ports and the journals free."""
        if not self._stopping:
            os._exit(1)

    # reports

    def _report(self) -> None:
        self._timer = self._reactor.callLater(REPORT_SECONDS, self._report)
        if self._running is None or self.channel.full:
            return
        report = self._make_report(self._running)
        self._unchanged += 1
        if report != self._sent_report or self._unchanged >= UNCHANGED_CHECKS:
            self._sent_report, self._unchanged = report, 0
            self.channel.notify("report", **report.to_json())

    def _make_report(self, us: Running) -> WorkerReport:
        gone = {token: 0 for token, number in self._sent_report.connections.items() if number}
        return WorkerReport(
            live_legs=us.components.switchboard.live_legs,
            open_ports=us.ports.open_ports,
            late_seconds=round(us.server.reactor_lag.recent_worst, 1),
            silent_seconds=round(us.components.switchboard.clock_silent_seconds),
            accepting=not us.components.accepting.paused,
            connections={**gone, **us.ports.counts()},
        )

    @staticmethod
    async def _status(us: Running) -> WorkerStatusJSON:
        calls = await us.calls.status()
        live = {str(key): number for key, number in us.calls.live_by_extension().items()}
        adoption = us.components.adoption
        shared = None if adoption is None else adoption.to_json()
        return {**calls, "live_by_extension": live, "pid": os.getpid(), "fleet_calls": shared}
