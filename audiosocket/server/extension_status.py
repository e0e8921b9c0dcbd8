"""What the status shows of the extensions: listeners, source of the configuration, database."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from audiosocket import __version__
from audiosocket.extensions.model import Role
from audiosocket.json_shapes import DatabaseJSON, ExtensionStatusJSON, FleetPortsJSON, TableStatusJSON
from audiosocket.postgres.database import Database
from audiosocket.provisioning.app_rules import CallApps
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.provisioning.extension_service import ExtensionService
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime.event_feed import rfc3339

#: Extensions that are looked at in one turn of the reactor, 1 to 2 ms.
PER_TURN = 40


class ExtensionStatus:
    """Makes the part of the status that is not about calls. ``seconds`` is a steady clock, in seconds."""

    def __init__(
        self,
        listeners: Listeners,
        poller: Poller,
        database: Database | None,
        selection: AppSelection,
        seconds: Callable[[], float],
    ) -> None:
        self._listeners = listeners
        self._poller = poller
        self._database = database
        self._selection = selection
        self._seconds = seconds
        self._started = seconds()
        self._started_at = int(time.time())
        #: What is shown of each extension, and for which generation of it and revision of the apps.
        self._rows: dict[int, tuple[tuple[int, int], ExtensionStatusJSON]] = {}
        self._shown: list[ExtensionStatusJSON] = []
        self._shown_version = ""

    async def catch_up(self, turn: Callable[[], Awaitable[object]]) -> None:
        """Look at the extensions that have changed, so that `to_json` has little to do.

        ``turn`` lets the reactor turn in between: thousands may have changed.
        """
        while self._shown_version != self._version() and len(outdated := self._outdated()) > PER_TURN:
            for service in outdated[:PER_TURN]:
                self._look_at(service)
            await turn()

    def to_json(self, live: Mapping[int, int], fleet_ports: FleetPortsJSON) -> TableStatusJSON:
        """Return the status; ``live`` has the number of live calls of each extension that has any."""
        configuration = self._poller.configuration
        extensions = self._extensions(live)
        now = time.time()
        return {
            "status": "success",
            "total_extensions": len(extensions),
            "extensions": extensions,
            "extensions_version": self._shown_version,
            "live_by_extension": {str(key): number for key, number in live.items()},
            "draining": [
                {
                    "extension_id": factory.extension.id,
                    "role": factory.role.value,
                    "port": port,
                    "connections": len(factory.connections),
                }
                for factory, port in self._listeners.draining.items()
            ],
            "fleet_ports": fleet_ports,
            "configuration": {
                "source": configuration.source,
                "age_seconds": _age(now, configuration.source_since),
                "file_trouble": configuration.file_trouble,
                "generation": self._listeners.generation,
            },
            "last_refresh": configuration.last.to_json() if configuration.last is not None else None,
            "last_success_age_seconds": None
            if configuration.last_success is None
            else round(now - configuration.last_success, 1),
            "database": self._database_status(),
            "apps": self._selection.to_json(),
            "uptime_seconds": round(self._seconds() - self._started, 1),
            "version": __version__,
        }

    def _extensions(self, live: Mapping[int, int]) -> list[ExtensionStatusJSON]:
        """Return what is shown of each extension; it is cached, as there may be thousands."""
        version = self._version()
        if self._shown_version != version:
            for service in self._outdated():
                self._look_at(service)
            keys = sorted(self._listeners.services_by_id())
            self._rows = {key: self._rows[key] for key in keys}
            self._shown = [self._rows[key][1] for key in keys]
            self._shown_version = version
        if not live:
            return self._shown
        return [{**row, "live_calls": live[row["id"]]} if row["id"] in live else row for row in self._shown]

    def _version(self) -> str:
        return f"{self._started_at}.{self._listeners.generation}.{self._selection.revision}"

    def _outdated(self) -> list[ExtensionService]:
        """Return the extensions that have changed since they were looked at, or whose apps may have."""
        revision, rows, never = self._selection.revision, self._rows, ((-1, -1), None)
        services = self._listeners.services_by_id().items()
        return [one for key, one in services if rows.get(key, never)[0] != (one.generation, revision)]

    def _look_at(self, service: ExtensionService) -> None:
        revision, apps = self._selection.revision, self._selection.choose(service.extension)
        row = _extension_status(service, apps)
        self._rows[service.extension.id] = (service.generation, revision), row

    def _database_status(self) -> DatabaseJSON:
        if self._database is None:
            return {"configured": False, "state": "off", "reason": "DB_HOST is not set"}
        return self._database.state.to_json(self._seconds())


def _extension_status(service: ExtensionService, apps: CallApps) -> ExtensionStatusJSON:
    extension, listeners = service.extension, service.listeners
    visitor, resident = listeners.get(Role.VISITOR), listeners.get(Role.RESIDENT)
    state, reason, since = service.state(time.time())
    return {
        "id": extension.id,
        "ramal_ia": extension.number,
        "ramal_retorno": extension.return_number,
        "porta_ia": extension.port,
        "porta_retorno": extension.return_port,
        "condominio_id": extension.condominium_id,
        "ip": extension.server_ip,
        "status": "ativo" if visitor is not None else "inativo",
        "state": state,
        "reason": reason,
        "since": rfc3339(since),
        "visitor_app": apps.chains[Role.VISITOR].spec,
        "resident_app": apps.chains[Role.RESIDENT].spec,
        "bind": next((listener.bind for listener in listeners.values()), None),
        "actual_porta_ia": visitor.port if visitor is not None else None,
        "actual_porta_retorno": resident.port if resident is not None else None,
        "live_calls": 0,
    }


def _age(now: float, then: float | None) -> float | None:
    return None if then is None else round(max(0.0, now - then), 1)
