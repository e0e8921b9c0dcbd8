"""``GET /api/status`` as JSON, of one process and of several, and what is wrong now."""

from __future__ import annotations

from typing import Any, TypedDict

from audiosocket.json_shapes.calls import FleetCallsJSON
from audiosocket.json_shapes.connections import BackendJSON, DatabaseJSON, EventsWebhookJSON
from audiosocket.json_shapes.extensions import ExtensionStatusJSON, RefreshJSON
from audiosocket.json_shapes.fleet import FleetStatusJSON
from audiosocket.json_shapes.process import HistogramJSON, OpenFilesJSON, ReactorJSON, StorageJSON, TrafficJSON
from audiosocket.json_shapes.visits import ApartmentsJSON


class DrainingJSON(TypedDict):
    """A closed port whose connections go on."""

    extension_id: int
    role: str
    port: int
    connections: int


class ConfigurationJSON(TypedDict):
    """Where the running extensions come from: "database", "file" or "default"."""

    source: str
    age_seconds: float | None
    file_trouble: str
    generation: int


class AppRulesJSON(TypedDict):
    """The file ``apps.toml``: ``state`` is "absent", "used" or "rejected" (by ``line`` and ``reason``)."""

    file: str
    state: str
    entries: int
    line: int | None
    reason: str | None


class FleetPortsJSON(TypedDict):
    """The range of FLEET_PORTS, empty without one, and the ids of extensions with a port outside it."""

    range: str
    outside: list[int]


class TableStatusJSON(TypedDict):
    """The part of the status that is about extensions and where they come from."""

    status: str
    total_extensions: int
    extensions: list[ExtensionStatusJSON]
    #: Another text whenever anything of ``extensions`` but the calls has changed.
    extensions_version: str
    #: Live calls by extension id, of those that have any.
    live_by_extension: dict[str, int]
    draining: list[DrainingJSON]
    fleet_ports: FleetPortsJSON
    configuration: ConfigurationJSON
    last_refresh: RefreshJSON | None
    last_success_age_seconds: float | None
    database: DatabaseJSON
    apps: AppRulesJSON
    uptime_seconds: float
    version: str


class CallStatusJSON(TypedDict):
    """The part of the status that is about calls."""

    storage: list[StorageJSON]
    live_calls: int
    suspended_calls: int
    calls_total: int
    refused_total: int
    late_turns_total: int
    rejected_total: dict[str, int]
    return_backend: BackendJSON
    mislabelled_codecs: dict[str, str]
    reactor: ReactorJSON
    latencies: dict[str, HistogramJSON]
    limits_reached_total: dict[str, int]
    open_files: OpenFilesJSON
    traffic: TrafficJSON
    timings: dict[str, HistogramJSON]
    legs_by_extension: dict[str, dict[str, int]]


class WorkerStatusJSON(CallStatusJSON):
    """What one worker answers when it is asked for its status."""

    live_by_extension: dict[str, int]
    pid: int
    fleet_calls: FleetCallsJSON | None


class WorkerJSON(TypedDict):
    """One worker in the status of the supervisor; ``reactor`` is None while it does not answer."""

    index: int
    pid: int | None
    state: str
    restarts: int
    live_legs: int
    reactor: ReactorJSON | None


class ApiTokensJSON(TypedDict):
    """The tokens of the API; ``state`` of the file is "absent", "used" or "rejected" (``reason``)."""

    file: str
    state: str
    reason: str
    names: list[str]


class ServicesJSON(TypedDict):
    """The part of the status that is about services of the first process alone."""

    api_tokens: ApiTokensJSON
    events_webhook: EventsWebhookJSON
    #: None without FLEET.
    fleet_calls: FleetCallsJSON | None


class NodeDrainJSON(TypedDict):
    """Whether the balancer in front of several nodes is told to send this one no new calls, and since when."""

    active: bool
    since: str | None


class _WithApartments(TypedDict):
    apartments: ApartmentsJSON
    drain: NodeDrainJSON
    fleet: FleetStatusJSON


class StatusJSON(TableStatusJSON, CallStatusJSON, ServicesJSON, _WithApartments):
    """All of ``GET /api/status`` with one process."""


class SupervisorStatusJSON(StatusJSON):
    """The same with several workers; ``spare_worker`` is the process id of the spare one."""

    workers: list[WorkerJSON]
    spare_worker: int | None


class CurrentProblemJSON(TypedDict):
    """Something that is wrong now; ``values`` are the parts of ``what`` and ``cure`` that vary."""

    key: str
    level: str
    what: str
    cure: str
    detail: str
    values: dict[str, Any]
    extension: int | None
