"""An extension: one row of ``extension_ia``, checked, and its three forms: row, JSON, value.

Every row is judged alone. `parse_row` and `parse_json` say what is wrong with one entry; `Validator` finds
what is wrong between entries (the same id, port or number twice). A bad entry becomes a `Problem` and
never hides a good one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeGuard

from audiosocket.errors import InvalidExtension

#: Width of the text columns: ``char(50)``.
MAX_TEXT = 50
MAX_INTEGER = 2**31 - 1
#: Problems kept word for word; a hundred thousand bad rows must not fill the memory or the log.
MAX_PROBLEMS = 100

_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,10}", re.ASCII)


class Role(str, Enum):
    """Which side of the door a leg is on; decided by the port it came in through."""

    VISITOR = "visitor"
    RESIDENT = "resident"


@dataclass(frozen=True)
class Extension:
    """One AI extension. ``number`` is what visitors call, ``return_number`` what the return call uses.

    ``server_ip`` is the address written in the row, often the public side of a NAT. ``port`` is the
    visitors' TCP port, ``return_port`` the residents' (None: no resident listener).
    """

    id: int
    number: str
    return_number: str
    server_ip: str
    port: int
    return_port: int | None
    condominium_id: int

    def ports(self) -> dict[Role, int]:
        """The TCP port of each role that has one."""
        ports = {Role.VISITOR: self.port}
        if self.return_port is not None:
            ports[Role.RESIDENT] = self.return_port
        return ports

    def to_json(self) -> dict[str, Any]:
        """The Portuguese keys of the local file and of ``/api/extensions``."""
        return {
            "id": self.id,
            "ramal_ia": self.number,
            "ramal_retorno": self.return_number,
            "ip_servidor": self.server_ip,
            "porta_ia": self.port,
            "porta_retorno": self.return_port,
            "condominio_id": self.condominium_id,
        }

    def as_row(self) -> dict[str, object]:
        """The columns of ``extension_ia`` but the id, as the table's types want them (ports are text)."""
        return {
            "extension_ia_number": self.number,
            "extension_ia_return": self.return_number,
            "extension_ia_ip": self.server_ip,
            "extension_ia_number_port": str(self.port),
            "condominium_id": self.condominium_id,
            "extension_ia_return_port": None if self.return_port is None else str(self.return_port),
        }


#: In force when there is neither a database nor a local file.
DEFAULT_EXTENSION = Extension(0, "1000", "1001", "0.0.0.0", 8080, 8081, 0)  # noqa: S104

#: Column of the table to key of the JSON; also the order in which fields are checked.
COLUMNS: Mapping[str, str] = {
    "extension_ia_id": "id",
    "extension_ia_number": "ramal_ia",
    "extension_ia_return": "ramal_retorno",
    "extension_ia_ip": "ip_servidor",
    "extension_ia_number_port": "porta_ia",
    "extension_ia_return_port": "porta_retorno",
    "condominium_id": "condominio_id",
}


@dataclass(frozen=True)
class Problem:
    """An entry that was left out and why; ``id`` is None when the entry has no readable one."""

    id: int | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As shown by the API."""
        return {"id": self.id, "reason": self.reason}


def parse_row(row: Mapping[str, object]) -> Extension:
    """The extension in a database row (column names as keys); raises `InvalidExtension`."""
    return parse_json({key: row.get(column) for column, key in COLUMNS.items()})


def parse_json(entry: object) -> Extension:
    """The extension in an entry of the local file or a request body; raises `InvalidExtension`.

    Text is trimmed; ports may be integers or text; a return port of ``0``, ``""`` or null is none.
    Missing optional keys (all but ``id``, ``ramal_ia``, ``porta_ia``) count as empty.
    """
    if not isinstance(entry, Mapping):
        raise InvalidExtension("is not an object")
    port = _port(entry, "porta_ia")
    if port is None:
        raise InvalidExtension("porta_ia is blank; it must be a TCP port (1 to 65535)", "porta_ia")
    return_port = _port(entry, "porta_retorno")
    if return_port == port:
        raise InvalidExtension(f"porta_retorno is {port}, the same as porta_ia", "porta_retorno")
    number = _text(entry, "ramal_ia")
    if not number:
        raise InvalidExtension("ramal_ia is blank; visitors need a number to call", "ramal_ia")
    return Extension(
        id=_integer(entry, "id", None),
        number=number,
        return_number=_text(entry, "ramal_retorno"),
        server_ip=_text(entry, "ip_servidor") or "0.0.0.0",  # noqa: S104
        port=port,
        return_port=return_port,
        condominium_id=_integer(entry, "condominio_id", 0),
    )


def _shown(value: object) -> str:
    try:
        text = repr(value[:60] if isinstance(value, str | bytes) else value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists in lists
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= 60 else text[:57] + "..."


def _is_scalar(value: object) -> TypeGuard[str | int]:
    """Text or an integer; not one of thousands of digits, which Python refuses to turn into text."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 10**MAX_TEXT
    return isinstance(value, str)


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not _is_scalar(value):
        raise InvalidExtension(f"{key} is {_shown(value)}, not text", key)
    text = str(value).strip()
    if len(text) > MAX_TEXT:
        raise InvalidExtension(f"{key} has {len(text)} characters, more than {MAX_TEXT}", key)
    if not text.isprintable():
        raise InvalidExtension(f"{key} is {_shown(text)}: control characters are not allowed", key)
    return text


def _port(entry: Mapping[str, Any], key: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if not _is_scalar(value):
        raise InvalidExtension(f"{key} is {_shown(value)}, not a TCP port (1 to 65535)", key)
    text = str(value).strip()
    if not text:
        return None
    number = int(text) if _PORT.fullmatch(text) else -1
    if number == 0 and key == "porta_retorno":
        return None
    if not 1 <= number <= 65_535:
        raise InvalidExtension(f"{key} is {_shown(value)}, not a TCP port (1 to 65535)", key)
    return number


def _integer(entry: Mapping[str, Any], key: str, default: int | None) -> int:
    value = entry.get(key)
    if (value is None or value == "") and default is not None:
        return default
    text = str(value).strip() if _is_scalar(value) else ""
    if not _INTEGER.fullmatch(text):
        raise InvalidExtension(f"{key} is {_shown(value)}, not an integer", key)
    if abs(int(text)) > MAX_INTEGER:
        raise InvalidExtension(f"{key} is {text}, out of the range of an integer column", key)
    return int(text)


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
            self._reject(shown_id if _is_scalar(shown_id) and isinstance(shown_id, int) else None, str(error))
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
