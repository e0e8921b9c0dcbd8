"""The access checks: Host, token, Origin and ambiguous paths."""

from __future__ import annotations

from urllib.parse import quote
from uuid import uuid4

from hypothesis import example, given, settings
from hypothesis import strategies as st

from admin.token_auth import MAX_PEERS, TokenAuth
from audiosocket.extensions.model import Role
from tests.support.admin_client import CALL, AdminClient, Response, for_each, request_bytes

TOKEN = "a-token-of-24-characters"
ANY_PORT = ["", ":", ":8082", ":1", ":65535"]


def error_message(answer: Response, status: int) -> str:
    said = answer.json()
    assert (answer.status, said["status"]) == (status, "error"), said
    return str(said["message"])


# --- Host -------------------------------------------------------------------------------------------


@for_each(
    "localhost", "LocalHost", "localhost.", "127.0.0.1", "127.0.0.1.", "[::1]", "[0:0:0:0:0:0:0:1]", "10.0.0.1"
)
def test_names_of_this_server_are_accepted_with_any_port(web: AdminClient, host: str) -> None:
    """10.0.0.1 is the local address of the connection."""
    for port in ANY_PORT:
        assert web.request("GET", "/healthz", Host=host + port, local="10.0.0.1").status == 200, port


@for_each(
    *("evil.example", "localhost.evil.example", "evil.localhost", "10.0.0.2", "[::2]", "::1", "0.0.0.0", "[::]"),
    *("localhost:x", "localhost:80:80", "localhost/", "user@localhost", "localhost localhost", ":8082", "["),
    *("[localhost]", "localhost..", "127.1", "2130706433", "loc\xe4lhost", "localhost:123456"),
)
def test_a_foreign_host_is_421(web: AdminClient, host: str) -> None:
    for method, path in (("GET", "/healthz"), ("GET", "/api/status"), ("POST", "/api/refresh"), ("GET", "/nope")):
        assert "API_ALLOWED_HOSTS" in error_message(web.request(method, path, Host=host, local="10.0.0.1"), 421)
    assert web.control.requests == []


def test_allowed_hosts_are_accepted() -> None:
    web = AdminClient(hosts=("Gate.Example.", "2001:db8::0:1", "0.0.0.0", "::", ""))
    for host in ("gate.example", "GATE.example:8082", "[2001:DB8::1]:8082"):
        assert web.request("GET", "/healthz", Host=host).status == 200, host
    for host in ("0.0.0.0:8082", "[::]:8082"):
        error_message(web.request("GET", "/healthz", Host=host), 421)


def test_a_mapped_ipv4_address_is_that_address() -> None:
    """On a socket bound to ::, the local address of an IPv4 client is ::ffff:10.0.0.1."""
    assert AdminClient().request("GET", "/healthz", Host="10.0.0.1:8082", local="::ffff:10.0.0.1").status == 200


def test_only_http_1_0_may_omit_the_host() -> None:
    web = AdminClient()
    error_message(web.request("GET", "/healthz", Host=""), 400)
    (old,) = web.connect().send(b"GET /healthz HTTP/1.0\r\n\r\n").responses()
    assert old.status == 200
    (foreign,) = web.connect().send(b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n").responses()
    error_message(foreign, 421)
    two = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    error_message(web.connect().send(two).responses()[0], 400)


# --- token ------------------------------------------------------------------------------------------


def test_every_api_path_requires_the_token() -> None:
    web = AdminClient(token=TOKEN)
    paths = ["/api", "/api/", "/api/status", "/api/nope", "/%61pi/status", f"/api/calls/{CALL}"]
    for path in paths:
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            answer = web.request(method, path)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), (method, path)
    for path in ("/healthz", "/readyz"):
        assert web.request("GET", path).status == 200
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer  "):
        assert web.request("GET", "/api/status", Authorization=f"{scheme} {TOKEN}").status == 200
    error_message(web.request("GET", "/api/nope", Authorization=f"Bearer {TOKEN}"), 404)


@for_each(
    *("Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN} {TOKEN}", TOKEN),
    *(f"Basic {TOKEN}", f"Bearer{TOKEN}", f"Bearer {TOKEN.upper()}", "Bearer \xff"),
)
def test_a_wrong_token_is_401(open_web: AdminClient, header: str) -> None:
    assert open_web.request("GET", "/api/status", Authorization=header).status == 200
    web = AdminClient(token=TOKEN)
    message = error_message(web.request("GET", "/api/status", Authorization=header), 401)
    assert TOKEN not in message


def test_two_authorization_headers_are_401() -> None:
    web = AdminClient(token=TOKEN)
    fields = f"Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    (answer,) = (
        web.connect()
        .send(request_bytes("GET", "/api/status").replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n"))
        .responses()
    )
    error_message(answer, 401)


pieces = st.sampled_from(["/", "//", "/./", "/../", "%2f", "%2F", "%2e", ".", ";", "%00", "%", "\\", "?", "#"])


@settings(max_examples=150, deadline=None)
@given(
    path=st.sampled_from(["/api/status", "/api/calls", "/api/refresh"]),
    encoded=st.sets(st.integers(0, 11)),
    inserted=st.lists(st.tuples(st.integers(0, 12), pieces), max_size=3),
)
@example(path="/api/status", encoded=set(), inserted=[(0, "/")])
@example(path="/api/status", encoded={4}, inserted=[])
@example(path="/api/status", encoded=set(), inserted=[(0, "//")])
def test_no_encoding_of_a_path_avoids_the_token(
    path: str, encoded: set[int], inserted: list[tuple[int, str]]
) -> None:
    spelt = [f"%{ord(c):02x}" if i in encoded else quote(c) for i, c in enumerate(path)]
    for place, piece in inserted:
        spelt.insert(place, piece)
    web = AdminClient(token=TOKEN)
    target = "".join(spelt)
    # The operator's page at "/" needs no token and holds no data.
    refused = {200} if target.partition("?")[0] == "/" else {400, 401, 404}
    assert web.request("GET", target).status in refused, target
    assert web.request("POST", target).status in {400, 401, 404, 405}, target
    assert web.control.requests == []


# --- reports on return calls, signed instead ---------------------------------------------------------

REPORT = b'{"end": "busy"}'
SIGNED = {"X_Audiosocket_Signature": f"signed 1 {REPORT.decode()}"}


def test_a_signed_report_needs_no_token() -> None:
    web = AdminClient(token=TOKEN)
    for path in ("/api/attempts/1", "/api/%61ttempts/1"):
        assert web.request("POST", path, REPORT, **SIGNED).status == 200
    assert web.request("POST", "/api/attempts/1", REPORT, Authorization=f"Bearer {TOKEN}").status == 200
    assert web.control.requests == [("report", "1", "busy", "")] * 3


@for_each(
    ("POST", "/api/attempts/1", b'{"end": "answered"}', {}),
    ("POST", "/api/attempts/2", REPORT, {}),
    ("POST", "/api/attempts/1", REPORT, {"X_Audiosocket_Signature": ""}),
    ("POST", "/api/attempts/1", REPORT, {"X_Audiosocket_Signature": "signed"}),
    ("GET", "/api/attempts/1", REPORT, {}),
    ("PUT", "/api/attempts/1", REPORT, {}),
    ("POST", "/api/attempts", REPORT, {}),
    ("POST", "/api/attempts/1/2", REPORT, {}),
    ("POST", "/api/hangup", REPORT, {}),
    ("POST", "/api/attempts/../hangup", REPORT, {}),
)
def test_a_signature_is_valid_for_nothing_else(
    web: AdminClient, method: str, path: str, body: bytes, more: dict[str, str]
) -> None:
    web = AdminClient(token=TOKEN)
    error_message(web.request(method, path, body, **{**SIGNED, **more}), 401)
    assert web.control.requests == []


def test_a_signed_report_is_subject_to_the_other_checks() -> None:
    web = AdminClient(token=TOKEN)
    error_message(web.request("POST", "/api/attempts/1", REPORT, Host="evil.example", **SIGNED), 421)
    error_message(web.request("POST", "/api/attempts/1", REPORT, Origin="http://evil.example", **SIGNED), 403)
    assert web.control.requests == []


# --- guesses of the token ---------------------------------------------------------------------------------------


def guess(web: AdminClient, token: str, peer: str) -> Response:
    return web.request("GET", "/api/status", Authorization=f"Bearer {token}", peer=peer)


def test_after_ten_wrong_tokens_a_peer_is_rejected_for_a_while() -> None:
    web = AdminClient(token=TOKEN)
    for _ in range(10):
        error_message(guess(web, "wrong", "10.0.0.7"), 401)
        web.clock.advance(1)
    answer = guess(web, "wrong", "10.0.0.7")
    error_message(answer, 429)
    assert guess(web, TOKEN, "10.0.0.7").status == 200  # whoever shares the address is not locked out
    assert answer.headers["Retry-After"] == "50"
    assert guess(web, TOKEN, "10.0.0.8").status == 200
    assert web.request("GET", "/healthz", peer="10.0.0.7").status == 200

    web.clock.advance(50)  # the first wrong token was a minute ago
    assert guess(web, TOKEN, "10.0.0.7").status == 200
    error_message(guess(web, "wrong", "10.0.0.7"), 401)
    error_message(guess(web, "wrong", "10.0.0.7"), 429)
    web.clock.advance(60)
    error_message(guess(web, "wrong", "10.0.0.7"), 401)


def test_a_missing_token_is_not_counted() -> None:
    web = AdminClient(token=TOKEN)
    for _ in range(20):
        error_message(web.request("GET", "/api/status"), 401)
    assert guess(web, TOKEN, "127.0.0.1").status == 200


def test_a_bot_may_command_its_own_call_and_do_nothing_else() -> None:
    web = AdminClient(token=TOKEN)
    own, other = f"/api/calls/{CALL}", f"/api/calls/{uuid4()}"
    bearer = f"Bearer token-of-{CALL}"
    assert web.request("POST", f"{own}/note", b'{"text": "x"}', Authorization=bearer).status == 200
    for _ in range(20):
        for method, path in (
            ("POST", f"{other}/note"),
            ("GET", own),
            ("GET", "/api/status"),
            ("POST", "/api/hangup"),
        ):
            answer = web.request(method, path, b"{}", Authorization=bearer, peer="10.0.0.7")
            assert "to that call only" in error_message(answer, 403), path
    error_message(guess(web, "wrong", "10.0.0.7"), 401)  # none of them was counted


def test_a_bots_return_call_is_its_command() -> None:
    """The operator may ring any number, a bot those of its entry: the command knows them."""
    web = AdminClient(token=TOKEN)
    path, body = f"/api/calls/{CALL}/return", b'{"numbers": ["302"]}'
    for token, expected in (
        (f"token-of-{CALL}", ("command", CALL, Role.VISITOR, "dial", {"numbers": ["302"]})),
        (TOKEN, ("return", CALL, "302")),
    ):
        assert web.request("POST", path, body, Authorization=f"Bearer {token}").status == 202
        assert web.control.requests.pop() == expected


def test_rejected_requests_do_not_prolong_the_rejection() -> None:
    web = AdminClient(token=TOKEN)
    for _ in range(10):
        guess(web, "wrong", "10.0.0.7")
    for _ in range(59):
        web.clock.advance(1)
        error_message(guess(web, "wrong", "10.0.0.7"), 429)
    web.clock.advance(1)
    assert guess(web, TOKEN, "10.0.0.7").status == 200


def test_an_ipv6_network_is_one_peer() -> None:
    web = AdminClient(token=TOKEN)
    for n in range(10):
        error_message(guess(web, "wrong", f"2001:db8::{n:x}"), 401)
    error_message(guess(web, "wrong", "2001:db8::ffff"), 429)
    error_message(guess(web, "wrong", "2001:db8:0:1::1"), 401)


def test_the_number_of_counted_peers_is_limited() -> None:
    web = AdminClient(token=TOKEN)
    for n in range(MAX_PEERS + 500):
        guess(web, "wrong", f"10.1.{n // 250}.{n % 250}")
    check: TokenAuth = web.site.access._token_auth  # type: ignore[attr-defined]
    assert len(check._wrong) == MAX_PEERS


# --- Origin -----------------------------------------------------------------------------------------


@for_each(
    ("http://localhost:8082", "localhost:8082"),
    ("HTTP://LOCALHOST:8082", "localhost:8082"),
    ("http://localhost", "localhost"),
    ("http://localhost:80", "localhost"),
    ("https://localhost", "localhost"),
    ("http://[::1]:8082", "[::1]:8082"),
)
def test_requests_of_our_own_origin_are_accepted(web: AdminClient, origin: str, host: str) -> None:
    assert web.request("POST", "/api/refresh", Origin=origin, Host=host).status == 200


@for_each(
    *("http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8082", "https://localhost:443"),
    *("http://localhost:8082.evil.example", "http://", "localhost:8082", "file://", "http://a b", "x"),
)
def test_requests_of_a_foreign_origin_are_403(web: AdminClient, origin: str) -> None:
    for method, path in (
        ("POST", "/api/refresh"),
        ("PUT", "/api/extensions/0"),
        ("DELETE", "/api/extensions/0"),
        ("post", "/api/refresh"),
        ("POST", "/nope"),
    ):
        error_message(web.request(method, path, Origin=origin, Host="localhost:8082"), 403)
    assert web.control.requests == []
    assert web.request("GET", "/api/status", Origin=origin, Host="localhost:8082").status == 200


def test_the_origin_is_checked_for_http_1_0() -> None:
    web = AdminClient()
    for origin in (b"http://localhost:8082", b"http://a b", b"null"):
        raw = b"POST /api/refresh HTTP/1.0\r\nOrigin: " + origin + b"\r\n\r\n"
        error_message(web.connect().send(raw).responses()[0], 403)


# --- paths ------------------------------------------------------------------------------------------


@for_each("/u/%ff", "/api/%c3", "/%zz", "/api/status%", "/%2", "*", "http://localhost/api/status", "api/status")
def test_an_invalid_path_is_400(web: AdminClient, path: str) -> None:
    for method in ("GET", "OPTIONS"):
        error_message(web.request(method, path), 400)


@for_each(
    "//", "//api/status", "///api/status", "/api//status", "/api%2fstatus", "/%2Fapi/status", "/api/calls/a%2Fb"
)
def test_an_ambiguous_path_is_404(web: AdminClient, path: str) -> None:
    error_message(web.request("GET", path), 404)
