"""The JSON objects of the HTTP API, the local file and the workers' answers, as TypedDicts.

Each is made by one ``to_json``. Keys and values are promises to clients: ``docs/http-api.md`` describes them.
Durations are seconds, ages are seconds before now.
"""

from __future__ import annotations

from typing import Any, TypedDict


class ExtensionJSON(TypedDict):
    """An extension as in the local file and in requests; made by `Extension.to_json`."""

    id: int
    ramal_ia: str
    ramal_retorno: str
    ip_servidor: str
    porta_ia: int
    porta_retorno: int | None
    condominio_id: int


class LocalFileJSON(TypedDict):
    """The local file; ``saved_at`` is an ISO time in UTC, ``source`` where the extensions came from.

    ``checksum`` is that of ``ramais``: it differs in a file that was edited by hand.
    """

    ramais: list[ExtensionJSON]
    saved_at: str
    source: str
    checksum: str


class ProblemJSON(TypedDict):
    """A row or entry that was left out; ``id`` is None when it has no readable one."""

    id: int | None
    reason: str


class CallerJSON(TypedDict):
    """The telephone behind a leg, as Asterisk reports it; a text is empty where it is not known."""

    channel: str
    number: str
    name: str
    dialled: str


class MarkJSON(TypedDict):
    """A mark of played audio; ``at_seconds`` is when it was reached, in seconds since the call began."""

    at_seconds: float
    name: str


class _LegDetails(TypedDict, total=False):
    sound_in: list[list[float]]
    sound_out: list[list[float]]
    late: list[list[float]]
    marks: list[MarkJSON]


class LegJSON(_LegDetails):
    """One leg of a call; ``state`` is "live", "suspended" or "ended".

    Levels are in dBFS. The details are pairs of seconds since the call began; only where one call is asked for.
    """

    role: str
    peer: str
    port: int
    state: str
    outcome: str | None
    duration_seconds: float
    rate: int
    frames_in: int
    frames_out: int
    silence_out: int
    late_turns: int
    underruns: int
    digits: int
    ignored: int
    resumes: int
    #: Figures of the leg's app, such as a bot's latencies; None for most apps.
    app: dict[str, object] | None
    level_in: float | None
    level_out: float | None


class AttemptJSON(TypedDict):
    """One number of a return call; ``end`` is None while it rings."""

    number: str
    end: str | None
    reason: str
    seconds: float


class ReturnCallJSON(TypedDict):
    """A return call to a resident, with its attempts in order."""

    state: str
    reason: str
    attempts: list[AttemptJSON]


#: The latest return call of a call and, oldest first, those before it. ("return" is a keyword of Python.)
ReturnsJSON = TypedDict(
    "ReturnsJSON", {"return": "ReturnCallJSON | None", "earlier_returns": "list[ReturnCallJSON]"}
)

#: One event of a call: ``event``, ``at`` and ``ms``, and the fields of that event; see ``calls/events.py``.
TimelineEntryJSON = dict[str, Any]


class _Timeline(TypedDict, total=False):
    timeline: list[TimelineEntryJSON]


class CallJSON(ReturnsJSON, _Timeline):
    """A call; ``state`` is "live", "suspended" or "ended"; ``timeline`` only where one call is asked for."""

    call_id: str
    state: str
    outcome: str | None
    extension: ExtensionJSON
    started_at: str
    duration_seconds: float
    caller: CallerJSON | None
    legs: list[LegJSON]


class CallPageJSON(TypedDict):
    """A page of calls; ``next_cursor`` asks for the calls after them, None when these are the last."""

    total: int
    calls: list[CallJSON]
    next_cursor: str | None


class RefreshStatsJSON(TypedDict, total=False):
    """How many extensions a refresh changed; empty when it failed."""

    removed: int
    updated: int
    added: int
    total_active: int


class RefreshDiffJSON(TypedDict, total=False):
    """Ids of the extensions that a refresh changed; empty when nothing was compared."""

    added: list[int]
    updated: list[int]
    removed: list[int]


class RefreshJSON(TypedDict):
    """A refresh; ``result`` is "applied", "unchanged", "held_back", "failed" or "previewed"."""

    trigger: str
    result: str
    reason: str
    age_seconds: float
    duration_seconds: float
    stats: RefreshStatsJSON
    diff: RefreshDiffJSON
    rejected: int
    rejected_rows: list[ProblemJSON]


#: A row as it stands in the table, trimmed, under the keys of `ExtensionJSON`; values may be of any JSON type.
RowJSON = dict[str, Any]


class _Truncated(TypedDict, total=False):
    truncated: bool
    source: str


class RowsJSON(_Truncated):
    """The rows of the table; ``truncated`` is there, and true, when not all of them are shown.

    Without a database the running extensions, and ``source`` says where they come from: "file" or "default".
    """

    total: int
    extensions: list[RowJSON]


class ExtensionStatusJSON(TypedDict):
    """A running extension in the status; ``state`` is "listening", "degraded" or "failed".

    ``since`` is when that state and reason began (RFC 3339, UTC); ``…_app`` is what new legs run.
    """

    id: int
    ramal_ia: str
    ramal_retorno: str
    ip: str
    porta_ia: int
    porta_retorno: int | None
    condominio_id: int
    status: str
    state: str
    reason: str
    since: str
    visitor_app: str
    resident_app: str
    bind: str | None
    actual_porta_ia: int | None
    actual_porta_retorno: int | None
    live_calls: int


#: The apps of one role: the text that names them, their names, and ``from``, where they are chosen.
ChainJSON = TypedDict("ChainJSON", {"app": str, "apps": "list[str]", "from": str})

#: The parameters of one app as they are in ``apps.toml``, secrets masked, and ``from``, where they are.
AppParametersJSON = TypedDict("AppParametersJSON", {"from": str, "values": "dict[str, Any]"})


class AppsJSON(TypedDict):
    """The apps of an extension's legs; ``options`` are the fields of `CallPolicy`."""

    visitor: ChainJSON
    resident: ChainJSON
    parameters: dict[str, AppParametersJSON]
    options: dict[str, Any]


class ExtensionAppsJSON(AppsJSON):
    """``GET /api/extensions/{id}/apps``."""

    extension_id: int


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


class HistogramJSON(TypedDict):
    """Durations in milliseconds; ``buckets`` counts by upper bound, "inf" the last."""

    count: int
    sum_ms: float
    max_ms: float
    buckets: dict[str, int]


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


class BlockedByJSON(TypedDict):
    """One cause of a blocked reactor."""

    where: str
    times: int
    worst_ms: int


class GCStatsJSON(TypedDict):
    """Collections of the garbage collector and the longest of them, in milliseconds."""

    collections: int
    longest_ms: float
    full_collections: int
    longest_full_ms: float
    frozen_objects: int


class ReactorJSON(TypedDict):
    """How late the reactor was; the histogram counts by upper bound in milliseconds."""

    lag_ms_worst_10s: float
    lag_ms_worst: float
    lag_histogram: dict[str, int]
    blocked_times: int
    blocked_by: list[BlockedByJSON]
    stood_still_times: int
    gc: GCStatsJSON


class ConnectionJSON(TypedDict):
    """State of a connection: "off", "connecting", "up", "failing" or "down", and why."""

    state: str
    reason: str


class _IdentificationOnly(TypedDict, total=False):
    ami: ConnectionJSON


class BackendJSON(ConnectionJSON, _IdentificationOnly):
    """The backend of return calls; ``ami`` where AMI is used only to identify callers."""

    kind: str


class TrafficJSON(TypedDict):
    """What the processes have counted of audio and of their peers since their start."""

    frames_in: dict[str, int]
    frames_out: dict[str, int]
    frames_late: int
    frames_dropped: dict[str, int]
    protocol_errors: dict[str, int]
    one_way: int


class OpenFilesJSON(TypedDict):
    """File descriptors of the process, its limit, and whether there are any for new calls."""

    used: int
    limit: int
    accepting: bool


class StorageJSON(TypedDict):
    """A file that cannot be written or read; ``what`` is "log", "journal" or "local_file"."""

    what: str
    reason: str


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


class WorkerJSON(TypedDict):
    """One worker in the status of the supervisor; ``reactor`` is None while it does not answer."""

    index: int
    pid: int | None
    state: str
    restarts: int
    live_legs: int
    reactor: ReactorJSON | None


class ApartmentFileJSON(TypedDict):
    """One file of apartments; ``condominio_id`` is None for the shared one."""

    name: str
    condominio_id: int | None
    apartments: int


class ApartmentsJSON(TypedDict):
    """The directory of apartments: its files, and what is wrong with them."""

    total: int
    files: list[ApartmentFileJSON]
    problems_total: int
    problems: list[str]


class ApartmentJSON(TypedDict):
    """One apartment; ``numbers`` are masked."""

    apartment_number: str
    block: str
    condominio_id: int
    residents: list[str]
    numbers: list[str]
    file: str


class ApartmentPageJSON(ApartmentsJSON):
    """A page of apartments; ``next_offset`` is None for the last one."""

    apartments: list[ApartmentJSON]
    next_offset: int | None


class MediaFileJSON(TypedDict):
    """A recording or transcript of a call."""

    name: str
    bytes: int
    changed_at: str


class ApiTokensJSON(TypedDict):
    """The tokens of the API; ``state`` of the file is "absent", "used" or "rejected" (``reason``)."""

    file: str
    state: str
    reason: str
    names: list[str]


class EventsWebhookJSON(ConnectionJSON):
    """The webhook that is sent the events: how many wait, were sent, and were dropped."""

    failed_attempts: int
    waiting: int
    sent_total: int
    dropped_total: int


class ServicesJSON(TypedDict):
    """The part of the status that is about services of the first process alone."""

    api_tokens: ApiTokensJSON
    events_webhook: EventsWebhookJSON


class NodeDrainJSON(TypedDict):
    """Whether the balancer in front of several nodes is told to send this one no new calls, and since when."""

    active: bool
    since: str | None


class _WithApartments(TypedDict):
    apartments: ApartmentsJSON
    drain: NodeDrainJSON


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
