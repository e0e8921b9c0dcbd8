"""`control_interface.ExtensionControl` over the listeners, the poller and the database of this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from audiosocket.asterisk import dialplan
from audiosocket.asterisk.dialplan import Style
from audiosocket.control_interface import Note, ignore
from audiosocket.errors import ExtensionTaken, InvalidExtension, UnknownExtension
from audiosocket.extensions.changes import describe_change
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.parsing import parse_json
from audiosocket.json_shapes import (
    ExtensionAppsJSON,
    FleetPortsJSON,
    RefreshJSON,
    RowJSON,
    RowsJSON,
    TableStatusJSON,
)
from audiosocket.postgres.database import Database
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.server.extension_status import ExtensionStatus
from audiosocket.server.extension_stores import DatabaseStore, ExtensionStore, FileStore, running_extension


class TableControl:
    """Answers from memory where it can; only what lists or changes the table asks the database.

    ``seconds`` is a steady clock, in seconds; ``api_port`` is never given to an extension. ``fleet_ports``
    are those that a balancer in front passes on.
    """

    def __init__(
        self,
        listeners: Listeners,
        poller: Poller,
        database: Database | None,
        seconds: Callable[[], float],
        api_port: int,
        selection: AppSelection,
        fleet_ports: range | None = None,
    ) -> None:
        self._selection = selection
        self._listeners = listeners
        self._poller = poller
        self._api_port = api_port
        self._fleet_ports = fleet_ports
        self._status = ExtensionStatus(listeners, poller, database, selection, seconds)
        self._store: ExtensionStore = (
            FileStore(poller, self._check)
            if database is None
            else DatabaseStore(database, poller, self._check, running=self._running)
        )

    def problems(self) -> list[str]:
        """Return why the listeners do not match the desired state, one sentence each; none when they do."""
        if not self._listeners.applied:
            return ["no configuration has been applied yet"]
        return self._listeners.mismatches()

    async def catch_up(self, turn: Callable[[], Awaitable[object]]) -> None:
        """Prepare `status` after a change of many extensions; ``turn`` lets the reactor turn in between."""
        await self._status.catch_up(turn)

    def status(self, live: Mapping[int, int]) -> TableStatusJSON:
        """Return the part of the status that is not about calls; ``live`` has the live calls of each extension."""
        return self._status.to_json(live, self._fleet_ports_status())

    def _fleet_ports_status(self) -> FleetPortsJSON:
        ports = self._fleet_ports
        if ports is None:
            return {"range": "", "outside": []}
        running = self._listeners.extensions.values()
        outside = [one.id for one in running if not all(port in ports for port in one.ports().values())]
        return {"range": f"{ports[0]}-{ports[-1]}", "outside": sorted(outside)}

    def apps_of(self, extension_id: int) -> ExtensionAppsJSON:
        extension = running_extension(self._listeners.extensions, extension_id)
        return {"extension_id": extension_id, **self._selection.choose(extension).to_json()}

    def dialplan(
        self, extension_id: int | None, style: Style, wideband: bool, host: str = "", asked_at: str = ""
    ) -> str:
        running, wrong = self._listeners.extensions, list[str]()
        if extension_id is None:
            chosen, wrong = dialplan.select_printable([running[key] for key in sorted(running)], host)
        else:
            chosen = [running_extension(running, extension_id)]
        otherwise = dialplan.place(self._listeners.ports.bind_address, asked_at)
        return dialplan.lines(*chosen, style=style, host=host, otherwise=otherwise, wideband=wideband, wrong=wrong)

    async def refresh(self, *, force: bool, dry_run: bool) -> RefreshJSON:
        return (await self._poller.refresh("api", force=force, dry_run=dry_run)).to_json()

    async def restart(self, *, extension_id: int | None, number: str | None) -> Extension:
        if extension_id is None:
            for key, extension in self._listeners.extensions.items():
                if extension.number == (number or "").strip():
                    extension_id = key
        if extension_id is None:
            raise UnknownExtension(f"no extension with ramal_ia {number!r} is running")
        return await self._listeners.restart(extension_id)

    async def rows(self) -> RowsJSON:
        return await self._store.rows()

    async def row(self, extension_id: int) -> RowJSON:
        return await self._store.row(extension_id)

    async def add(self, fields: Mapping[str, Any], note: Note = ignore) -> Extension:
        extension = parse_json({**fields, "id": 0})
        self._check(extension)
        self._check_fleet_ports(extension)
        added = await self._store.add(extension)
        note(describe_change(None, added.to_json()))
        return added

    async def change(self, extension_id: int, fields: Mapping[str, Any], note: Note = ignore) -> Extension:
        return await self._store.change(extension_id, fields, note)

    async def remove(self, extension_id: int, note: Note = ignore) -> None:
        await self._store.remove(extension_id, note)

    def _running(self) -> Iterable[Extension]:
        return self._listeners.extensions.values()

    def _check_fleet_ports(self, extension: Extension) -> None:
        names = {Role.VISITOR: "porta_ia", Role.RESIDENT: "porta_retorno"}
        for role, port in extension.ports().items():
            ports = self._fleet_ports
            if ports is not None and port not in ports:
                raise InvalidExtension(
                    f"port {port} is outside FLEET_PORTS ({ports[0]}-{ports[-1]}), so that no call would arrive; "
                    "take a port inside, or change the balancer and FLEET_PORTS",
                    names[role],
                )

    def _check(self, extension: Extension) -> None:
        if self._api_port in extension.ports().values():
            raise ExtensionTaken(f"port {self._api_port} is the API's own")
