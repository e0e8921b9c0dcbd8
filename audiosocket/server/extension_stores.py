"""Where the API's changes of extensions go: the database, or the local file where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from twisted.logger import Logger

from audiosocket.control_interface import Note
from audiosocket.errors import ExtensionTaken, SourceUnavailable, UnknownExtension
from audiosocket.extensions.changes import describe_change
from audiosocket.extensions.model import COLUMNS, Extension
from audiosocket.extensions.parsing import parse_json
from audiosocket.extensions.validation import Validator
from audiosocket.json_shapes import RowJSON, RowsJSON
from audiosocket.postgres.database import Database, Row
from audiosocket.provisioning.poller import Poller

#: Rows of the table that one answer shows: writing out more would cost the callers a frame.
MAX_ROWS_SHOWN = 2_000


class ExtensionStore(Protocol):
    """The extensions as the API changes them. Errors are those of `control_interface.ExtensionControl`."""

    async def rows(self) -> RowsJSON:
        """Return the rows, the first ones of a long table."""

    async def row(self, extension_id: int) -> RowJSON:
        """Return the row of one extension; raises `UnknownExtension`."""

    async def add(self, extension: Extension) -> Extension:
        """Add and apply an extension, whose id is ignored; return it with its id."""

    async def change(self, extension_id: int, fields: Mapping[str, Any], note: Note) -> Extension:
        """Change the given fields of an extension, and apply it; ``note`` is given what changed, as text."""

    async def remove(self, extension_id: int, note: Note) -> None:
        """Remove an extension, and apply that."""


class DatabaseStore:
    """The table of the database. ``check`` raises for an extension that must not be stored."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        poller: Poller,
        check: Callable[[Extension], object],
        running: Callable[[], Iterable[Extension]],
    ) -> None:
        self._database = database
        self._poller = poller
        self._check = check
        self._running = running

    async def rows(self) -> RowsJSON:
        shown: list[RowJSON] = []

        def take(rows: Sequence[Row]) -> None:
            shown.extend(row_to_json(row) for row in rows[: MAX_ROWS_SHOWN - len(shown)])

        total = await self._database.read(take)
        answer: RowsJSON = {"total": total, "extensions": shown}
        return {**answer, "truncated": True} if total > len(shown) else answer

    async def row(self, extension_id: int) -> RowJSON:
        found: list[Row] = []
        await self._database.read(
            lambda rows: found.extend(row for row in rows if row.get("extension_ia_id") == extension_id)
        )
        if not found:
            raise UnknownExtension(f"the table has no extension with id {extension_id}")
        return row_to_json(found[0])

    async def add(self, extension: Extension) -> Extension:
        with self._requested(replace(extension, id=0)):
            return await self._add(extension)

    async def _add(self, extension: Extension) -> Extension:
        new_id = await self._database.insert(
            extension.as_row(), lambda rows: _check_not_taken(extension, None, self._usable(rows))
        )
        await self._apply("api add")
        return parse_json({**extension.to_json(), "id": new_id})

    async def change(self, extension_id: int, fields: Mapping[str, Any], note: Note) -> Extension:
        rows: list[Row] = []
        await self._database.read(rows.extend)
        row = next((row for row in rows if row.get("extension_ia_id") == extension_id), None)
        if row is None:
            raise _no_row(extension_id)
        before = row_to_json(row)
        extension = parse_json({**before, **fields, "id": extension_id})
        self._check(extension)
        with self._requested(extension):
            new = {column: value for column, value in extension.as_row().items() if COLUMNS[column] in fields}
            found = not new or await self._database.update(
                extension_id, new, lambda rows: _check_not_taken(extension, before, self._usable(rows))
            )
            if not found:
                raise _no_row(extension_id)
            changed = {key: value for key, value in extension.to_json().items() if key in fields}
            note(describe_change(before, changed))
            await self._apply("api change")
        return extension

    async def remove(self, extension_id: int, note: Note) -> None:
        removed = _removed(extension_id, self._running())
        with self._requested(extension_id):
            if not await self._database.delete(extension_id):
                raise _no_row(extension_id)
            note(removed)
            await self._apply("api remove", gone=(extension_id,))

    @contextmanager
    def _requested(self, what: Extension | int) -> Iterator[None]:
        """Have this change logged with its request only, whichever refresh applies it."""
        requested = self._poller.configuration.requested
        requested.add(what)
        try:
            yield
        finally:
            requested.discard(what)

    def _usable(self, rows: Sequence[Row]) -> Iterable[Extension]:
        """Return the rows that may run: a rejected one, such as a duplicate, occupies no port and no number."""
        validator = Validator(self._running())
        validator.add_rows(rows)
        return validator.result().extensions

    async def _apply(self, trigger: str, gone: Sequence[int] = ()) -> None:
        """Read the changed table; when that fails now, the next refresh applies the change."""
        try:
            await self._poller.refresh(trigger, but=gone)
        except SourceUnavailable as error:
            self._log.warn(
                "the table was changed, but cannot be read: {error}; the next refresh applies the change",
                error=str(error),
            )


class FileStore:
    """The local file. ``check`` raises for an extension that must not be stored."""

    def __init__(self, poller: Poller, check: Callable[[Extension], object]) -> None:
        self._poller = poller
        self._check = check

    async def rows(self) -> RowsJSON:
        configuration = self._poller.configuration
        running = configuration.running
        shown = [_shown(one) for one in running[:MAX_ROWS_SHOWN]]
        return {"total": len(running), "extensions": shown, "source": configuration.source}

    async def row(self, extension_id: int) -> RowJSON:
        return _shown(running_extension({one.id: one for one in self._poller.configuration.running}, extension_id))

    async def add(self, extension: Extension) -> Extension:
        added: list[Extension] = []

        def add(running: Mapping[int, Extension]) -> list[Extension]:
            _check_not_taken(extension, None, running.values())
            added.append(replace(extension, id=max(running, default=0) + 1))
            return [*running.values(), *added]

        await self._keep(add)
        return added[0]

    async def change(self, extension_id: int, fields: Mapping[str, Any], note: Note) -> Extension:
        changed: list[Extension] = []
        described: list[str] = []

        def change(running: Mapping[int, Extension]) -> list[Extension]:
            before = running_extension(running, extension_id)
            extension = parse_json({**before.to_json(), **fields, "id": extension_id})
            self._check(extension)
            _check_not_taken(extension, before.to_json(), running.values())
            changed.append(extension)
            described.append(describe_change(before.to_json(), extension.to_json()))
            return [extension if key == extension_id else other for key, other in running.items()]

        await self._keep(change)
        note(described[0])
        return changed[0]

    async def remove(self, extension_id: int, note: Note) -> None:
        described: list[str] = []

        def remove(running: Mapping[int, Extension]) -> list[Extension]:
            described.append(describe_change(running_extension(running, extension_id).to_json(), None))
            return [other for key, other in running.items() if key != extension_id]

        await self._keep(remove)
        note(described[0])

    async def _keep(self, change: Callable[[Mapping[int, Extension]], Sequence[Extension]]) -> None:
        try:
            await self._poller.keep(change)
        except OSError as error:
            raise SourceUnavailable(
                f"the local file cannot be written ({error.strerror}); nothing changed"
            ) from error


def running_extension(running: Mapping[int, Extension], extension_id: int) -> Extension:
    """Return the running extension with this id; raises `UnknownExtension`."""
    if extension_id not in running:
        raise UnknownExtension(f"no extension with id {extension_id} is running")
    return running[extension_id]


def _removed(extension_id: int, running: Iterable[Extension]) -> str:
    """Describe the removal of a row; one that did not run was rejected and has only its id."""
    known = next((one for one in running if one.id == extension_id), None)
    return describe_change({"id": extension_id} if known is None else known.to_json(), None)


def _no_row(extension_id: int) -> UnknownExtension:
    return UnknownExtension(f"no row with extension_ia_id {extension_id}")


def row_to_json(row: Row) -> RowJSON:
    """Return a row as it is, trimmed, valid or not; ports as integers where they can be."""
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


def _check_not_taken(extension: Extension, before: Mapping[str, Any] | None, others: Iterable[Extension]) -> None:
    """Raise `ExtensionTaken` when the number or a port belongs to another extension.

    ``before`` is the extension that is being changed: what it has already is not compared.
    """
    had = before or {}
    ports = set(extension.ports().values()) - {had.get("porta_ia"), had.get("porta_retorno")}
    number = None if had.get("ramal_ia") == extension.number else extension.number
    for other in others:
        if before is not None and other.id == extension.id:
            continue
        if other.number == number:
            raise ExtensionTaken(f"ramal_ia {extension.number} belongs to extension {other.id}")
        taken = ports & {other.port, other.return_port}
        if taken:
            raise ExtensionTaken(f"port {min(port for port in taken if port)} belongs to extension {other.id}")


def _shown(extension: Extension) -> RowJSON:
    return row_to_json({"extension_ia_id": extension.id, **extension.as_row()})
