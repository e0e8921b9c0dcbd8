"""The OpenAPI document, made from the routes themselves: a route without a description has no document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from klein import Klein

from admin.access import needs_token
from admin.openapi import inputs
from admin.openapi.answers import JSON, ROUTES, UPGRADED, Description
from admin.openapi.schemas import Schema, Schemas
from admin.responses import MESSAGES
from admin.scopes import needed_scope
from audiosocket import __version__
from audiosocket.control_interface import COMMAND_NAMES

#: Statuses of the checks that every request passes, and of a fault of the server.
_EVERYWHERE = (400, 403, 413, 421, 500)
_WITH_TOKEN = (401, 429)
_WITH_BODY = (415,)
_PARAMETERS: Mapping[str, Schema] = {
    "extension_id": {"type": "integer"},
    "call_id": {"type": "string", "format": "uuid"},
    "attempt_id": {"type": "string"},
    "command": {"enum": list(COMMAND_NAMES)},
    "name": {"type": "string"},
}
_ERROR: Schema = {
    "type": "object",
    "properties": {"status": {"const": "error"}, "message": {"type": "string"}, "field": {"type": "string"}},
    "required": ["status", "message"],
}


def describe(app: Klein) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of exactly the routes of ``app``; raise KeyError for one not described."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        route = app.endpoints[rule.endpoint]
        summary = " ".join((route.__doc__ or "").split())
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(method, path, str(rule.endpoint), schemas)
            name = {"operationId": str(rule.endpoint), "summary": summary}
            paths.setdefault(path, {})[method.lower()] = {**name, **operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "AudioSocket server", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, **schemas.components},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "audiosocket_PORT"},
            },
        },
    }


def _operation(method: str, path: str, name: str, schemas: Schemas) -> dict[str, Any]:
    description, body, query = ROUTES[name], inputs.BODIES.get(name), inputs.QUERIES.get(name)
    queries = description.query if query is None else query.query_schemas()
    segments = path.encode("ascii")[1:].split(b"/")
    protected = needs_token(segments)
    operation: dict[str, Any] = {
        "parameters": [
            *(
                {"name": each, "in": "path", "required": True, "schema": _PARAMETERS[each]}
                for each in _names(path)
            ),
            *({"name": each, "in": "query", "schema": schema} for each, schema in queries.items()),
        ],
        "responses": _responses(description, protected, body is not None, schemas),
        "security": [{"token": []}, {"cookie": []}] if protected else [],
    }
    if protected:
        operation["x-scope"] = needed_scope(
            method.encode("ascii"), segments, upgrade=description.status == UPGRADED
        )
    if body is not None:
        operation["requestBody"] = {
            "required": description.body_required,
            "content": {JSON: {"schema": body.schema()}},
        }
    return operation


def _names(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)


def _responses(description: Description, protected: bool, has_body: bool, schemas: Schemas) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if description.content:
        json = description.content == JSON
        schema = schemas.answer(description.answer) if json else {"type": "string"}
        kinds = (description.content,) if isinstance(description.content, str) else description.content
        done["content"] = {kind: {"schema": schema} for kind in kinds}
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    statuses = {*_EVERYWHERE, *description.errors, *(_WITH_TOKEN if protected else ())}
    statuses |= {*(_WITH_BODY if has_body else ())}
    return {
        str(description.status): done,
        **({"304": {"description": MESSAGES[304]}} if description.tagged else {}),
        **{
            str(each): {"description": MESSAGES.get(each, "Refused."), "content": error}
            for each in sorted(statuses)
        },
    }
