"""The OpenAPI document: valid, of exactly the routes that exist, and true of what they answer."""

from __future__ import annotations

import re
from typing import Any, Union, cast

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from admin.openapi.answers import ROUTES
from admin.openapi.document import describe
from admin.openapi.schemas import Schemas
from audiosocket.errors import SourceUnavailable
from tests.support.admin_client import CALL, AdminClient

DOCUMENT = describe(AdminClient().api.app)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, one) for path, methods in DOCUMENT["paths"].items() for method, one in methods.items()]


def test_it_is_served_and_valid() -> None:
    document = AdminClient().request("GET", "/api/openapi.json").json()
    assert document == DOCUMENT
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_it_has_exactly_the_routes() -> None:
    there = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in AdminClient().api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method, _ in operations()} == there
    assert {one["operationId"] for _, _, one in operations()} == set(ROUTES)


def test_every_operation_says_what_it_does_and_how_it_fails() -> None:
    for path, method, one in operations():
        assert one["summary"].endswith("."), (path, method)
        assert {"400", "403", "421", "500"} <= set(one["responses"])
        protected = path.startswith(("/api", "/session", "/metrics"))
        assert bool(one["security"]) == protected == ("401" in one["responses"]), path
        if protected:
            assert one["x-scope"] in ("read", "operate", "admin")


def test_the_scopes_are_those_that_are_checked() -> None:
    scopes = {(path, method): one.get("x-scope") for path, method, one in operations()}
    assert scopes["/api/hangup", "post"] == "operate"
    assert scopes["/api/extensions", "post"] == "admin"
    assert scopes["/api/extensions/{extension_id}", "delete"] == "admin"
    assert scopes["/api/status", "get"] == scopes["/session", "post"] == "read"


@pytest.mark.parametrize(
    ("method", "path", "template", "body"),
    [
        ("GET", "/api/problems", "/api/problems", b""),
        ("POST", "/api/refresh", "/api/refresh", b""),
        ("GET", "/api/extensions", "/api/extensions", b""),
        ("POST", "/api/extensions", "/api/extensions", {"ramal_ia": "7", "porta_ia": 9_000}),
        ("PUT", "/api/extensions/0", "/api/extensions/{extension_id}", {"porta_ia": 9_000}),
        ("DELETE", "/api/extensions/0", "/api/extensions/{extension_id}", b""),
        ("POST", "/api/restart", "/api/restart", {"extension_id": 0}),
        ("POST", "/api/hangup", "/api/hangup", {"call_id": str(CALL)}),
        ("GET", "/session", "/session", b""),
        ("POST", "/session", "/session", b""),
        ("DELETE", "/session", "/session", b""),
        ("GET", "/healthz", "/healthz", b""),
    ],
)
def test_answers_and_bodies_are_as_described(method: str, path: str, template: str, body: Any) -> None:
    operation = DOCUMENT["paths"][template][method.lower()]
    if body:
        check(operation["requestBody"]["content"]["application/json"]["schema"], body)
    answer = AdminClient().request(method, path, body)
    response = operation["responses"][str(answer.status)]
    check(response["content"]["application/json"]["schema"], answer.json())


def test_errors_are_as_described() -> None:
    web = AdminClient(token="secret")
    for path, method, one in operations():
        if "401" in one["responses"] and (path, method) != ("/session", "delete"):
            answer = web.request(method.upper(), path.replace("{", "").replace("}", ""))
            assert answer.status == 401, path
            check(one["responses"]["401"]["content"]["application/json"]["schema"], answer.json())
    web = AdminClient()
    web.control.error = SourceUnavailable("the database is away")
    assert web.request("POST", "/api/refresh").status == 503


def test_types_become_schemas() -> None:
    schemas = Schemas()
    assert schemas.of(cast("Any", Union[int, None])) == {"anyOf": [{"type": "integer"}, {"type": "null"}]}  # noqa: UP007
    assert schemas.of(dict[str, list[float]]) == {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "number"}},
    }
    with pytest.raises(TypeError, match="JSON"):
        schemas.of(set[int])


def check(schema: dict[str, Any], value: object) -> None:
    """Check a value against a schema of the document."""
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def test_what_has_an_etag_may_be_answered_304_and_what_has_a_body_415() -> None:
    statuses = {one["operationId"]: set(one["responses"]) for _, _, one in operations()}
    with_tag = {name for name, known in statuses.items() if "304" in known}
    assert with_tag == {"document", "file", "list_extensions", "show_extension", "extension_apps"}
    for path in ("/", "/page/page.js", "/api/extensions", "/api/extensions/0", "/api/extensions/0/apps"):
        web = AdminClient()
        tag = web.request("GET", path).headers["ETag"]
        assert web.request("GET", path, If_None_Match=tag).status == 304, path
    bodies = {one["operationId"] for _, _, one in operations() if "requestBody" in one}
    assert bodies == {name for name, known in statuses.items() if "415" in known}
