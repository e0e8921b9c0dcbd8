"""What each route takes and answers, by the name of its function; path, method and summary come from the route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from admin.requests import FIELDS, MAX_CALLS, MAX_REASON, MAX_SEARCH
from audiosocket import json_shapes as shapes
from audiosocket.extensions.model import Role

#: The status of a connection that is no longer HTTP.
UPGRADED = 101
JSON, TEXT = "application/json", "text/plain"

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "integer"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_PORT: dict[str, Any] = {"type": ["integer", "string"]}
_PERHAPS_PORT: dict[str, Any] = {"type": ["integer", "string", "null"]}
_UUID: dict[str, Any] = {"type": "string", "format": "uuid"}
_ROLE: dict[str, Any] = {"enum": [role.value for role in Role]}
_MESSAGE: dict[str, Any] = {"message": str}
_DIALPLAN = {"style": {"enum": ["plain", "freepbx"]}, "wideband": _FLAG, "host": _TEXT}
_SESSION = {"name": str, "scope": str, "token_required": bool}
_FIELD_SCHEMAS = {
    **dict.fromkeys(FIELDS, _TEXT),
    "porta_ia": _PORT,
    "porta_retorno": _PERHAPS_PORT,
    "condominio_id": {"type": ["integer", "string", "null"]},
}


def _body(properties: Mapping[str, Any], *required: str, open_ended: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    return schema if open_ended else {**schema, "additionalProperties": False}


@dataclass(frozen=True)
class Description:
    """One route. ``answer`` is a TypedDict or a mapping of keys to types, beside ``status``.

    ``errors`` are statuses beyond those that every route has; ``body`` and the values of ``query`` are JSON
    Schemas. ``content`` is empty for an answer without a body.
    """

    answer: Any = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    body_required: bool = True
    status: int = 200
    content: str = JSON


ROUTES: Mapping[str, Description] = {
    "document": Description(content="text/html"),
    "file": Description(errors=(404,), content="application/octet-stream"),
    "healthz": Description(errors=(503,)),
    "readyz": Description(errors=(503,)),
    "status": Description(shapes.StatusJSON, (422, 503), query={"extensions": _FLAG}),
    "list_problems": Description({"total": int, "problems": list[shapes.CurrentProblemJSON]}, (503,)),
    "follow_events": Description(
        errors=(422, 503),
        query={"after": _NUMBER, "event": _TEXT, "extension": _NUMBER, "call_id": _UUID},
        content="text/event-stream",
    ),
    "phone": Description(
        errors=(404, 409, 503),
        query={"extension": _TEXT, "rate": _NUMBER, "ring": _FLAG, "number": _TEXT},
        status=UPGRADED,
        content="",
    ),
    "metrics": Description(errors=(503,), content=TEXT),
    "openapi": Description(content=JSON),
    "who_am_i": Description(_SESSION),
    "sign_in": Description({**_SESSION, "expires_seconds": int}),
    "sign_out": Description(),
    "refresh": Description(
        _MESSAGE,
        (422, 503),
        query={"dry_run": _FLAG, "force": _FLAG},
        body=_body({"dry_run": _FLAG, "force": _FLAG}),
        body_required=False,
    ),
    "restart": Description(
        _MESSAGE,
        (404,),
        body=_body({"extension_id": _NUMBER, "ramal": {**_TEXT, "minLength": 1}}, open_ended=True),
    ),
    "list_extensions": Description(shapes.RowsJSON, (503,)),
    "add_extension": Description(
        {**_MESSAGE, "extension": shapes.ExtensionJSON},
        (409, 422, 503),
        body=_body(_FIELD_SCHEMAS, "ramal_ia", "porta_ia"),
        status=201,
    ),
    "change_extension": Description(
        {**_MESSAGE, "extension": shapes.ExtensionJSON},
        (404, 409, 422, 503),
        body=_body({**_FIELD_SCHEMAS, "id": {"type": ["integer", "string"]}}),
    ),
    "remove_extension": Description(_MESSAGE, (404, 503)),
    "dialplan": Description(errors=(404, 422), query=_DIALPLAN, content=TEXT),
    "whole_dialplan": Description(errors=(422,), query=_DIALPLAN, content=TEXT),
    "extension_apps": Description(shapes.ExtensionAppsJSON, (404,)),
    "list_calls": Description(
        {"total": int, "calls": list[shapes.CallJSON]},
        (422, 503),
        query={
            "state": {"enum": ["live", "ended"]},
            "extension": {**_NUMBER, "minimum": 0},
            "limit": {**_NUMBER, "minimum": 1, "maximum": MAX_CALLS},
            "cursor": _TEXT,
            "search": {**_TEXT, "maxLength": MAX_SEARCH},
        },
    ),
    "get_call": Description({"call": shapes.CallJSON}, (404, 503)),
    "start_return_call": Description(
        {**_MESSAGE, "call": shapes.CallJSON},
        (404, 409, 422, 503),
        body=_body(
            {
                "number": {"type": ["string", "integer"]},
                "numbers": {"type": "array", "items": {"type": ["string", "integer"]}},
            }
        ),
        status=202,
    ),
    "cancel_return_call": Description({**_MESSAGE, "call": shapes.CallJSON}, (404, 409, 503)),
    "run_command": Description(
        _MESSAGE, (404, 409, 422, 503), body=_body({"role": _ROLE}, open_ended=True), body_required=False
    ),
    "report_attempt": Description(
        _MESSAGE,
        (404, 422, 503),
        body=_body({"attempt_id": _TEXT, "end": _TEXT, "reason": {"type": ["string", "null"]}}, "end"),
    ),
    "hang_up": Description(
        _MESSAGE,
        (404, 503),
        body=_body(
            {"call_id": _UUID, "role": _ROLE, "reason": {**_TEXT, "maxLength": MAX_REASON}},
            "call_id",
            open_ended=True,
        ),
    ),
    "list_apartments": Description(
        shapes.ApartmentPageJSON,
        (422,),
        query={"condominium": _NUMBER, "limit": {**_NUMBER, "minimum": 1}, "offset": {**_NUMBER, "minimum": 0}},
    ),
    "read_audit": Description(
        {"total": int, "entries": list[dict[str, Any]]},
        (422, 503),
        query={"since": _TEXT, "limit": {**_NUMBER, "minimum": 1}},
    ),
    "list_media": Description({"total": int, "files": list[shapes.MediaFileJSON]}, (503,)),
    "erase_media": Description({**_MESSAGE, "total": int, "files": list[shapes.MediaFileJSON]}, (503,)),
}
