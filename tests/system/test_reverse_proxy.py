"""The shipped lines for nginx and HAProxy: page, API, events and telephone through TLS."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.outbound.endpoints import Endpoints
from audiosocket.outbound.websocket import WebSocketClient
from tests.support.certificates import Authority
from tests.support.loopback_server import reactor, until
from tests.support.reverse_proxy import ReverseProxy
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.deadline(90)

TOKEN = "of-the-tests"
NAME = "audiosocket.example.org"


class Front:
    """A server behind a proxy, and requests through it."""

    def __init__(self, server: ServerProcess, proxy: ReverseProxy, authority: Authority) -> None:
        self.server = server
        self.port = proxy.port
        self.ca_file = str(authority.path)

    def open(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        """Return the answer, which owns the connection; the names of ``headers`` have _ for -."""
        context = ssl.create_default_context(cafile=self.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        own = {"Authorization": f"Bearer {TOKEN}", "Connection": "close"}
        connection.request(method, path, headers={**own, **given})
        return connection.getresponse()

    def status(self, path: str, method: str = "GET", **headers: str) -> int:
        with self.open(path, method, **headers) as answer:
            answer.read()
            return answer.status


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder: Path = tmp_path_factory.mktemp("proxy")
    authority = Authority(folder)
    pem = folder / "server.pem"
    pem.write_bytes(authority.server("127.0.0.1").pem)
    server = ServerProcess(folder / "server", {"API_TOKEN": TOKEN, "API_ALLOWED_HOSTS": NAME}, app="echo")
    proxy = ReverseProxy(request.param, server.api_port, pem)
    with server, proxy:
        yield Front(server, proxy, authority)


def test_page_and_api_answer_under_the_allowed_name(front: Front) -> None:
    with front.open("/", Host=NAME) as page:
        assert page.status == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert b"<html" in page.read()
    with front.open("/api/status", Host=NAME) as answer:
        assert json.load(answer)["extensions"][0]["ramal_ia"] == "1000"
    assert front.status("/api/status", Host=NAME, Authorization="Bearer wrong") == 401
    assert front.status("/api/status", Host="elsewhere.example") == 421


def test_a_page_of_its_own_may_change_things_and_others_may_not(front: Front) -> None:
    host = f"{NAME}:{front.port}"
    assert front.status("/session", "POST", Host=host, Origin=f"https://{host}") == 200
    assert front.status("/session", "POST", Host=host, Origin="https://elsewhere.example") == 403
    assert front.status("/session", "POST", Host=NAME, Origin=f"https://{NAME}") == 200


def test_the_cookie_of_a_session_is_for_https_only(front: Front) -> None:
    with front.open("/session", "POST", Host=NAME) as answer:
        assert answer.status == 200
        assert "; Secure" in (answer.headers["Set-Cookie"] or "")


def test_the_host_that_a_client_claims_to_be_forwarded_from_is_not_believed(front: Front) -> None:
    said = {"X_Forwarded_Host": NAME, "Forwarded": f"host={NAME}"}
    assert front.status("/api/status", Host="elsewhere.example", **said) == 421
    assert front.status("/session", "POST", Host=NAME, **said) == 200


class Phone:
    """The telephone of the page; ``heard`` is audio."""

    def __init__(self, front: Front) -> None:
        url = f"wss://127.0.0.1:{front.port}/api/phone?extension=1000"
        endpoint = Endpoints(reactor).for_url(url, front.ca_file)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.client = WebSocketClient(url, self, endpoint, reactor, headers=headers)
        self.heard = b""
        self.messages: list[Any] = []
        self.over = False

    def opened(self) -> None:
        pass

    def message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.heard += message
        else:
            self.messages.append(json.loads(message))

    def closed(self, code: int, reason: str) -> None:
        self.over = True


def next_event(stream: http.client.HTTPResponse) -> Any:
    """Return the next event of the stream; comments are skipped."""
    while True:
        line = stream.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            return json.loads(line[len("data: ") :])


async def test_events_arrive_while_a_call_from_the_page_is_up(front: Front) -> None:
    stream = await deferToThread(front.open, "/api/events?event=call")
    try:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert await deferToThread(stream.readline) == b"retry: 2000\n"
        phone = Phone(front)
        await phone.client.connect()
        started = await deferToThread(next_event, stream)
        assert started["event"] == "call.started"
        await until(lambda: any(message.get("state") == "connected" for message in phone.messages))
        phone.client.send(bytes(320))
        await until(lambda: len(phone.heard) >= 320)
        phone.client.send(json.dumps({"hangup": True}))
        await until(lambda: phone.over)
        ended = await deferToThread(next_event, stream)
        assert (ended["event"], ended["call_id"]) == ("call.ended", started["call_id"])
    finally:
        stream.close()
