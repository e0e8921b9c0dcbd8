"""What a worker reports of itself to the supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class WorkerReport:
    """Sent when it has changed, and once a second; all zero while the worker has no process."""

    live_legs: int = 0
    open_ports: int = 0
    #: How late its reactor was within the last 10 s, in seconds.
    late_seconds: float = 0.0
    #: How long the clock of its calls has stood still, in whole seconds.
    silent_seconds: int = 0
    #: Whether it has file descriptors for new calls.
    accepting: bool = True
    #: Open connections by token of their port. A port whose last connection has gone since the previous report is
    #: contained once more, as 0.
    connections: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the message."""
        return asdict(self)

    @classmethod
    def from_json(cls, message: Mapping[str, Any]) -> WorkerReport:
        """Return the report in a message of a worker."""
        return cls(
            message["live_legs"],
            message["open_ports"],
            message["late_seconds"],
            message["silent_seconds"],
            message["accepting"],
            dict(message["connections"]),
        )
