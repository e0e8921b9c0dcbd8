"""What holds for every route over HTTP in memory: probes, methods, paths, failures; and what is kept of visits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin.responses import ERRORS
from audiosocket.errors import (
    AudioSocketError,
    ExtensionTaken,
    InvalidExtension,
    InvalidReport,
    SourceUnavailable,
    UnknownAttempt,
    UnknownCall,
    UnknownExtension,
)
from tests.support.admin_client import CALL, AdminClient, for_each
from tests.support.api_answers import NEW, error, success
from tests.support.logged_failures import LoggedFailures

# --- probes, methods, paths, failures ---------------------------------------------------------------


@for_each("/healthz", "/readyz")
def test_probes_give_the_reason(web: AdminClient, path: str) -> None:
    answer = web.request("GET", path)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    web.control.health = (False, "the reactor is 3 s late")
    error(web.request("GET", path), 503, "3 s late")


def test_livez_is_404_while_the_node_drains_and_503_only_when_it_can_take_no_call(web: AdminClient) -> None:
    assert web.request("GET", "/livez").json() == {"status": "ok"}
    for _ in range(2):  # the same again changes nothing
        answer = web.request("POST", "/api/drain")
        assert answer.status == 200
        assert answer.json()["drain"] == {"active": True, "since": "1970-01-01T00:16:40.000Z"}
        error(web.request("GET", "/livez"), 404, "draining")
    assert web.request("GET", "/readyz").status == 200
    for _ in range(2):
        assert web.request("DELETE", "/api/drain").json()["drain"] == {"active": False, "since": None}
        assert web.request("GET", "/livez").status == 200
    web.control.health = (False, "no worker is up")
    error(web.request("GET", "/livez"), 503, "no worker is up")
    web.control.ending = "draining"  # a stop: the residents of live calls must still come here
    error(web.request("GET", "/livez"), 404, "draining")


@for_each(
    "/nope",
    "/page",
    "/page/",
    "/api",
    "/api/",
    "/api/nope",
    "/api/status/",
    "/api/Status",
    "/api/calls/a/b",
    "/api/%00",
)
def test_an_unknown_path_is_404(web: AdminClient, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        error(web.request(method, path), 404, "here")


@for_each(
    ("POST", "/api/status", "GET, HEAD"),
    ("FOO", "/api/status", "GET, HEAD"),
    ("OPTIONS", "/api/status", "GET, HEAD"),
    ("GET", "/api/refresh", "POST"),
    ("HEAD", "/api/refresh", "POST"),
    ("DELETE", "/api/extensions", "GET, HEAD, POST"),
    ("POST", "/api/extensions/0", "DELETE, GET, HEAD, PUT"),
    ("PATCH", "/api/extensions/0", "DELETE, GET, HEAD, PUT"),
    ("GET", f"/api/calls/{CALL}/return", "DELETE, POST"),
    ("GET", "/api/attempts/1", "POST"),
    ("PUT", "/api/extensions/0/dialplan", "GET, HEAD"),
    ("POST", "/healthz", "GET, HEAD"),
)
def test_a_wrong_method_is_405(web: AdminClient, method: str, path: str, allowed: str) -> None:
    answer = web.request(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == allowed
    if method != "HEAD":
        error(answer, 405, allowed)


@for_each("/api/status", "/api/calls", "/healthz", "/readyz", "/api/extensions/0/dialplan", "/nope")
def test_head_is_get_without_the_body(web: AdminClient, path: str) -> None:
    got, head = web.request("GET", path), web.request("HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    headers = [{name: value for name, value in a.headers.items() if name != "Date"} for a in (head, got)]
    assert headers[0] == headers[1]


# what is kept of visits


def test_apartments_are_listed_by_the_page(web: AdminClient) -> None:
    assert success(web.request("GET", "/api/apartments"))["apartments"] == []
    web.request("GET", "/api/apartments?condominium=15&limit=10&offset=20")
    assert web.control.requests == [("apartments", None, 1000, 0), ("apartments", 15, 10, 20)]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("condominium=x", "condominium"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("offset=-1", "offset"),
        ("condominio=1", "condominio"),
    ],
)
def test_a_wrong_query_for_apartments_is_refused(web: AdminClient, query: str, field: str) -> None:
    response = web.request("GET", f"/api/apartments?{query}")
    assert response.status in {400, 422}
    assert field.encode() in response.body


@pytest.mark.parametrize(
    ("since", "at"),
    [
        ("1769854523", "2026-01-31T10:15:23+00:00"),
        ("2026-01-31T10:15:23Z", "2026-01-31T10:15:23+00:00"),
        ("2026-01-31T07:15:23-03:00", "2026-01-31T07:15:23-03:00"),
        ("2026-01-31T07:15:23+03:00", "2026-01-31T07:15:23+03:00"),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
    ],
)
def test_the_audit_file_is_read_since_a_time(web: AdminClient, since: str, at: str) -> None:
    said = success(web.request("GET", f"/api/audit?since={since}&limit=7"))
    assert (said["total"], said["entries"]) == (1, [{"call_id": str(CALL), "opened": True}])
    ((_, asked, limit),) = web.control.requests
    assert (asked.isoformat(), limit) == (at, 7)


@pytest.mark.parametrize("query", ["since=yesterday", "since=1e999", "since=9" * 30, "limit=1001", "from=1"])
def test_a_wrong_query_for_the_audit_file_is_refused(web: AdminClient, query: str) -> None:
    assert web.request("GET", f"/api/audit?{query}").status in {400, 422}
    assert web.control.requests == []


def test_media_of_a_call_are_listed_and_erased(web: AdminClient) -> None:
    assert success(web.request("GET", f"/api/calls/{CALL}/media"))["files"][0]["name"] == f"{CALL}.wav"
    assert success(web.request("DELETE", f"/api/calls/{CALL}/media"))["total"] == 1
    assert web.control.requests == [("media", CALL), ("erase_media", CALL)]
    assert web.request("DELETE", "/api/calls/../media").status in {400, 404}, "Werkzeug versions differ"
    error(web.request("DELETE", "/api/calls/x/media"), 400)


ROUTES = [
    ("GET", "/api/status", b""),
    ("GET", "/api/problems", b""),
    ("POST", "/api/refresh", b""),
    ("GET", "/api/extensions", b""),
    ("GET", "/api/extensions/0", b""),
    ("POST", "/api/extensions", NEW),
    ("PUT", "/api/extensions/0", NEW),
    ("DELETE", "/api/extensions/0", b""),
    ("GET", "/api/extensions/0/dialplan", b""),
    ("GET", "/api/extensions/0/apps", b""),
    ("GET", "/api/extensions/dialplan", b""),
    ("POST", "/api/restart", {"extension_id": 0}),
    ("GET", "/api/calls", b""),
    ("GET", f"/api/calls/{CALL}", b""),
    ("POST", f"/api/calls/{CALL}/return", {"number": "101"}),
    ("DELETE", f"/api/calls/{CALL}/return", b""),
    ("POST", f"/api/calls/{CALL}/note", {"text": "x"}),
    ("POST", "/api/attempts/1", {"end": "busy"}),
    ("POST", "/api/hangup", {"call_id": str(CALL)}),
    ("GET", "/api/apartments", b""),
    ("GET", "/api/audit", b""),
    ("GET", f"/api/calls/{CALL}/media", b""),
    ("DELETE", f"/api/calls/{CALL}/media", b""),
]


def test_a_server_that_is_no_node_of_a_fleet_says_so(web: AdminClient) -> None:
    error(web.request("GET", "/api/fleet"), 404, "FLEET=true")
    error(web.request("POST", "/api/fleet/commands", {"action": "drain"}), 404, "FLEET=true")
    error(web.request("POST", "/api/fleet/commands", {"action": "explode"}), 400, "action")
    error(web.request("POST", "/api/fleet/commands", b"{"), 400, "JSON")


def test_every_route_is_tested_for_failures() -> None:
    probes = {("GET", path) for path in ("/healthz", "/readyz", "/livez", "/", "/page/<name>", "/api/phone")}
    probes |= {(each, "/session") for each in ("GET", "POST", "DELETE")}
    probes |= {(each, "/api/drain") for each in ("POST", "DELETE")}
    probes |= {("GET", "/api/events"), ("GET", "/api/openapi.json"), ("GET", "/metrics")}
    probes |= {("GET", "/api/fleet"), ("POST", "/api/fleet/commands")}  # below, and tests/fleet
    there = {
        (
            method,
            rule.rule.replace("<extension_id>", "0")
            .replace("<call_id>", str(CALL))
            .replace("<attempt_id>", "1")
            .replace("<command:command>", "note"),
        )
        for rule in AdminClient().api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    assert there - probes == {(method, path) for method, path, _ in ROUTES}


def test_no_route_replaces_another_one() -> None:
    """Klein keeps routes by the names of their functions."""
    rules = list(AdminClient().api.app.url_map.iter_rules())
    assert len({rule.endpoint for rule in rules}) == len(rules) > 10


def test_an_error_without_text_has_a_fixed_message(web: AdminClient) -> None:
    for kind, (status, message) in ERRORS.items():
        web.control.error = kind("")
        assert error(web.request("GET", "/api/status"), status)["message"] == message != kind.__doc__


def test_a_bug_is_500_without_internals_and_logged_once(logged_failures: LoggedFailures) -> None:
    for route in ROUTES:
        web = AdminClient()
        web.control.error = RuntimeError("password=hunter2")
        said = error(web.request(*route), 500)
        assert "hunter2" not in str(said), route
        assert "RuntimeError" not in str(said), route
        assert len(logged_failures.flush(RuntimeError)) == 1, route


@for_each(
    (InvalidExtension, 422),
    (ExtensionTaken, 409),
    (UnknownExtension, 404),
    (UnknownCall, 404),
    (UnknownAttempt, 404),
    (InvalidReport, 400),
    (SourceUnavailable, 503),
)
def test_every_error_has_its_status(web: AdminClient, kind: type[AudioSocketError], status: int) -> None:
    web.control.error = kind("the reason")
    for route in ROUTES:
        error(web.request(*route), status, "the reason")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
known_keys = st.sampled_from(
    [
        "extension_id",
        "ramal",
        "call_id",
        "role",
        "force",
        "dry_run",
        "id",
        "end",
        "reason",
        *NEW,
        "\ud800",
        "x" * 100,
    ]
)
bodies = json_values | st.dictionaries(
    known_keys, json_values | st.sampled_from([str(CALL), "resident", 9000, "9"])
)


@settings(max_examples=150, deadline=None)
@given(route=st.sampled_from([route[:2] for route in ROUTES]), body=bodies | st.binary(max_size=200))
def test_no_body_is_answered_500(route: tuple[str, str], body: bytes | object) -> None:
    """Whatever the JSON: an answer of the documented shape, never 500."""
    answer = AdminClient().request(*route, body)
    if answer.headers["Content-Type"].startswith("text/plain"):
        assert answer.status == 200
        assert route[1] in {"/api/extensions/0/dialplan", "/api/extensions/dialplan"}
        return
    said = answer.json()
    assert answer.status < 500, said
    assert said["status"] == ("success" if answer.status < 400 else "error")
