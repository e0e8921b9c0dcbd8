"""Extensions as JSON: rows, the local file, what runs, which apps, and what a refresh changed."""

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
