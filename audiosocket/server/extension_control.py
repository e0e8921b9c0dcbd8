"""The half of `interfaces.Control` that concerns extensions: the table, what runs of it, and what is shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.logger import Logger

from audiosocket import __version__
from audiosocket.asterisk import dialplan
from audiosocket.asterisk.dialplan import Style
from audiosocket.errors import ExtensionTaken, InvalidExtension, SourceUnavailable, UnknownExtension
from audiosocket.extensions.model import COLUMNS, Extension, Role
from audiosocket.extensions.parsing import parse_json, parse_row
from audiosocket.json_shapes import (
    DatabaseJSON,
    ExtensionStatusJSON,
    RefreshJSON,
    RowJSON,
    RowsJSON,
    TableStatusJSON,
)
from audiosocket.postgres.database import Database, Row
from audiosocket.provisioning.app_rules_file import AppSelection
from audiosocket.provisioning.extension_service import ExtensionService
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.provisioning.refresh_report import RefreshReport

#: Rows of the table that one answer shows: writing out more would cost the callers a frame.
ROWS_SHOWN = 2_000


class TableControl:
    """Answers from memory wherever it can; only what changes or lists the table asks the database."""

    _log = Logger()

    def __init__(
        self,
        listeners: Listeners,
        poller: Poller,
        database: Database | None,
        seconds: Callable[[], float],
        api_port: int,
        selection: AppSelection,
    ) -> None:
        self._selection = selection
        self._listeners = listeners
        self._poller = poller
        self._database = database
        self._seconds = seconds
        self._api_port = api_port
        self._started = seconds()
        self._shown: list[ExtensionStatusJSON] = []
        self._shown_generation = -1

    def problems(self) -> list[str]:
        """Return why the listeners do not match the desired state, one sentence each; none when they do."""
        if not self._listeners.applied:
            return ["no configuration has been applied yet"]
        return self._listeners.mismatches()

    def status(self, live: Mapping[int, int]) -> TableStatusJSON:
        """Return the part of the status that is not about calls; ``live`` has the live calls of each extension."""
        poller = self._poller
        extensions = self._extensions(live)
        now = time.time()
        return {
            "status": "success",
            "total_extensions": len(extensions),
            "extensions": extensions,
            "draining": [
                {
                    "extension_id": factory.extension.id,
                    "role": factory.role.value,
                    "port": port,
                    "connections": len(factory.connections),
                }
                for factory, port in self._listeners.draining.items()
            ],
            "configuration": {
                "source": poller.source,
                "age_seconds": _age(now, poller.source_since),
                "file_trouble": poller.file_trouble,
            },
            "last_refresh": poller.last.to_json() if poller.last is not None else None,
            "last_success_age_seconds": None
            if poller.last_success is None
            else round(now - poller.last_success, 1),
            "database": self._database_status(),
            "apps": self._selection.to_json(),
            "uptime_seconds": round(self._seconds() - self._started, 1),
            "version": __version__,
        }

    def _extensions(self, live: Mapping[int, int]) -> list[ExtensionStatusJSON]:
        """What `status` shows of each extension; made anew only when one has changed: there may be thousands."""
        listeners = self._listeners
        if self._shown_generation != listeners.generation:
            self._shown_generation = listeners.generation
            self._shown = [_extension_status(one) for _, one in sorted(listeners.services_by_id().items())]
        if not live:
            return self._shown
        return [{**row, "live_calls": live[row["id"]]} if row["id"] in live else row for row in self._shown]

    def _database_status(self) -> DatabaseJSON:
        if self._database is None:
            return {"configured": False, "state": "off", "reason": "DB_HOST is not set"}
        state = self._database.state
        return {
            "configured": True,
            "state": state.state,
            "since_seconds": round(self._seconds() - state.since, 1),
            "reason": state.reason,
            "failed_attempts": state.attempts,
            "next_try_seconds": None if state.next_try_seconds is None else round(state.next_try_seconds, 1),
            "listening": state.listening,
            "backends": state.backends,
        }

    def apps_of(self, extension_id: int) -> dict[str, Any]:
        extension = _known(self._listeners.extensions, extension_id)
        return {"extension_id": extension_id, **self._selection.choose(extension).to_json()}

    def dialplan(
        self, extension_id: int | None, style: Style, wideband: bool, host: str = "", asked_at: str = ""
    ) -> str:
        running, wrong = self._listeners.extensions, list[str]()
        if extension_id is None:
            chosen, wrong = dialplan.select_printable([running[key] for key in sorted(running)], host)
        else:
            chosen = [_known(running, extension_id)]
        otherwise = dialplan.place(self._listeners.bind_address, asked_at)
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
        found: list[RowJSON] = []

        def take(rows: Sequence[Row]) -> None:
            found.extend(_row_as_json(row) for row in rows[: ROWS_SHOWN - len(found)])

        total = await self._table().read(take)
        shown: RowsJSON = {"total": total, "extensions": found}
        return {**shown, "truncated": True} if total > len(found) else shown

    async def add(self, fields: Mapping[str, Any]) -> Extension:
        extension = parse_json({**fields, "id": 0})
        self._keep_off_our_port(extension)
        if self._database is None:
            return await self._keep_added(extension)
        new_id = await self._database.insert(
            extension.as_row(), lambda rows: _refuse_taken(extension, None, _usable(rows))
        )
        await self._apply("api add")
        return parse_json({**extension.to_json(), "id": new_id})

    async def change(self, extension_id: int, fields: Mapping[str, Any]) -> Extension:
        if self._database is None:
            return await self._keep_changed(extension_id, fields)
        rows: list[Row] = []
        await self._database.read(rows.extend)
        before = next((row for row in rows if row.get("extension_ia_id") == extension_id), None)
        if before is None:
            raise UnknownExtension(f"no row with extension_ia_id {extension_id}")
        extension = parse_json({**_row_as_json(before), **fields, "id": extension_id})
        self._keep_off_our_port(extension)
        new = {column: value for column, value in extension.as_row().items() if COLUMNS[column] in fields}
        found = not new or await self._database.update(
            extension_id, new, lambda rows: _refuse_taken(extension, extension_id, _usable(rows))
        )
        if not found:
            raise UnknownExtension(f"no row with extension_ia_id {extension_id}")
        await self._apply("api change")
        return extension

    async def remove(self, extension_id: int) -> None:
        if self._database is None:
            await self._keep_removed(extension_id)
            return
        if not await self._database.delete(extension_id):
            raise UnknownExtension(f"no row with extension_ia_id {extension_id}")
        await self._apply("api remove", gone=(extension_id,))

    def _table(self) -> Database:
        if self._database is None:
            raise SourceUnavailable("no database is configured; set DB_HOST, or see /api/status for what runs")
        return self._database

    def _keep_off_our_port(self, extension: Extension) -> None:
        if self._api_port in extension.ports().values():
            raise ExtensionTaken(f"port {self._api_port} is the API's own")

    async def _apply(self, trigger: str, gone: Sequence[int] = ()) -> RefreshReport | None:
        """The table has been written; when it cannot be read back now, the next reading applies it."""
        try:
            return await self._poller.refresh(trigger, but=gone)
        except SourceUnavailable as error:
            self._log.warn("the table was changed, but it is applied later: {error}", error=str(error))
            return None

    # without a database: the local file is the table

    async def _keep(self, change: Callable[[Mapping[int, Extension]], Sequence[Extension]]) -> None:
        try:
            await self._poller.keep(change)
        except OSError as error:
            raise SourceUnavailable(
                f"the local file cannot be written ({error.strerror}); nothing changed"
            ) from error

    async def _keep_added(self, extension: Extension) -> Extension:
        added: list[Extension] = []

        def add(running: Mapping[int, Extension]) -> list[Extension]:
            _refuse_taken(extension, None, running.values())
            added.append(replace(extension, id=max(running, default=0) + 1))
            return [*running.values(), *added]

        await self._keep(add)
        return added[0]

    async def _keep_changed(self, extension_id: int, fields: Mapping[str, Any]) -> Extension:
        changed: list[Extension] = []

        def change(running: Mapping[int, Extension]) -> list[Extension]:
            before = _known(running, extension_id)
            extension = parse_json({**before.to_json(), **fields, "id": extension_id})
            self._keep_off_our_port(extension)
            _refuse_taken(extension, extension_id, running.values())
            changed.append(extension)
            return [extension if key == extension_id else other for key, other in running.items()]

        await self._keep(change)
        return changed[0]

    async def _keep_removed(self, extension_id: int) -> None:
        def remove(running: Mapping[int, Extension]) -> list[Extension]:
            _known(running, extension_id)
            return [other for key, other in running.items() if key != extension_id]

        await self._keep(remove)


def _known(running: Mapping[int, Extension], extension_id: int) -> Extension:
    if extension_id not in running:
        raise UnknownExtension(f"no extension with id {extension_id} is running")
    return running[extension_id]


def _extension_status(service: ExtensionService) -> ExtensionStatusJSON:
    extension, listeners, wrong = service.extension, service.listeners, service.wrong
    visitor, resident = listeners.get(Role.VISITOR), listeners.get(Role.RESIDENT)
    state = "failed" if service.failed else "degraded" if wrong else "listening"
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
        "reason": "; ".join(wrong),
        "bind": next((listener.bind for listener in listeners.values()), None),
        "actual_porta_ia": visitor.port if visitor is not None else None,
        "actual_porta_retorno": resident.port if resident is not None else None,
        "live_calls": 0,
    }


def _age(now: float, then: float | None) -> float | None:
    return None if then is None else round(max(0.0, now - then), 1)


def _row_as_json(row: Row) -> RowJSON:
    """A row as it stands, trimmed; ports as integers where they are, so that bad rows can be seen too."""
    shown: RowJSON = {}
    for column, key in COLUMNS.items():
        value = row.get(column)
        shown[key] = value.strip() if isinstance(value, str) else value
    for key in ("porta_ia", "porta_retorno"):
        text = shown[key]
        if isinstance(text, str):
            shown[key] = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    if shown["porta_retorno"] in {0, ""}:
        shown["porta_retorno"] = None
    return shown


def _usable(rows: Iterable[Row]) -> Iterator[Extension]:
    """Those rows that are extensions: a row nobody can use takes nothing."""
    for row in rows:
        with suppress(InvalidExtension):
            yield parse_row(row)


def _refuse_taken(extension: Extension, own_id: int | None, others: Iterable[Extension]) -> None:
    ports = set(extension.ports().values())
    for other in others:
        if other.id == own_id:
            continue
        if other.number == extension.number:
            raise ExtensionTaken(f"ramal_ia {extension.number} belongs to extension {other.id}")
        taken = ports & {other.port, other.return_port}
        if taken:
            raise ExtensionTaken(f"port {min(port for port in taken if port)} belongs to extension {other.id}")
