"""All that a single process hands over, and how the next one begins with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from audiosocket import __version__
from audiosocket.calls.journal import CallJournal
from audiosocket.errors import AudioSocketError
from audiosocket.provisioning import port_transfer
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.port_transfer import InheritedPorts
from audiosocket.runtime.file_thread import FileThread
from audiosocket.server.api_port import ApiPort
from audiosocket.server.draining import NodeDrain
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.transport.clock import MediaClock
from audiosocket.upgrade import call_transfer
from audiosocket.upgrade.call_transfer import TakenOverCalls
from audiosocket.upgrade.predecessor import NextProcess, Upgrade

_log = Logger()


class CannotTakeOver(AudioSocketError):
    """This process cannot go on with what the previous one has."""


@dataclass
class HandOver:
    """The parts of a process that are handed over. ``pid_file`` is its pid file, an empty text without one."""

    server: AudioSocketServer
    listeners: Listeners
    journal: CallJournal
    api: ApiPort
    drain: NodeDrain
    clock: MediaClock
    reactor: ServerReactor
    pid_file: str = ""

    def save(self, descriptors: list[int]) -> Mapping[str, Any]:
        """Return everything as a value; append the descriptors that go with it. Changes nothing."""
        journal = api = None
        if self.journal.handle is not None:
            journal = len(descriptors)
            descriptors.append(self.journal.handle)
        if self.api.listening_socket is not None:
            api = len(descriptors)
            descriptors.append(self.api.listening_socket.fileno())
        return {
            "version": __version__,
            "pid_file": self.pid_file,
            "drains": bool(self.drain.to_json()["active"]),
            "journal": journal,
            "api": api,
            "ports": port_transfer.save(self.listeners, descriptors),
            **call_transfer.save(self.server.switchboard, descriptors),
        }

    def prepare(self, saved: Any, descriptors: Sequence[int]) -> Callable[[Callable[[], object]], object]:
        """Return what begins with ``saved``. Raises `CannotTakeOver`."""
        if saved["journal"] is not None and not self.journal.adopt(descriptors[saved["journal"]]):
            raise CannotTakeOver("its DATA_DIR is another one, or calls.journal was removed; restart the service")
        return lambda start: self._begin(saved, descriptors, start)

    def _begin(self, saved: Mapping[str, Any], descriptors: Sequence[int], start: Callable[[], object]) -> None:
        if saved["journal"] is None:  # what it has of these calls is older than what was handed over
            self.journal.open()
        ports = InheritedPorts(self.listeners)
        ports.load(saved["ports"], descriptors)
        if saved["api"] is not None:
            self.api.inherit(descriptors[saved["api"]])
        calls = TakenOverCalls(self.server.switchboard, self.clock, self.reactor)
        legs = calls.load(saved, descriptors, ports.factory)
        # The services take as long as all of this: the legs have a turn before.
        self.reactor.callLater(0, start)
        self.server.await_suspended()
        if saved["drains"]:
            self.drain.begin()
        self.pid_file = str(saved["pid_file"])
        if self.pid_file:
            self._write_pid_file(Path(self.pid_file))
        _log.info(
            "process {pid} goes on with {legs} legs of the previous process, version {version}",
            pid=os.getpid(),
            legs=legs,
            version=saved["version"],
        )

    def _write_pid_file(self, path: Path) -> None:
        try:
            path.write_text(f"{os.getpid()}", encoding="ascii")
        except OSError as error:
            _log.warn("{path} cannot be written: {why}", path=str(path), why=error.strerror)
            return
        self.reactor.addSystemEventTrigger("after", "shutdown", path.unlink, missing_ok=True)


def offer_upgrades(parts: HandOver, following: NextProcess, files: FileThread) -> Upgrade:
    """Let `AudioSocketServer.upgrade` replace this process by the ``following`` one."""
    server = parts.server
    upgrade = Upgrade(
        following,
        parts.reactor,
        save=parts.save,
        lock=parts.listeners.lock,
        files=files,
        ending=lambda: server.ending,
        leave=lambda: os._exit(0),
    )
    server.upgrade = upgrade.begin
    upgrade.setServiceParent(server)
    return upgrade
