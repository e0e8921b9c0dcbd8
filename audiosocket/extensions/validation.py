"""Validation of entries against each other: no id, port or number twice.

A bad entry becomes a `Problem` and does not affect the good ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import MAX_INTEGER, Extension, Problem, Role
from audiosocket.extensions.parsing import is_scalar, parse_json, parse_row

_Entry = TypeVar("_Entry")

#: Problems kept in full: a hundred thousand bad rows must not fill the memory or the log.
MAX_PROBLEMS = 100


@dataclass(frozen=True)
class ValidationResult:
    """The outcome of one reading: the valid extensions by id, and what was left out.

    ``rejected`` counts all entries left out; ``problems`` describes at most 100 of them.
    """

    extensions: tuple[Extension, ...]
    problems: tuple[Problem, ...]
    rejected: int


class Validator:
    """Validates entries as they arrive, in steps small enough not to delay audio.

    No row can displace a running extension by claiming its port or number: entries with nothing but what their
    running extension has are validated first, then those that keep its id and visitor port, then the others;
    within these groups the first in order wins. At most ``limit`` extensions are accepted.
    """

    def __init__(self, running: Iterable[Extension] = (), limit: int = MAX_INTEGER) -> None:
        self._running = {e.id: e for e in running}
        self._limit = limit
        self._changed: deque[Extension] = deque()
        self._others: deque[Extension] = deque()
        self._accepted: dict[int, Extension] = {}
        self._ports: dict[int, int] = {}
        self._numbers: dict[str, int] = {}
        self._problems: list[Problem] = []
        self._rejected = 0

    def add_rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add rows of the table, in order."""
        for row in rows:
            self._add(row, row.get("extension_ia_id"), parse_row)

    def add_entries(self, entries: Iterable[object]) -> None:
        """Add entries of the local file, in order."""
        for entry in entries:
            self._add(entry, entry.get("id") if isinstance(entry, Mapping) else None, parse_json)

    def validate_pending(self, limit: int = MAX_INTEGER) -> bool:
        """Validate at most ``limit`` of the entries put off until the end; return true when none is left."""
        for _ in range(limit):
            pending = self._changed or self._others
            if not pending:
                return True
            self._validate(pending.popleft())
        return not (self._changed or self._others)

    def result(self) -> ValidationResult:
        """Validate the entries still pending and return the result."""
        self.validate_pending()
        accepted = tuple(self._accepted[key] for key in sorted(self._accepted))
        return ValidationResult(accepted, tuple(self._problems), self._rejected)

    def _add(self, entry: _Entry, given_id: object, parse: Callable[[_Entry], Extension]) -> None:
        try:
            extension = parse(entry)
        except InvalidExtension as error:
            self._reject(given_id if is_scalar(given_id) and isinstance(given_id, int) else None, str(error))
            return
        before = self._running.get(extension.id)
        if before is not None and _claims_nothing_new(extension, before):
            self._validate(extension)
        elif before is not None and extension.port == before.port:
            self._changed.append(extension)
        else:
            self._others.append(extension)

    def _reject(self, extension_id: int | None, reason: str) -> None:
        self._rejected += 1
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(extension_id, reason))

    def _validate(self, extension: Extension) -> None:
        reason = self._conflict(extension)
        if reason:
            self._reject(extension.id, reason)
            return
        self._accepted[extension.id] = extension
        self._numbers[extension.number] = extension.id
        for port in extension.ports().values():
            self._ports[port] = extension.id

    def _conflict(self, extension: Extension) -> str:
        if extension.id in self._accepted:
            return f"id {extension.id} is used by another row"
        if extension.number in self._numbers:
            return f"ramal_ia {extension.number} belongs to extension {self._numbers[extension.number]}"
        for role, port in extension.ports().items():
            if port in self._ports:
                key = "porta_ia" if role is Role.VISITOR else "porta_retorno"
                return f"{key} {port} belongs to extension {self._ports[port]}"
        if len(self._accepted) >= self._limit:
            return f"more than {self._limit} extensions; raise MAX_EXTENSIONS to accept more"
        return ""


def _claims_nothing_new(extension: Extension, before: Extension) -> bool:
    ports = set(extension.ports().values())
    return extension.number == before.number and ports <= set(before.ports().values())
