"""The state of the database connection, for the API, the log and whoever waits for a change."""

from __future__ import annotations

from dataclasses import dataclass

from audiosocket.json_shapes import DatabaseJSON, HistogramJSON


@dataclass(frozen=True)
class DatabaseState:
    """The state of the connection, as ``/api/status`` shows it; contains no secret.

    ``state`` is ``connecting`` (until the first attempt has ended), ``up`` or ``down`` since ``since`` (seconds of
    the reactor's clock). ``reason`` is the last error as one line, empty without one; connected but not able to
    read the table is ``up`` with a reason. ``attempts`` failed in a row, ``next_try_seconds`` is the time to the
    next one. ``listening`` is whether notifications arrive, ``backends`` the number of open sessions (0 to 2).
    ``reconnects`` is how often the connection was opened again, ``queries`` how long statements took.
    """

    state: str
    since: float
    reason: str
    attempts: int
    next_try_seconds: float | None
    listening: bool
    backends: int
    reconnects: int = 0
    queries: HistogramJSON | None = None

    def to_json(self, now: float) -> DatabaseJSON:
        """Return what the API shows at ``now``, in seconds of the reactor's clock."""
        return {
            "configured": True,
            "state": self.state,
            "since_seconds": round(now - self.since, 1),
            "reason": self.reason,
            "failed_attempts": self.attempts,
            "next_try_seconds": None if self.next_try_seconds is None else round(self.next_try_seconds, 1),
            "listening": self.listening,
            "backends": self.backends,
            "reconnects": self.reconnects,
            "queries": self.queries,
        }
