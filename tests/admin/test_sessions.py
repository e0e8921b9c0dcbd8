"""Named tokens, their scopes, and the cookie of a browser that has signed in."""

from __future__ import annotations

import re

import pytest

from admin.sessions import SESSION_SECONDS
from audiosocket.api_tokens import ApiToken
from tests.support.admin_client import CALL, AdminClient, Response, for_each
from tests.support.logged_events import LoggedEvents

TEXTS = {"wallboard": "text-of-the-reader", "ana": "text-of-the-operator", "root": "text-of-the-admin"}
TOKENS = [
    ApiToken.of(text, name, scope)
    for (name, text), scope in zip(TEXTS.items(), ("read", "operate", "admin"), strict=True)
]
OURS = "http://localhost:8082"
ORIGIN = {"Host": "localhost:8082", "Origin": OURS}
READING = (("GET", "/api/status"), ("HEAD", "/api/calls"), ("GET", "/api/extensions"), ("OPTIONS", "/api/status"))
OPERATING = (
    ("POST", "/api/hangup"),
    ("POST", "/api/refresh"),
    ("POST", "/api/restart"),
    ("POST", f"/api/calls/{CALL}/return"),
    ("DELETE", f"/api/calls/{CALL}/return"),
    ("POST", "/api/attempts/1"),
)
CHANGING = (
    ("POST", "/api/extensions"),
    ("PUT", "/api/extensions/0"),
    ("DELETE", "/api/extensions/0"),
    ("POST", "/api/a-route-of-tomorrow"),
    ("POST", "/api/hangup/"),
)


@pytest.fixture
def web() -> AdminClient:
    web = AdminClient(tokens=TOKENS)
    web.now = 1_000_000.0
    return web


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TEXTS[name]}"}


def cookie_of(answer: Response) -> str:
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


def sign_in(web: AdminClient, name: str = "root") -> str:
    answer = web.request("POST", "/session", **bearer(name))
    assert answer.status == 200, answer.body
    return cookie_of(answer)


def test_a_token_may_do_what_its_scope_says(web: AdminClient) -> None:
    for name, allowed in (("wallboard", 1), ("ana", 2), ("root", 3)):
        for level, routes in enumerate((READING, OPERATING, CHANGING), start=1):
            for method, path in routes:
                answer = web.request(method, path, **bearer(name))
                assert (answer.status == 403) == (level > allowed), (name, method, path, answer.status)
    assert "needs operate" in web.request("POST", "/api/hangup", **bearer("wallboard")).json()["message"]


def test_only_an_operator_may_upgrade(web: AdminClient) -> None:
    for name, status in (("wallboard", 403), ("ana", 200)):
        answer = web.request("GET", "/api/status", Upgrade="websocket", Connection="Upgrade", **bearer(name))
        assert answer.status == status, name


def test_the_log_says_who_did_what(web: AdminClient) -> None:
    body = {"call_id": str(CALL), "reason": "caller asked for it"}
    with LoggedEvents() as logged:
        assert web.request("POST", "/api/hangup", body, peer="10.0.0.7", **bearer("ana")).status == 200
    assert f"POST /api/hangup by ana (10.0.0.7): 200 call {CALL} visitor: caller asked for it" in logged.text


@for_each({"reason": 5}, {"reason": "x" * 201}, {"reason": ["a"]})
def test_a_reason_is_short_text(web: AdminClient, body: dict[str, object]) -> None:
    assert web.request("POST", "/api/hangup", {"call_id": str(CALL), **body}).status == 400
    assert web.control.requests == []


def test_signing_in_sets_a_cookie_that_stands_for_the_token(web: AdminClient) -> None:
    answer = web.request("POST", "/session", **bearer("ana"))
    assert answer.json() == {
        "status": "success",
        "name": "ana",
        "scope": "operate",
        "token_required": True,
        "expires_seconds": SESSION_SECONDS,
    }
    attributes = {part.strip() for part in str(answer.headers["Set-Cookie"]).split(";")[1:]}
    assert attributes == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}
    cookie = cookie_of(answer)
    assert re.fullmatch(r"audiosocket_8082=1043200\.ana\.[0-9a-f]{64}", cookie)
    assert web.request("GET", "/api/status", Cookie=cookie).status == 200
    assert web.request("GET", "/session", Cookie=f"other=1; {cookie}").json()["name"] == "ana"
    assert web.request("POST", "/api/refresh", Cookie=cookie, **ORIGIN).status == 200
    assert web.request("POST", "/api/extensions", Cookie=cookie, **ORIGIN).status == 403


def test_behind_https_the_cookie_is_secure(web: AdminClient) -> None:
    answer = web.request("POST", "/session", X_Forwarded_Proto="https", **bearer("ana"))
    assert "Secure" in str(answer.headers["Set-Cookie"])


def test_with_a_cookie_whatever_changes_needs_our_origin(web: AdminClient) -> None:
    cookie = sign_in(web)
    changing = (*OPERATING, *CHANGING, ("OPTIONS", "/api/status"), ("DELETE", "/session"))
    for origin in (None, "http://evil.example", "http://localhost:3000", "null"):
        fields = {"Host": "localhost:8082", "Cookie": cookie, **({"Origin": origin} if origin else {})}
        for method, path in changing:
            assert web.request(method, path, **fields).status == 403, (method, path, origin)
        upgrade = web.request("GET", "/api/status", Upgrade="websocket", Connection="Upgrade", **fields)
        assert upgrade.status == 403, origin
    assert web.control.requests == []


def test_an_upgrade_from_a_foreign_page_is_refused_without_tokens_too() -> None:
    web = AdminClient()
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Host": "localhost:8082"}
    assert web.request("GET", "/api/status", Origin="http://evil.example", **fields).status == 403
    assert web.request("GET", "/api/status", Origin=OURS, **fields).status == 200


@for_each("cross-site", "same-site")
def test_pages_of_other_sites_fetch_nothing(web: AdminClient, site: str) -> None:
    """A cookie is sent to every port of a host."""
    for dest in ("empty", "image", "iframe", "script"):
        assert web.request("GET", "/api/status", Sec_Fetch_Site=site, Sec_Fetch_Dest=dest).status == 403
    assert web.request("GET", "/api/status", Sec_Fetch_Site=site, Sec_Fetch_Dest="document").status == 200
    assert web.request("GET", "/api/status", Sec_Fetch_Site="same-origin", Sec_Fetch_Dest="empty").status == 200


def test_a_cookie_ends_after_twelve_hours_and_cannot_prolong_itself(web: AdminClient) -> None:
    cookie = sign_in(web)
    assert web.request("POST", "/session", Cookie=cookie, **ORIGIN).status == 401
    web.now += SESSION_SECONDS - 1
    assert web.request("GET", "/api/status", Cookie=cookie).status == 200
    web.now += 1
    assert web.request("GET", "/api/status", Cookie=cookie).status == 401


def test_a_forged_cookie_is_none(web: AdminClient) -> None:
    cookie = sign_in(web, "wallboard")
    name, _, value = cookie.partition("=")
    until, _, signature = value.split(".")
    forged = (
        f"{until}.root.{signature}",
        f"{int(until) + 1}.wallboard.{signature}",
        f"{until}.nobody.{signature}",
        f"{until}.wallboard.{'0' * 64}",
        f"-{value}",
        f"{'9' * 5000}.wallboard.{signature}",
        f"²{value}",
        "",
        "..",
        f"{until}.wallboard",
    )
    for each in forged:
        assert web.request("GET", "/api/status", Cookie=f"{name}={each}".encode().decode("latin-1")).status == 401
    assert web.request("GET", "/api/status", Cookie=f"audiosocket_8083={value}").status == 401


def test_a_changed_token_makes_its_cookies_void(web: AdminClient) -> None:
    cookie = sign_in(web, "ana")
    other = AdminClient(tokens=[TOKENS[0], ApiToken.of("a new text", "ana", "operate")])
    other.now = web.now
    assert other.request("GET", "/api/status", Cookie=cookie).status == 401
    same = AdminClient(tokens=TOKENS)
    same.now = web.now
    assert same.request("GET", "/api/status", Cookie=cookie).status == 200


def test_a_wrong_token_is_not_helped_by_a_cookie(web: AdminClient) -> None:
    cookie = sign_in(web)
    assert web.request("GET", "/api/status", Cookie=cookie, Authorization="Bearer wrong").status == 401


def test_signing_out_removes_the_cookie(web: AdminClient) -> None:
    cookie = sign_in(web)
    answer = web.request("DELETE", "/session", Cookie=cookie, **ORIGIN)
    assert answer.status == 200
    assert "Max-Age=0" in str(answer.headers["Set-Cookie"])
    assert web.request("DELETE", "/session", **ORIGIN).status == 200


def test_a_server_without_tokens_needs_no_cookie() -> None:
    web = AdminClient()
    answer = web.request("POST", "/session")
    assert answer.json()["token_required"] is False
    assert answer.headers["Set-Cookie"] is None
    assert AdminClient(tokens=TOKENS).request("GET", "/session").status == 401
