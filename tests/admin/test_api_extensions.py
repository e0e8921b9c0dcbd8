"""The routes of extensions and their dialplan, with every error they can answer."""

from __future__ import annotations

from dataclasses import replace

from audiosocket.asterisk.dialplan import Style, lines
from audiosocket.extensions.model import DEFAULT_EXTENSION
from tests.support.admin_client import DATABASE_GONE, AdminClient, for_each
from tests.support.api_answers import NEW, error, success

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
