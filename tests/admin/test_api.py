"""Every route, with every error it can answer, over HTTP in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin.responses import ERRORS, encode
from audiosocket.asterisk.dialplan import Style, lines
from audiosocket.control_interface import CallSelection
from audiosocket.errors import (
    AudioSocketError,
    CommandRefused,
    ExtensionTaken,
    InvalidCommand,
    InvalidExtension,
    InvalidNumber,
    InvalidReport,
    ReturnTaken,
    ReturnUnavailable,
    SourceUnavailable,
    UnknownAttempt,
    UnknownCall,
    UnknownExtension,
)
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from tests.support.admin_client import CALL, DATABASE_GONE, AdminClient, Response, for_each, request_bytes
from tests.support.logged_failures import LoggedFailures

OTHER_CALL = "11111111-2222-4333-8444-555555555555"
NEW = {
    "ramal_ia": "2000",
    "ramal_retorno": "2001",
    "ip_servidor": "10.0.0.5",
    "porta_ia": 9000,
    "porta_retorno": "9001",
    "condominio_id": 7,
}


@pytest.fixture
def web() -> AdminClient:
    return AdminClient()


def error(answer: Response, status: int, *words: str) -> dict[str, Any]:
    """Check that the response is an error with the shape of all errors and these words in its message."""
    said = answer.json()
    assert (answer.status, said["status"]) == (status, "error"), said
    assert set(said) <= {"status", "message", "field"}
    assert all(word in said["message"] for word in words), said
    return said  # type: ignore[no-any-return]


def success(answer: Response, status: int = 200) -> dict[str, Any]:
    said = answer.json()
    assert (answer.status, said.pop("status")) == (status, "success"), said
    return said  # type: ignore[no-any-return]


# --- the four routes of the replaced service ---------------------------------------------------------


def test_status_has_the_keys_of_the_replaced_service(web: AdminClient) -> None:
    said = success(web.request("GET", "/api/status"))
    assert said["total_extensions"] == 1
    old = {"id", "ramal_ia", "ramal_retorno", "ip", "porta_ia", "porta_retorno", "condominio_id", "status"}
    assert old <= set(said["extensions"][0])
    assert said["extensions"][0]["status"] == "ativo"


def test_refresh_has_the_keys_of_the_replaced_service(web: AdminClient) -> None:
    said = success(web.request("POST", "/api/refresh", Accept_Language=""))
    assert said["message"] == "Configurações atualizadas com sucesso"
    assert set(said["stats"]) == {"removed", "updated", "added", "total_active"}
    assert web.control.requests == [("refresh", False, False)]


@for_each(
    ("", b"{}", False, False),
    ("", b" \r\n", False, False),
    ("", {"force": True}, True, False),
    ("", {"dry_run": True}, False, True),
    ("", {"force": True, "dry_run": True}, True, True),
    ("?dry_run=true", b"", False, True),
    ("?dry_run=1&force=TRUE", b"", True, True),
    ("?dry_run", b"", False, True),
    ("?dry_run=false", b"", False, False),
    ("?force=true", {"dry_run": True}, True, True),
    ("?dry_run=true", {"dry_run": False}, False, False),
)
def test_refresh_takes_force_and_dry_run(
    web: AdminClient, path: str, body: bytes | object, force: bool, dry_run: bool
) -> None:
    said = success(web.request("POST", "/api/refresh" + path, body, Accept_Language=""))
    assert web.control.requests == [("refresh", force, dry_run)]
    assert ("nada foi alterado" in said["message"]) == dry_run


@for_each(
    ("", {"dryrun": True}, 422, "dryrun"),
    ("?dry-run=true", b"", 422, "dry-run"),
    ("?dry_run=maybe", b"", 400, "maybe"),
    ("", {"force": "yes"}, 400, "force"),
    ("", {"force": 1}, 400, "force"),
    ("", {"dry_run": None}, 400, "dry_run"),
    ("", b"[]", 400, "object"),
    ("", b"{", 400, "JSON"),
)
def test_a_misspelt_option_is_an_error(web: AdminClient, path: str, body: bytes, status: int, word: str) -> None:
    error(web.request("POST", "/api/refresh" + path, body), status, word)
    assert web.control.requests == []


def test_a_refresh_that_was_held_back_does_not_claim_success(web: AdminClient) -> None:
    """The shrink guard kept the extensions; a script that greps for "sucesso" must not find it."""
    web.control.refresh_result = {"result": "held_back", "reason": "the table is empty"}
    message = success(web.request("POST", "/api/refresh", Accept_Language=""))["message"]
    assert message == "Nada foi alterado: the table is empty"


def test_refresh_without_a_database_is_503(web: AdminClient) -> None:
    web.control.error = DATABASE_GONE
    error(web.request("POST", "/api/refresh"), 503, "database cannot be reached")


def test_extensions_are_the_rows(web: AdminClient) -> None:
    said = success(web.request("GET", "/api/extensions"))
    assert said["total"] == 1
    assert list(said["extensions"][0]) == [
        *("id", "ramal_ia", "ramal_retorno", "ip_servidor", "porta_ia", "porta_retorno", "condominio_id")
    ]


def test_one_extension_is_its_row(web: AdminClient) -> None:
    added = web.request("POST", "/api/extensions", NEW)
    said = success(web.request("GET", added.headers["Location"]))
    assert said["extension"] == added.json()["extension"]
    error(web.request("GET", "/api/extensions/99"), 404, "99")
    web.control.error = DATABASE_GONE
    error(web.request("GET", "/api/extensions/1"), 503)


@for_each("/api/extensions", "/api/extensions/0", "/api/extensions/0/apps")
def test_an_extension_that_has_not_changed_is_304(web: AdminClient, path: str) -> None:
    tag = web.request("GET", path).headers["ETag"]
    again = web.request("GET", path, If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == tag
    assert web.request("GET", path, If_None_Match='"another"').status == 200
    success(web.request("PUT", "/api/extensions/0", {"condominio_id": 3}))
    if not path.endswith("apps"):
        assert web.request("GET", path, If_None_Match=tag).headers["ETag"] != tag


def test_extensions_that_cannot_be_read_are_503(web: AdminClient) -> None:
    web.control.error = DATABASE_GONE
    error(web.request("GET", "/api/extensions"), 503)


@for_each(
    ({"extension_id": 0}, (0, None), "ID 0"),
    ({"ramal": "1000"}, (None, "1000"), "1000"),
    ({"ramal": " 1000 "}, (None, "1000"), "1000"),
    ({"extension_id": 0, "ramal": "nobody"}, (0, None), "ID 0"),
    ({"extension_id": 0, "ramal": 5, "reason": "ignored"}, (0, None), "ID 0"),
    ({"extension_id": None, "ramal": "1000"}, (None, "1000"), "1000"),
)
def test_restart_by_id_or_number(web: AdminClient, body: object, asked: tuple[object, object], name: str) -> None:
    said = success(web.request("POST", "/api/restart", body, Accept_Language=""))
    assert said["message"] == f"Ramal {name} reiniciado com sucesso"
    assert web.control.requests == [("restart", *asked)]


@for_each(
    b"",
    b"{",
    b"\xff\xfe",
    b"[1]",
    b'"1000"',
    {},
    {"id": 0},
    {"ramal": 1000},
    {"ramal": ""},
    {"ramal": "  "},
    {"ramal": None},
    {"extension_id": "0"},
    {"extension_id": 0.5},
    {"extension_id": True},
    {"extension_id": [0]},
)
def test_restart_without_an_extension_is_400(web: AdminClient, body: bytes | object) -> None:
    error(web.request("POST", "/api/restart", body), 400)
    assert web.control.requests == []


@for_each({"extension_id": 9}, {"extension_id": 10**30}, {"ramal": "9"})
def test_restart_of_an_unknown_extension_is_404(web: AdminClient, body: object) -> None:
    error(web.request("POST", "/api/restart", body), 404, "9" if body != {"extension_id": 10**30} else "10000")


# --- adding, changing, removing ---------------------------------------------------------------------


def test_an_extension_is_added(web: AdminClient) -> None:
    answer = web.request("POST", "/api/extensions", NEW)
    said = success(answer, 201)
    assert said["extension"] == {"id": 1, **NEW, "porta_retorno": 9001}
    assert "2000" in said["message"]
    assert answer.headers["Location"] == "/api/extensions/1"


@for_each(
    ({"porta_ia": 0}, "porta_ia"),
    ({"porta_ia": "70000"}, "porta_ia"),
    ({"porta_ia": None}, "porta_ia"),
    ({"porta_retorno": 9000}, "porta_retorno"),
    ({"ramal_ia": " "}, "ramal_ia"),
    ({"condominio_id": "x"}, "condominio_id"),
    ({"id": 1}, "id"),
    ({"port": 9000}, "port"),
    ({"PORTA_IA": 9000}, "PORTA_IA"),
)
def test_an_invalid_field_is_422_and_named(web: AdminClient, change: dict[str, object], field: str) -> None:
    said = error(web.request("POST", "/api/extensions", {**NEW, **change}), 422, field)
    assert said["field"] == field
    assert list(web.control.running) == [0]


@for_each(b"", b"{", b"null", b'{"ramal_ia": NaN}', b'{"porta_ia": 1, "porta_ia": 2}')
def test_a_body_that_is_not_an_object_is_400(web: AdminClient, body: bytes) -> None:
    error(web.request("POST", "/api/extensions", body), 400)
    error(web.request("PUT", "/api/extensions/0", body), 400)


def test_an_empty_object_is_422(web: AdminClient) -> None:
    error(web.request("POST", "/api/extensions", {}), 422, "porta_ia")
    error(web.request("PUT", "/api/extensions/0", {}), 422, "nothing to change")
    error(web.request("PUT", "/api/extensions/0", {"id": 0}), 422, "nothing to change")


def test_a_port_that_is_taken_is_409(web: AdminClient) -> None:
    error(web.request("POST", "/api/extensions", {**NEW, "porta_ia": 8080}), 409, "8080")


def test_a_change_carries_only_the_given_fields(web: AdminClient) -> None:
    said = success(web.request("PUT", "/api/extensions/0", {"id": 0, "condominio_id": 3, "porta_retorno": None}))
    assert web.control.requests == [("change", 0, {"condominio_id": 3, "porta_retorno": None})]
    assert said["extension"]["condominio_id"] == 3
    assert said["extension"]["porta_ia"] == 8080
    assert said["extension"]["porta_retorno"] is None


def test_an_id_cannot_be_changed(web: AdminClient) -> None:
    said = error(web.request("PUT", "/api/extensions/0", {"id": 1, "condominio_id": 3}), 422, "id")
    assert said["field"] == "id"
    assert success(web.request("PUT", "/api/extensions/0", {"id": "0", "condominio_id": 3}))


def test_an_extension_is_removed(web: AdminClient) -> None:
    assert "ID 0" in success(web.request("DELETE", "/api/extensions/0"))["message"]
    error(web.request("DELETE", "/api/extensions/0"), 404, "0")


@for_each("7", "x", "1.5", "99999999999", "2147483648", "%2B0", "0x0", "-")
def test_an_unknown_extension_is_404(web: AdminClient, name: str) -> None:
    error(web.request("PUT", f"/api/extensions/{name}", {"condominio_id": 1}), 404)
    error(web.request("DELETE", f"/api/extensions/{name}"), 404)


def test_writing_without_the_database_is_503(web: AdminClient) -> None:
    web.control.error = DATABASE_GONE
    error(web.request("POST", "/api/extensions", NEW), 503)
    error(web.request("PUT", "/api/extensions/0", NEW), 503)
    error(web.request("DELETE", "/api/extensions/0"), 503)


# --- calls ------------------------------------------------------------------------------------------


def test_calls_are_listed(web: AdminClient) -> None:
    said = success(web.request("GET", "/api/calls"))
    assert said == {"total": 1, "calls": [{"call_id": str(CALL), "state": "live"}]}


@for_each(str(CALL), str(CALL).upper(), CALL.hex, f"%7B{CALL}%7D", f"urn:uuid:{CALL}")
def test_a_call_is_found_by_any_form_of_its_uuid(web: AdminClient, spelling: str) -> None:
    said = success(web.request("GET", f"/api/calls/{spelling}"))
    assert said["call"]["call_id"] == str(CALL)
    assert said["call"]["timeline"] == [{"event": "app.note", "what": "{1, 2}"}]  # an app noted a set


@for_each("x", CALL.hex[:-1], CALL.hex[:-2] + "_0", "0x" + CALL.hex[2:], "%C3%BC")
def test_an_invalid_uuid_is_400(web: AdminClient, spelling: str) -> None:
    error(web.request("GET", f"/api/calls/{spelling}"), 400, "UUID")
    error(web.request("POST", f"/api/calls/{spelling}/return"), 400, "UUID")


def test_an_unknown_call_is_404(web: AdminClient) -> None:
    error(web.request("GET", f"/api/calls/{OTHER_CALL}"), 404, OTHER_CALL)
    error(web.request("POST", f"/api/calls/{OTHER_CALL}/return", {"number": "101"}), 404, OTHER_CALL)
    error(web.request("DELETE", f"/api/calls/{OTHER_CALL}/return"), 404, OTHER_CALL)


@for_each(
    ({"number": "101"}, ("101",)),
    ({"number": " 101 "}, ("101",)),
    ({"numbers": ["101", "+5511999"]}, ("101", "+5511999")),
    ({"number": 101}, ("101",)),
    ({"number": 0}, ("0",)),
    ({"numbers": [101, "apto-12"]}, ("101", "apto-12")),
)
def test_a_return_call_is_placed(web: AdminClient, body: object, numbers: tuple[str, ...]) -> None:
    said = success(web.request("POST", f"/api/calls/{CALL}/return", body, Accept_Language=""), 202)
    assert said["message"] == f"Chamada de retorno iniciada para {CALL}"
    assert said["call"]["call_id"] == str(CALL)
    assert web.control.requests == [("return", CALL, *numbers)]


@for_each(
    (b"", 400, "empty"),
    (b"{", 400, "JSON"),
    ({}, 400, "number"),
    ({"number": -101}, 400, "-101"),
    ({"number": 101.5}, 400, "101.5"),
    ({"number": True}, 400, "True"),
    ({"number": None}, 400, "None"),
    ({"number": ["101"]}, 400, "text"),
    ({"numbers": ["101", False]}, 400, "False"),
    (b'{"number": 1' + b"0" * 5000 + b"}", 400, "JSON"),
    ({"number": "101", "numbers": ["102"]}, 400, "Give the number"),
    ({"telefone": "101"}, 422, "telefone"),
)
def test_a_return_call_needs_a_number(web: AdminClient, body: bytes | object, status: int, word: str) -> None:
    error(web.request("POST", f"/api/calls/{CALL}/return", body), status, word)
    assert web.control.requests == []


@for_each(
    (ReturnTaken("under way"), 409), (InvalidNumber("no number"), 422), (ReturnUnavailable("AMI is away"), 503)
)
def test_the_reasons_against_a_return_call(web: AdminClient, refusing: AudioSocketError, status: int) -> None:
    web.control.call_error = refusing
    error(web.request("POST", f"/api/calls/{CALL}/return", {"number": "101"}), status, str(refusing))


def test_a_return_call_is_cancelled(web: AdminClient) -> None:
    said = success(web.request("DELETE", f"/api/calls/{CALL}/return", Accept_Language=""))
    assert said["message"] == f"Chamada de retorno cancelada para {CALL}"
    assert web.control.requests == [("cancel", CALL)]
    web.control.call_error = ReturnTaken("nothing rings")
    error(web.request("DELETE", f"/api/calls/{CALL}/return"), 409, "nothing rings")


@for_each(
    ({"end": "busy"}, ""),
    ({"end": "busy", "reason": "em outra chamada"}, "em outra chamada"),
    ({"end": "busy", "reason": None}, ""),
    ({"end": "busy", "attempt_id": "0b1c-2"}, ""),
)
def test_the_end_of_an_attempt_is_reported(web: AdminClient, body: object, reason: str) -> None:
    success(web.request("POST", "/api/attempts/0b1c-2", body))
    assert web.control.requests == [("report", "0b1c-2", "busy", reason)]


@for_each(
    (b"", 400, "empty"),
    (b"[]", 400, "object"),
    ({}, 400, "end"),
    ({"end": None}, 400, "end"),
    ({"end": ["busy"]}, 400, "end"),
    ({"end": "cancelled"}, 400, "end is cancelled; it must be one of answered, busy, no_answer, refused, failed."),
    ({"end": "busy", "reason": 17}, 400, "17"),
    ({"end": "busy", "attempt_id": "2"}, 422, "attempt_id"),
    ({"end": "busy", "attempt_id": 1}, 400, "attempt_id"),
    ({"end": "busy", "resaon": "x"}, 422, "resaon"),
)
def test_a_report_must_have_an_end(web: AdminClient, body: bytes | object, status: int, word: str) -> None:
    error(web.request("POST", "/api/attempts/1", body), status, word)
    assert web.control.requests == []


@for_each((UnknownAttempt("it has ended"), 404), (InvalidReport("end must be one of"), 400))
def test_the_reasons_against_a_report(web: AdminClient, refusing: AudioSocketError, status: int) -> None:
    web.control.call_error = refusing
    error(web.request("POST", "/api/attempts/1", {"end": "busy"}), status, str(refusing))


@for_each({"call_id": str(CALL)}, {"call_id": CALL.hex, "role": "visitor"})
def test_a_leg_is_hung_up(web: AdminClient, body: object) -> None:
    said = success(web.request("POST", "/api/hangup", body, Accept_Language=""))
    assert said["message"] == f"KIND_HANGUP enviado com sucesso para {CALL} (visitor)"
    assert web.control.requests == [("hang_up", CALL, Role.VISITOR)]


@for_each(
    (b"", "empty"),
    (b"{", "JSON"),
    ({}, "call_id"),
    ({"call_id": ""}, "call_id"),
    ({"call_id": 5}, "call_id"),
    ({"call_id": [str(CALL)]}, "call_id"),
    ({"call_id": str(CALL) + "0"}, "call_id"),
    ({"call_id": str(CALL), "role": "VISITOR"}, "role"),
    ({"call_id": str(CALL), "role": ""}, "role"),
    ({"call_id": str(CALL), "role": {}}, "role"),
    ({"call_id": "no", "role": "visitante"}, "visitante"),
)
def test_a_hangup_without_a_call_is_400(web: AdminClient, body: bytes | object, word: str) -> None:
    error(web.request("POST", "/api/hangup", body), 400, word)
    assert web.control.requests == []


def test_a_hangup_of_an_unknown_leg_is_404(web: AdminClient) -> None:
    error(web.request("POST", "/api/hangup", {"call_id": OTHER_CALL}), 404, OTHER_CALL)
    error(web.request("POST", "/api/hangup", {"call_id": str(CALL), "role": "resident"}), 404, "resident")


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


@for_each(
    ("", "plain", False, ""),
    ("?style=plain", "plain", False, ""),
    ("?style=freepbx&wideband=false", "freepbx", False, ""),
    ("?wideband=true", "plain", True, ""),
    ("?style=freepbx&wideband", "freepbx", True, ""),
    ("?host=gate.example", "plain", False, "gate.example"),
    ("?host=2001:db8::7&style=freepbx", "freepbx", False, "[2001:db8::7]"),
    ("?host=%5B2001:db8::7%5D", "plain", False, "[2001:db8::7]"),
)
def test_the_dialplan_is_text(web: AdminClient, query: str, style: Style, wideband: bool, host: str) -> None:
    for path, extension_id in (("0/dialplan", 0), ("dialplan", None)):
        answer = web.request("GET", f"/api/extensions/{path}{query}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.body.decode() == lines(DEFAULT_EXTENSION, style=style, wideband=wideband, host=host)
        assert web.control.requests[-1] == ("dialplan", extension_id, "localhost")


@for_each(
    ("localhost:8082", "localhost"),
    ("127.0.0.1", "127.0.0.1"),
    ("[::1]:8082", "::1"),
    ("192.0.2.1:8082", "192.0.2.1"),
)
def test_the_dialplan_is_given_the_host_of_the_request(web: AdminClient, host: str, headers: str) -> None:
    local = "192.0.2.1"
    assert web.request("GET", "/api/extensions/dialplan", local=local, Host=host).status == 200
    assert web.control.requests == [("dialplan", None, headers)]


def test_without_a_host_header_it_is_given_the_local_address() -> None:
    web = AdminClient()
    wire = web.connect(local="192.0.2.1")
    wire.send(b"GET /api/extensions/dialplan HTTP/1.0\r\n\r\n")
    assert wire.responses()[0].status == 200
    assert web.control.requests == [("dialplan", None, "192.0.2.1")]


@for_each(("PUT", {"ramal_ia": "1"}), ("DELETE", b""))
def test_the_dialplan_of_all_extensions_is_a_route_of_its_own(web: AdminClient, method: str, body: object) -> None:
    answer = web.request(method, "/api/extensions/dialplan", body)
    assert answer.status in {404, 405}
    assert list(web.control.running) == [0]


@for_each(
    ("0/dialplan?style=issabel", 400, "issabel"),
    ("0/dialplan?style=", 400, "style"),
    ("0/dialplan?wideband=yes", 400, "wideband"),
    ("0/dialplan?styel=plain", 422, "styel"),
    ("0/dialplan?host=", 422, "names no machine"),
    ("0/dialplan?host=0.0.0.0", 422, "names no machine"),
    ("0/dialplan?host=a,b", 422, "host is"),
    ("dialplan?host=a)%0Aexten%20=%3E%20x", 422, "host is"),
    ("dialplan?host=a%3Bb", 422, "host is"),
    ("dialplan?host=192.0.2.1:8080", 422, "host is"),
    ("dialplan?style=issabel", 400, "issabel"),
    ("dialplan?hots=a", 422, "hots"),
    ("9/dialplan", 404, "9"),
    ("1e9/dialplan", 404, "1e9"),
)
def test_errors_of_a_dialplan_are_json(web: AdminClient, path: str, status: int, word: str) -> None:
    error(web.request("GET", f"/api/extensions/{path}"), status, word)


def test_a_row_that_would_inject_dialplan_is_422(web: AdminClient) -> None:
    web.control.running[0] = replace(DEFAULT_EXTENSION, number="1000,1,System(x)")
    said = error(web.request("GET", "/api/extensions/0/dialplan"), 422, "System")
    assert said["field"] == "ramal_ia"


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


# --- what a bot may do with its call ---------------------------------------------------------------


def test_a_command_is_passed_on_with_its_arguments(web: AdminClient) -> None:
    success(web.request("POST", f"/api/calls/{CALL}/transfer", {"extension": "0"}))
    success(web.request("POST", f"/api/calls/{CALL}/hang_up", b""))
    success(web.request("POST", f"/api/calls/{CALL}/digits", {"digits": "1", "role": "resident"}))
    assert web.control.requests == [
        ("command", CALL, Role.VISITOR, "transfer", {"extension": "0"}),
        ("command", CALL, Role.VISITOR, "hang_up", {}),
        ("command", CALL, Role.RESIDENT, "digits", {"digits": "1"}),
    ]


@for_each(
    (InvalidCommand("there is no command 'x'"), 422, "no command"),
    (CommandRefused("a bot may not authorise"), 409, "may not authorise"),
)
def test_a_refused_command_is_told_why(
    web: AdminClient, problem: AudioSocketError, status: int, words: str
) -> None:
    web.control.call_error = problem
    error(web.request("POST", f"/api/calls/{CALL}/outcome", {"outcome": "authorised"}), status, words)


@for_each({"role": "nobody"}, {"role": 1}, b"[]")
def test_a_command_for_no_leg_is_refused(web: AdminClient, body: object) -> None:
    error(web.request("POST", f"/api/calls/{CALL}/note", body), 400)
    assert web.control.requests == []


def test_the_token_of_a_call_admits_to_commands_for_this_call_only() -> None:
    web = AdminClient(token="the API's")
    other = uuid4()
    mine = {"Authorization": f"Bearer token-of-{CALL}"}
    success(web.request("POST", f"/api/calls/{CALL}/note", {"text": "x"}, **mine))
    success(web.request("DELETE", f"/api/calls/{CALL}/return", **mine))
    for method, path in (
        ("POST", f"/api/calls/{other}/note"),
        ("GET", f"/api/calls/{CALL}"),
        ("GET", "/api/calls"),
        ("DELETE", f"/api/calls/{CALL}/media"),
        ("POST", "/api/hangup"),
        ("POST", "/api/refresh"),
        ("POST", f"/api/calls/{CALL}/note/more"),
    ):
        body = {"text": "x"} if method == "POST" else b""
        assert web.request(method, path, body, **mine).status == 403, path


# --- pages of calls


def test_a_query_asks_for_a_page_of_calls(web: AdminClient) -> None:
    cursor = f"ended_2026-11-27T10:00:00.000Z_{CALL}"
    said = success(web.request("GET", f"/api/calls?state=ended&extension=7&limit=5&cursor={cursor}"))
    assert web.control.requests == [("page", CallSelection("ended", 7, 5, cursor))]
    assert list(said) == ["total", "next_cursor", "calls"]
    assert (said["total"], said["next_cursor"], len(said["calls"])) == (7, "live_1_2", 1)
    success(web.request("GET", "/api/calls?state=live"))
    assert web.control.requests[-1] == ("page", CallSelection("live", None, 100, ""))
    success(web.request("GET", "/api/calls"))
    assert len(web.control.requests) == 2


@for_each(
    *(("state=gone", 400), ("limit=0", 400), ("limit=1001", 400), ("limit=-1", 400), ("limit=x", 400)),
    *(("extension=x", 400), ("cursor=x", 400), ("cursor=live_2026_1", 400), ("page=2", 422)),
)
def test_a_wrong_query_for_calls_is_an_error(web: AdminClient, query: str, status: int) -> None:
    error(web.request("GET", f"/api/calls?{query}"), status)
    assert web.control.requests == []


def test_a_long_list_is_encoded_in_pieces_and_the_same(web: AdminClient) -> None:
    calls = [{"call_id": str(number), "text": "é", "what": {1}} for number in range(60)]
    web.control.all = lambda: calls  # type: ignore[method-assign,assignment,return-value]
    wire = web.connect().send(request_bytes("GET", "/api/calls"))
    assert wire.responses() == []
    web.clock.pump([0, 0])
    (answer,) = wire.responses()
    assert answer.body == encode({"status": "success", "total": 60, "calls": calls})
