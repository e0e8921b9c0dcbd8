"""`control_interface.Control` over a single process."""

from __future__ import annotations

from collections.abc import Callable

from audiosocket.bots.call_tokens import CallTokens
from audiosocket.control_interface import FleetControl, fleet_status
from audiosocket.interfaces import Gate
from audiosocket.json_shapes import ServicesJSON, StatusJSON, StorageJSON
from audiosocket.postgres.database import Database
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.returncalls.backends.selection import ReturnBackend
from audiosocket.runtime.histograms import Histograms
from audiosocket.runtime.reactor_lag import MAX_HEALTHY_SECONDS
from audiosocket.runtime.storage import as_text, of_first_process, of_journal
from audiosocket.server.call_control import LocalCallControl
from audiosocket.server.draining import NodeDrain
from audiosocket.server.extension_control import TableControl
from audiosocket.server.records import RecordControl
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.transport.accept_gate import AcceptGate

#: Problems that one answer of ``/readyz`` names.
MAX_PROBLEMS = 5


class ServerControl:
    """Extensions and calls of one process. ``seconds`` is a steady clock, in seconds.

    ``services`` returns the state of the services that no other part of the status is about.
    """

    def __init__(
        self,
        server: AudioSocketServer,
        database: Database | None,
        seconds: Callable[[], float],
        api_port: int,
        selection: AppSelection,
        records: RecordControl,
        services: Callable[[], ServicesJSON],
        backend: ReturnBackend | None = None,
        histograms: Histograms | None = None,
        gate: Gate | None = None,
        tokens: CallTokens | None = None,
        accepting: AcceptGate | None = None,
        fleet_ports: range | None = None,
    ) -> None:
        self._server = server
        self.extensions = TableControl(
            server.listeners, server.poller, database, seconds, api_port, selection, fleet_ports
        )
        self.calls = LocalCallControl(server, seconds, backend, histograms, gate, tokens, accepting)
        self.records = records
        self.drain = NodeDrain(lambda: server.ending, self._unable)
        self._services = services
        #: Given later: it needs this control.
        self.fleet: FleetControl | None = None

    async def status(self) -> StatusJSON:
        calls = await self.calls.status()
        await self.extensions.catch_up(self._server.turn)
        table = self.extensions.status(self.calls.live_by_extension())
        return {
            **table,
            **calls,
            **self._services(),
            "apartments": self.records.status(),
            "drain": self.drain.to_json(),
            "fleet": fleet_status(self.fleet),
            "storage": self._storage(),
        }

    def _storage(self) -> list[StorageJSON]:
        configuration = self._server.poller.configuration
        return [*of_first_process(configuration.file_trouble), *of_journal(self._server.journal_trouble)]

    def _unable(self) -> str:
        return "" if self._server.listeners.applied else "no configuration has been applied yet"

    def ready(self) -> tuple[bool, str]:
        if not self._server.running or self._server.ending:
            return False, self._server.ending or "stopping"
        problems = [*self.calls.problems(), *self.extensions.problems()]
        return not problems, "; ".join(problems[:MAX_PROBLEMS]) or as_text(self._storage())

    def healthy(self) -> tuple[bool, str]:
        worst = self._server.reactor_lag.recent_worst
        if worst > MAX_HEALTHY_SECONDS:
            return False, f"the reactor was {worst:.1f} s late within the last 10 s"
        silent = self._server.switchboard.clock_silent_seconds
        if silent > MAX_HEALTHY_SECONDS:
            return False, f"the clock of the calls has stood still for {silent:.1f} s"
        return True, ""
