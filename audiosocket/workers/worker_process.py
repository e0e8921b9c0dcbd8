"""What a worker does with the front's messages: begins, opens ports, answers about its calls, ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import FilteringLogObserver, Logger, globalLogBeginner

from audiosocket.apps import registry
from audiosocket.errors import WorkerGone
from audiosocket.extensions.model import Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.json_shapes import WorkerStatusJSON
from audiosocket.media import lazy_imports
from audiosocket.runtime import logs
from audiosocket.runtime.warmup import install_runtime_services
from audiosocket.server.assembly import CallComponents, build_call_components, select_apps
from audiosocket.server.call_control import LocalCallControl
from audiosocket.server.call_server import CallServer
from audiosocket.settings import Settings, read_env_file
from audiosocket.workers.channel import Channel, Message
from audiosocket.workers.log_relay import LogToSupervisor
from audiosocket.workers.worker_ports import WorkerPorts

#: Between two looks whether there is news for the front, in seconds.
PULSE_SECONDS = 0.1
#: So many of those without news, and it is told all the same that we are alive.
QUIET_PULSES = 10


@dataclass(frozen=True)
class Running:
    """What there is once the front's first words have come."""

    server: CallServer
    doors: WorkerPorts
    side: CallComponents
    control: LocalCallControl


class WorkerProcess:
    """``inboxes`` and ``boxes`` are the ends of all workers' inboxes; ``end`` is called when it is time to go."""

    _log = Logger()

    def __init__(
        self,
        inboxes: Sequence[socket.socket],
        boxes: Sequence[socket.socket],
        reactor: Any,
        end: Callable[[], object],
        environment: Mapping[str, str],
    ) -> None:
        self._environment = environment
        self._inboxes = inboxes
        self._boxes = boxes
        self._reactor = reactor
        self._end = end
        self._running: Running | None = None
        self._log_to: LogToSupervisor | None = None
        self._timer: IDelayedCall | None = None
        self._said: Message = {}
        self._quiet = 0
        self._stopping = False
        self.channel = Channel("the front", self._obey, self._orphaned, reactor)
        self._orders: Mapping[str, Callable[[Running, Message], Any]] = {
            "relabel": lambda us, said: us.doors.relabel(said["token"], parse_json(said["extension"])),
            "close": lambda us, said: us.doors.close(said["token"]).addCallback(lambda _: None),
            "drain": lambda us, said: us.side.switchboard.refuse_new_calls(),
            "stop_now": lambda us, said: us.server.stop_now(),
            "pulse": lambda us, said: self._pulse_of(us),
            "status": lambda us, said: self._status(us),
            "calls": lambda us, said: us.control.all(),
            "call": lambda us, said: us.control.get(UUID(said["call_id"])),
            "hang_up": lambda us, said: us.control.hang_up(UUID(said["call_id"]), Role(said["role"])),
            "return_call": lambda us, said: us.control.return_call(UUID(said["call_id"]), said["numbers"]),
            "cancel_return": lambda us, said: us.control.cancel_return(UUID(said["call_id"])),
            "attempt_ended": lambda us, said: us.control.attempt_ended(
                said["attempt"], said["end"], said["reason"]
            ),
        }

    def present(self) -> None:
        """Everything is imported: we can begin at once."""
        self.channel.tell("here")

    def _obey(self, message: Message, descriptors: list[int]) -> Any:
        if message["kind"] == "begin":
            return self._begin(message)
        if message["kind"] == "stop":
            return self._stop()
        running = self._running
        if running is None:
            raise RuntimeError(f"{message['kind']} before begin")
        if message["kind"] == "open":
            extension, role = parse_json(message["extension"]), Role(message["role"])
            return running.doors.open(message["token"], extension, role, descriptors[0])
        return self._orders[message["kind"]](running, message)

    def _begin(self, message: Message) -> None:
        settings = Settings.parse(message["settings"])
        line = logs.formatter(settings.log_format) if message["lines"] else None
        self._log_to = LogToSupervisor(self.channel, line, self._reactor)
        globalLogBeginner.beginLoggingTo([FilteringLogObserver(self._log_to, logs.wanted(settings.log_level))])
        apps = {
            Role.VISITOR: registry.load(settings.visitor_app),
            Role.RESIDENT: registry.load(settings.resident_app),
        }
        journal = Path(settings.data_dir) / message["journals"][message["index"]]
        selection = select_apps(settings, apps, self._values(message["env_file"]), self._reactor, quiet=True)
        side = build_call_components(settings, selection, journal, self._reactor)
        doors = WorkerPorts(
            message["index"],
            side.make_factory,
            self._inboxes[message["index"]],
            self._boxes,
            self._reactor,
            lambda why: side.switchboard.admission.reject("crowded", why),
        )
        server = CallServer(
            doors,
            side.switchboard,
            side.files,
            self._reactor,
            journal=side.journal,
            resume_seconds=settings.resume_seconds,
        )
        side.backend.setServiceParent(server)
        selection.setServiceParent(server)
        install_runtime_services(
            server,
            self._reactor,
            busy=lambda: side.switchboard.live_legs > 0,
            listening=lambda: True,
            forget=side.switchboard.forget,
            load=lazy_imports.load,
        )
        control = LocalCallControl(server, self._reactor.seconds, side.backend)
        self._running = Running(server, doors, side, control)
        server.startService()
        self.channel.tell("ready", pid=os.getpid())
        self._beat()

    def _values(self, env_file: str) -> Callable[[], Mapping[str, str]]:
        """What fills ``${NAME}`` in ``apps.toml``; the file is read anew each time."""
        return lambda: {**read_env_file(env_file), **self._environment}

    # the end

    def _stop(self) -> None:
        self._stopping = True
        self._end()

    async def close(self) -> None:
        """Part from the calls, and see to it that the front has read the last line of the log."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._running is not None:
            await maybeDeferred(self._running.server.stopService)
        if self._log_to is not None:
            self._log_to.flush()
        with suppress(WorkerGone):  # the front is in a hurry, too
            await self.channel.ask("bye")

    def _orphaned(self) -> None:
        """The front is gone: what it cannot stop must not keep its successor from the ports and journals."""
        if not self._stopping:
            os._exit(1)

    # news

    def _beat(self) -> None:
        self._timer = self._reactor.callLater(PULSE_SECONDS, self._beat)
        if self._running is None or self.channel.full:
            return
        pulse = self._pulse_of(self._running)
        self._quiet += 1
        if pulse != self._said or self._quiet >= QUIET_PULSES:
            self._said, self._quiet = pulse, 0
            self.channel.tell("pulse", **pulse)

    def _pulse_of(self, us: Running) -> Message:
        """Connections by token: those that are named once are named until they are none."""
        counts = us.doors.counts()
        before = self._said.get("connections", {})
        return {
            "live": us.side.switchboard.live_legs,
            "ports": us.doors.open_ports,
            "late": round(us.server.reactor_lag.recent_worst, 1),
            "connections": {**{token: 0 for token, number in before.items() if number}, **counts},
        }

    @staticmethod
    def _status(us: Running) -> WorkerStatusJSON:
        live = {str(key): number for key, number in us.control.live_by_extension().items()}
        return {**us.control.status(), "live_by_extension": live, "pid": os.getpid()}
