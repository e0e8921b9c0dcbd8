"""An extension: one row of ``extension_ia`` as a value, and its column and JSON names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from audiosocket.json_shapes import ExtensionJSON, ProblemJSON

#: Width of the text columns: ``char(50)``.
MAX_TEXT = 50
MAX_INTEGER = 2**31 - 1


class Role(str, Enum):
    """The side of a call that a leg belongs to; decided by the port it connects to."""

    VISITOR = "visitor"
    RESIDENT = "resident"


@dataclass(frozen=True)
class Extension:
    """One AI extension. Visitors call ``number``, return calls use ``return_number``.

    ``server_ip`` is the address in the row, often the public side of a NAT. ``port`` is the TCP port for
    visitors, ``return_port`` the one for residents (None: no resident listener).
    """

    id: int
    number: str
    return_number: str
    server_ip: str
    port: int
    return_port: int | None
    condominium_id: int

    def ports(self) -> dict[Role, int]:
        """Return the TCP port of each role that has one."""
        ports = {Role.VISITOR: self.port}
        if self.return_port is not None:
            ports[Role.RESIDENT] = self.return_port
        return ports

    def to_json(self) -> ExtensionJSON:
        """Return the extension under the keys of the local file and of ``/api/extensions``."""
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
        """Return the columns of ``extension_ia`` except the id, in the types of the table (ports are text)."""
        return {
            "extension_ia_number": self.number,
            "extension_ia_return": self.return_number,
            "extension_ia_ip": self.server_ip,
            "extension_ia_number_port": str(self.port),
            "condominium_id": self.condominium_id,
            "extension_ia_return_port": None if self.return_port is None else str(self.return_port),
        }


#: The configuration used when there is neither a database nor a local file.
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
    """An entry that was left out, and why; ``id`` is None when the entry has no readable one."""

    id: int | None
    reason: str

    def to_json(self) -> ProblemJSON:
        """Return the problem as shown by the API."""
        return {"id": self.id, "reason": self.reason}
