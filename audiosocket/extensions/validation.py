"""Validate entries against each other: the same id, port or number twice.

A bad entry becomes a `Problem` and never hides a good one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import MAX_INTEGER, Extension, Problem, Role
from audiosocket.extensions.parsing import is_scalar, parse_json, parse_row

#: Problems kept in full; a hundred thousand bad rows must not fill the memory or the log.
MAX_PROBLEMS = 100


@dataclass(frozen=True)
class ValidationResult:
    """What is left of one reading: the good extensions by id, and what was left out.

    ``rejected`` counts all entries left out; ``problems`` describes at most 100 of them.
    """

    extensions: tuple[Extension, ...]
    problems: tuple[Problem, ...]
    rejected: int


class Validator:
    """Judges entries as they arrive, in pieces small enough to leave time for the callers.

    No row can push out a running one by claiming its port or number: entries that claim nothing but what
    their running extension holds are judged first, then those that keep its id and visitor port, then the
    others; within these groups the first in order wins. ``limit`` is the number of extensions that may be
    accepted.
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

    def offer_rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Rows of the table, in order."""
        for row in rows:
            self._offer(row, row.get("extension_ia_id"), parse_row)

    def offer_json(self, entries: Iterable[object]) -> None:
        """Entries of the local file, in order."""
        for entry in entries:
            self._offer(entry, entry.get("id") if isinstance(entry, Mapping) else None, parse_json)

    def settle(self, most: int = MAX_INTEGER) -> bool:
        """Judges at most ``most`` entries that had to wait; true when none is left."""
        for _ in range(most):
            waiting = self._changed or self._others
            if not waiting:
                return True
            self._judge(waiting.popleft())
        return not (self._changed or self._others)

    def verdict(self) -> ValidationResult:
        """The result; judges whatever still waits."""
        self.settle()
        accepted = tuple(self._accepted[key] for key in sorted(self._accepted))
        return ValidationResult(accepted, tuple(self._problems), self._rejected)

    def _offer(self, entry: Any, shown_id: object, parse: Any) -> None:
        try:
            extension: Extension = parse(entry)
        except InvalidExtension as error:
            self._reject(shown_id if is_scalar(shown_id) and isinstance(shown_id, int) else None, str(error))
            return
        before = self._running.get(extension.id)
        if before is not None and _claims_nothing_new(extension, before):
            self._judge(extension)
        elif before is not None and extension.port == before.port:
            self._changed.append(extension)
        else:
            self._others.append(extension)

    def _reject(self, extension_id: int | None, reason: str) -> None:
        self._rejected += 1
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(extension_id, reason))

    def _judge(self, extension: Extension) -> None:
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
            return f"more than {self._limit} extensions; raise MAX_EXTENSIONS if that is meant"
        return ""


def _claims_nothing_new(extension: Extension, before: Extension) -> bool:
    ports = set(extension.ports().values())
    return extension.number == before.number and ports <= set(before.ports().values())
