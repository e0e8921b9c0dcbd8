"""`interfaces.Control` over the running server: what the HTTP API can see and do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from twisted.logger import Logger

from audiosocket import __version__, dialplan
from audiosocket.amichannels import CallerInfo
from audiosocket.calls import Call, Ending
from audiosocket.database import Database, Row
from audiosocket.dialplan import Style
from audiosocket.errors import (
    ExtensionTaken,
    InvalidExtension,
    ReturnTaken,
    ReturnUnavailable,
    SourceUnavailable,
    UnknownAttempt,
    UnknownCall,
    UnknownExtension,
)
from audiosocket.extensions import COLUMNS, Extension, Role, parse_json, parse_row
from audiosocket.listening import ExtensionService
from audiosocket.originate import NOT_CONFIGURED
from audiosocket.readings import Report
from audiosocket.returnbackend import ReturnBackend
from audiosocket.server import AudioSocketServer
from audiosocket.watchdog import UNHEALTHY

#: Rows of the table that one answer shows: writing out more would cost the callers a frame.
ROWS_SHOWN = 2_000
_NO_BACKEND = {"kind": "none", "state": "off", "reason": NOT_CONFIGURED}


class ServerControl:
    """Answers from memory wherever it can; only what changes or lists the table asks the database."""

    _log = Logger()

    def __init__(
        self,
        server: AudioSocketServer,
        database: Database | None,
        seconds: Callable[[], float],
        api_port: int,
        backend: ReturnBackend | None = None,
    ) -> None:
        self._server = server
        self._database = database
        self._seconds = seconds
        self._api_port = api_port
        self._backend = backend
        self._started = seconds()
        self._shown: list[dict[str, Any]] = []
        self._shown_generation = -1

    # looking

    def status(self) -> dict[str, Any]:
        server, poller = self._server, self._server.poller
        extensions = self._extensions()
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
                for factory, port in server.listeners.draining.items()
            ],
            "live_calls": len(server.switchboard.registry),
            "dormant_calls": sum(call.dormant for call in server.switchboard.registry),
            "calls_total": server.switchboard.registry.started_total,
            "refused_total": server.switchboard.registry.refused_total,
            "turned_away_total": dict(server.switchboard.turned_away_total),
            "configuration": {
                "source": poller.source,
                "age_seconds": _age(now, poller.source_since),
                "file_trouble": poller.file_trouble,
            },
            "last_refresh": poller.last.as_json() if poller.last is not None else None,
            "last_success_age_seconds": None
            if poller.last_success is None
            else round(now - poller.last_success, 1),
            "database": self._database_status(),
            "return_backend": _NO_BACKEND if self._backend is None else self._backend.as_json(),
            "mislabelled_codecs": {str(key): codec for key, codec in server.switchboard.codecs.items()},
            "reactor": server.watchdog.as_json(),
            "uptime_seconds": round(self._seconds() - self._started, 1),
            "version": __version__,
        }

    def _extensions(self) -> list[dict[str, Any]]:
        """What `status` shows of each extension; made anew only when one has changed: there may be thousands."""
        listeners = self._server.listeners
        if self._shown_generation != listeners.generation:
            self._shown_generation = listeners.generation
            self._shown = [_extension_status(one) for _, one in sorted(listeners.services_by_id().items())]
        live = Counter(call.extension.id for call in self._server.switchboard.registry)
        if not live:
            return self._shown
        return [{**row, "live_calls": live[row["id"]]} if row["id"] in live else row for row in self._shown]

    def _database_status(self) -> dict[str, Any]:
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

    def calls(self) -> list[dict[str, Any]]:
        registry, now = self._server.switchboard.registry, self._seconds()
        return [call.as_json(now) for call in [*registry, *registry.recent()]]

    def call(self, call_id: UUID) -> dict[str, Any]:
        call = self._server.switchboard.registry.get(call_id)
        if call is None:
            raise UnknownCall(f"no live or recent call {call_id}")
        shown = call.as_json(self._seconds(), timeline=True)
        channels = None if self._backend is None else self._backend.channels
        if channels is not None:
            found = channels.find(call_id, call.extension.port)
            shown["caller"] = None if found is None else _caller_as_json(found)
        return shown

    def dialplan(self, extension_id: int, style: Style, wideband: bool) -> str:
        extension = _known(self._server.listeners.extensions, extension_id)
        return dialplan.lines(extension, style=style, wideband=wideband)

    def ready(self) -> tuple[bool, str]:
        if not self._server.running or not self._server.switchboard.open:
            return False, "stopping"
        if self._server.switchboard.draining:
            return False, "draining"
        if not self._server.listeners.applied:
            return False, "no configuration has been applied yet"
        wrong = self._server.listeners.mismatches()
        return not wrong, "; ".join(wrong[:5])

    def healthy(self) -> tuple[bool, str]:
        worst = self._server.watchdog.recent_worst
        late = worst > UNHEALTHY
        return not late, f"the reactor was {worst:.1f} s late within the last 10 s" if late else ""

    # doing

    def return_call(self, call_id: UUID, numbers: Sequence[str]) -> dict[str, Any]:
        call, returns = self._live(call_id), self._server.switchboard.returns
        if returns is None:
            raise ReturnUnavailable(NOT_CONFIGURED)
        returns.place(call, numbers)
        return self.call(call_id)

    def cancel_return(self, call_id: UUID) -> dict[str, Any]:
        call, returns = self._live(call_id), self._server.switchboard.returns
        if returns is None:
            raise ReturnTaken(f"no return call for {call_id} is under way")
        returns.cancel(call)
        return self.call(call_id)

    def attempt_ended(self, attempt_id: str, end: str, reason: str) -> None:
        if self._backend is None:
            raise UnknownAttempt(NOT_CONFIGURED)
        self._backend.report(attempt_id, end, reason)

    def vouches(self, signature: str, body: bytes) -> bool:
        return self._backend is not None and self._backend.vouches(signature, body)

    def _live(self, call_id: UUID) -> Call:
        call = self._server.switchboard.registry.get(call_id)
        if call is None or call.ended is not None:
            raise UnknownCall(f"no live call {call_id}")
        return call

    def hang_up(self, call_id: UUID, role: Role) -> None:
        self._server.switchboard.hang_up(call_id, role, Ending.ADMIN_HANGUP)

    async def refresh(self, *, force: bool, dry_run: bool) -> dict[str, Any]:
        return (await self._server.poller.refresh("api", force=force, dry_run=dry_run)).as_json()

    async def restart(self, *, extension_id: int | None, number: str | None) -> Extension:
        if extension_id is None:
            for key, extension in self._server.listeners.extensions.items():
                if extension.number == (number or "").strip():
                    extension_id = key
        if extension_id is None:
            raise UnknownExtension(f"no extension with ramal_ia {number!r} is running")
        return await self._server.listeners.restart(extension_id)

    async def rows(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def take(rows: Sequence[Row]) -> None:
            found.extend(_row_as_json(row) for row in rows[: ROWS_SHOWN - len(found)])

        total = await self._table().read(take)
        shown: dict[str, Any] = {"total": total, "extensions": found}
        return {**shown, "truncated": True} if total > len(found) else shown

    async def add(self, fields: Mapping[str, Any]) -> Extension:
        extension = parse_json({**fields, "id": 0})
        self._keep_off_our_port(extension)
        if self._database is None:
            return await self._keep_added(extension)
        new_id = await self._database.insert(extension.as_row(), lambda rows: _refuse_taken(extension, None, rows))
        await self._apply("api add")
        return parse_json({**extension.as_json(), "id": new_id})

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
            extension_id, new, lambda rows: _refuse_taken(extension, extension_id, rows)
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

    async def _apply(self, trigger: str, gone: Sequence[int] = ()) -> Report | None:
        """The table has been written; when it cannot be read back now, the next reading applies it."""
        try:
            return await self._server.poller.refresh(trigger, but=gone)
        except SourceUnavailable as error:
            self._log.warn("the table was changed, but it is applied later: {error}", error=str(error))
            return None

    # without a database: the local file is the table

    async def _keep(self, change: Callable[[Mapping[int, Extension]], Sequence[Extension]]) -> None:
        try:
            await self._server.poller.keep(change)
        except OSError as error:
            raise SourceUnavailable(
                f"the local file cannot be written ({error.strerror}); nothing changed"
            ) from error

    async def _keep_added(self, extension: Extension) -> Extension:
        added: list[Extension] = []

        def add(running: Mapping[int, Extension]) -> list[Extension]:
            _refuse_taken(extension, None, _as_rows(running))
            added.append(replace(extension, id=max(running, default=0) + 1))
            return [*running.values(), *added]

        await self._keep(add)
        return added[0]

    async def _keep_changed(self, extension_id: int, fields: Mapping[str, Any]) -> Extension:
        changed: list[Extension] = []

        def change(running: Mapping[int, Extension]) -> list[Extension]:
            before = _known(running, extension_id)
            extension = parse_json({**before.as_json(), **fields, "id": extension_id})
            self._keep_off_our_port(extension)
            _refuse_taken(extension, extension_id, _as_rows(running))
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


def _extension_status(service: ExtensionService) -> dict[str, Any]:
    extension, listeners, wrong = service.extension, service.listeners, service.wrong
    shown = extension.as_json()
    shown["ip"] = shown.pop("ip_servidor")
    visitor, resident = listeners.get(Role.VISITOR), listeners.get(Role.RESIDENT)
    state = "failed" if service.failed else "degraded" if wrong else "listening"
    return {
        **shown,
        "status": "ativo" if visitor is not None else "inativo",
        "state": state,
        "reason": "; ".join(wrong),
        "bind": next((listener.bind for listener in listeners.values()), None),
        "actual_porta_ia": visitor.port if visitor is not None else None,
        "actual_porta_retorno": resident.port if resident is not None else None,
        "live_calls": 0,
    }


def _caller_as_json(caller: CallerInfo) -> dict[str, str]:
    return {
        "channel": caller.channel,
        "number": caller.number,
        "name": caller.name,
        "dialled": caller.dialled,
    }


def _age(now: float, then: float | None) -> float | None:
    return None if then is None else round(max(0.0, now - then), 1)


def _as_rows(extensions: Mapping[int, Extension]) -> list[Row]:
    return [{"extension_ia_id": key, **extension.as_row()} for key, extension in extensions.items()]


def _row_as_json(row: Row) -> dict[str, Any]:
    """A row as it stands, trimmed; ports as integers where they are, so that bad rows can be seen too."""
    shown: dict[str, Any] = {}
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


def _refuse_taken(extension: Extension, own_id: int | None, rows: Sequence[Row]) -> None:
    ports = set(extension.ports().values())
    for row in rows:
        try:
            other = parse_row(row)
        except InvalidExtension:
            continue  # a row nobody can use takes nothing
        if other.id == own_id:
            continue
        if other.number == extension.number:
            raise ExtensionTaken(f"ramal_ia {extension.number} belongs to extension {other.id}")
        taken = ports.intersection(other.ports().values())
        if taken:
            raise ExtensionTaken(f"port {min(taken)} belongs to extension {other.id}")
