"""Connections that the server makes as JSON: the database, backends of return calls, the webhook for events."""

from __future__ import annotations

from typing import TypedDict

from audiosocket.json_shapes.process import HistogramJSON


class _DatabaseDetails(TypedDict, total=False):
    since_seconds: float
    failed_attempts: int
    next_try_seconds: float | None
    listening: bool
    backends: int
    reconnects: int
    queries: HistogramJSON | None


class DatabaseJSON(_DatabaseDetails):
    """The connection to PostgreSQL; the details are missing where no database is configured."""

    configured: bool
    state: str
    reason: str


class ConnectionJSON(TypedDict):
    """State of a connection: "off", "connecting", "up", "failing" or "down", and why."""

    state: str
    reason: str


class _IdentificationOnly(TypedDict, total=False):
    ami: ConnectionJSON


class BackendJSON(ConnectionJSON, _IdentificationOnly):
    """The backend of return calls; ``ami`` where AMI is used only to identify callers."""

    kind: str


class FleetDatabaseJSON(TypedDict):
    """The session through which the nodes share data, and the rows that wait for it."""

    state: str
    since_seconds: float
    reason: str
    waiting: int
    written_total: int
    dropped_total: int
    refused_total: int


class EventsWebhookJSON(ConnectionJSON):
    """The webhook that is sent the events: how many wait, were sent, and were dropped."""

    failed_attempts: int
    waiting: int
    sent_total: int
    dropped_total: int
