"""Every route with every scope, and without a token."""

from __future__ import annotations

import re

import pytest

from audiosocket.api_tokens import SCOPES, ApiToken
from tests.support.admin_client import CALL, DATABASE_GONE, AdminClient

#: Method and path of every route that needs a token, to the scope that it needs.
NEEDED = {
    "GET /api/status": "read",
    "GET /api/problems": "read",
    "GET /api/extensions": "read",
    "GET /api/extensions/<extension_id>/apps": "read",
    "GET /api/extensions/dialplan": "read",
    "GET /api/extensions/<extension_id>/dialplan": "read",
    "GET /api/extensions/<extension_id>": "read",
    "GET /api/calls": "read",
    "GET /api/calls/<call_id>": "read",
    "GET /api/calls/<call_id>/media": "read",
    "GET /api/apartments": "read",
    "GET /api/audit": "read",
    "GET /api/events": "read",
    "GET /api/openapi.json": "read",
    "GET /metrics": "read",
    "GET /session": "read",
    "POST /session": "read",
    "DELETE /session": "read",
    "GET /api/phone": "operate",
    "GET /api/fleet": "read",
    "POST /api/fleet/commands": "operate",
    "POST /api/refresh": "operate",
    "POST /api/restart": "operate",
    "POST /api/drain": "operate",
    "DELETE /api/drain": "operate",
    "POST /api/hangup": "operate",
    "POST /api/calls/<call_id>/return": "operate",
    "DELETE /api/calls/<call_id>/return": "operate",
    "POST /api/calls/<call_id>/<command>": "operate",
    "POST /api/attempts/<attempt_id>": "operate",
    "POST /api/extensions": "admin",
    "PUT /api/extensions/<extension_id>": "admin",
    "DELETE /api/extensions/<extension_id>": "admin",
    "DELETE /api/calls/<call_id>/media": "admin",
}
#: Those that need none: probes, and the page, which has no data.
OPEN = {"GET /healthz", "GET /readyz", "GET /livez", "GET /", "GET /page/<name>", "GET /favicon.ico"}
VALUES = {"extension_id": "0", "call_id": str(CALL), "attempt_id": "1", "command": "hang_up", "name": "page.js"}


def routes() -> list[str]:
    rules = AdminClient().api.app.url_map.iter_rules()
    return sorted(
        f"{method} {re.sub(r'<[a-z]+:', '<', rule.rule)}"
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    )


def send(route: str, scope: str) -> int:
    """Return the status of a request with a token of this scope, "" for none, to a server that has all of them."""
    web = AdminClient(tokens=[ApiToken.of(f"text of {each}", each, each) for each in SCOPES])
    web.control.error = DATABASE_GONE  # what is admitted fails for another reason
    method, path = re.sub(r"<(\w+)>", lambda found: VALUES[found[1]], route).split()
    fields = {"Authorization": f"Bearer text of {scope}"} if scope else {}
    if path == "/api/phone":
        fields.update(Upgrade="websocket", Connection="Upgrade")
    if path == "/api/events":
        method = "HEAD"  # the answer to GET does not end
    wire = web.connect().send(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
        + "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        + b"Content-Length: 0\r\n\r\n"
    )
    web.clock.pump([0] * 100)
    (answer,) = wire.responses(method)
    if answer.status in (401, 403):
        assert web.control.requests == []
    return answer.status


def test_the_table_has_every_route() -> None:
    there = routes()
    assert set(there) == {*NEEDED, *(OPEN & set(there))}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("route", NEEDED)
def test_a_scope_may_what_it_says(route: str, scope: str) -> None:
    allowed = SCOPES.index(scope) >= SCOPES.index(NEEDED[route])
    status = send(route, scope)
    assert (status != 403) == allowed, status
    assert status != 401


@pytest.mark.parametrize("route", NEEDED)
def test_without_a_token_nothing_is_answered(route: str) -> None:
    # Signing out is for a cookie that has expired, too.
    assert send(route, "") == (200 if route == "DELETE /session" else 401)


@pytest.mark.parametrize("route", sorted(OPEN & set(routes())))
def test_probes_and_the_page_need_no_token(route: str) -> None:
    assert send(route, "") == 200
