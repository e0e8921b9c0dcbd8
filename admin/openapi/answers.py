"""What each route answers, by the name of its function; path, method and summary come from the route.

What it takes is in `admin.openapi.inputs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from admin.page_files import CONTENT_TYPES
from admin.phones.phone import RATES
from audiosocket import json_shapes as shapes

#: The status of a connection that is no longer HTTP.
UPGRADED = 101
JSON, TEXT = "application/json", "text/plain"
FILE_TYPES = tuple(sorted({kind.partition(";")[0] for kind in CONTENT_TYPES.values()}))

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "integer"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_MESSAGE: dict[str, Any] = {"message": str}
#: Of a request that may be passed on to another node.
_ELSEWHERE = (502, 503, 504)
_SESSION = {"name": str, "scope": str, "token_required": bool}


@dataclass(frozen=True)
class Description:
    """One route. ``answer`` is a TypedDict or a mapping of keys to types, beside ``status``; None is any object.

    ``errors`` are statuses beyond those that every route has. ``query`` are JSON Schemas of a query that the
    route reads by itself. ``body_required`` is false where a body may be left out. ``content`` is empty for an
    answer without a body, several types where the path decides. ``tagged`` answers have an ETag: a client that has
    one already gets 304.
    """

    answer: Any = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    query: Mapping[str, Any] = field(default_factory=dict)
    body_required: bool = True
    status: int = 200
    content: str | tuple[str, ...] = JSON
    tagged: bool = False


ROUTES: Mapping[str, Description] = {
    "document": Description(content="text/html", tagged=True),
    "file": Description(errors=(404,), content=FILE_TYPES, tagged=True),
    "healthz": Description(errors=(503,)),
    "readyz": Description(errors=(503,)),
    "livez": Description(errors=(404, 503)),
    "drain": Description({**_MESSAGE, "drain": shapes.NodeDrainJSON}, body_required=False),
    "cancel_drain": Description({**_MESSAGE, "drain": shapes.NodeDrainJSON}),
    "status": Description(shapes.StatusJSON, (422, 503)),
    "list_problems": Description({"total": int, "problems": list[shapes.CurrentProblemJSON]}, (503,)),
    "follow_events": Description(
        errors=(422, 503),
        content="text/event-stream",
    ),
    "phone": Description(
        errors=(404, 409, 503),
        query={"extension": _TEXT, "rate": {"enum": list(RATES)}, "ring": _FLAG, "number": _TEXT},
        status=UPGRADED,
        content="",
    ),
    "metrics": Description(errors=(503,), content=TEXT),
    "openapi": Description(None),
    "who_am_i": Description(_SESSION),
    "sign_in": Description({**_SESSION, "expires_seconds": int}),
    "sign_out": Description(),
    "refresh": Description(
        _MESSAGE,
        (422, 503),
        body_required=False,
    ),
    "restart": Description(
        _MESSAGE,
        (404,),
    ),
    "list_extensions": Description(shapes.RowsJSON, (503,), tagged=True),
    "show_extension": Description({"extension": shapes.RowJSON}, (404, 422, 503), tagged=True),
    "add_extension": Description(
        {**_MESSAGE, "extension": shapes.ExtensionJSON},
        (409, 422, 503),
        status=201,
    ),
    "change_extension": Description(
        {**_MESSAGE, "extension": shapes.ExtensionJSON},
        (404, 409, 422, 503),
    ),
    "remove_extension": Description(_MESSAGE, (404, 503)),
    "dialplan": Description(errors=(404, 422), content=TEXT),
    "whole_dialplan": Description(errors=(422,), content=TEXT),
    "extension_apps": Description(shapes.ExtensionAppsJSON, (404,), tagged=True),
    "list_calls": Description(
        {"total": int, "calls": list[shapes.CallJSON]},
        (421, 422, 503),
    ),
    "get_call": Description({"call": shapes.CallJSON}, (404, *_ELSEWHERE)),
    "start_return_call": Description(
        {**_MESSAGE, "call": shapes.CallJSON},
        (404, 409, 422, *_ELSEWHERE),
        status=202,
    ),
    "cancel_return_call": Description({**_MESSAGE, "call": shapes.CallJSON}, (404, 409, *_ELSEWHERE)),
    "run_command": Description(_MESSAGE, (404, 409, 422, *_ELSEWHERE), body_required=False),
    "report_attempt": Description(
        _MESSAGE,
        (404, 422, *_ELSEWHERE),
    ),
    "hang_up": Description(
        _MESSAGE,
        (404, *_ELSEWHERE),
    ),
    "list_nodes": Description({"node": str, "total": int, "nodes": list[shapes.NodeJSON]}, (404, 503)),
    "command_nodes": Description({**_MESSAGE, "command": shapes.CommandJSON}, (404, 422, 503)),
    "list_apartments": Description(
        shapes.ApartmentPageJSON,
        (422,),
    ),
    "read_audit": Description(
        {"total": int, "entries": list[dict[str, Any]]},
        (422, 503),
    ),
    "list_media": Description({"total": int, "files": list[shapes.MediaFileJSON]}, (503,)),
    "erase_media": Description({**_MESSAGE, "total": int, "files": list[shapes.MediaFileJSON]}, (503,)),
}
