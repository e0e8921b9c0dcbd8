"""The API over real loopback sockets: clients that disconnect, half-close or upload too much, and many at once."""

from __future__ import annotations

import http.client
import socket
from typing import Any

import pytest
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.web.client import HTTPConnectionPool

from tests.support.admin_client import CALL, DATABASE_GONE, FakeControl, dial, listening, request_bytes
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import until


async def ask(port: int, method: str, path: str, **options: Any) -> tuple[int, Any]:
    pool = HTTPConnectionPool(reactor, persistent=False)
    response = await treq.request(method, f"http://127.0.0.1:{port}{path}", pool=pool, **options)
    return response.code, await treq.json_content(response)


async def test_requests_of_every_kind() -> None:
    control = FakeControl()
    async with listening(control, token="a token of mine") as port:
        known = {"headers": {"Authorization": "Bearer a token of mine"}}
        assert (await ask(port, "GET", "/readyz"))[0] == 200
        assert (await ask(port, "GET", "/api/status"))[0] == 401
        assert (await ask(port, "GET", "/api/status", **known))[1]["total_extensions"] == 1
        fields = {"ramal_ia": "2000", "porta_ia": 9000}
        assert (await ask(port, "POST", "/api/extensions", json=fields, **known))[0] == 201
        assert (await ask(port, "PUT", "/api/extensions/1", json={"porta_ia": 9001}, **known))[0] == 200
        assert control.running[1].port == 9001
        assert (await ask(port, "POST", "/api/hangup", json={"call_id": str(CALL)}, **known))[0] == 200
        assert (await ask(port, "DELETE", "/api/extensions/1", **known))[0] == 200
        assert (await ask(port, "DELETE", "/api/extensions/1", **known))[0] == 404


async def test_fifty_refreshes_at_once() -> None:
    control = FakeControl()
    control.blocked_on = Deferred()
    async with listening(control) as port:
        running = gatherResults([Deferred.fromCoroutine(ask(port, "POST", "/api/refresh")) for _ in range(50)])
        assert (await ask(port, "GET", "/healthz"))[0] == 200
        control.blocked_on.callback(None)
        assert [code for code, _ in await running] == [200] * 50


@pytest.mark.parametrize("failing", [None, DATABASE_GONE, RuntimeError("a bug")])
async def test_work_continues_when_its_client_disconnects(
    failing: Exception | None, logged_failures: LoggedFailures
) -> None:
    control = FakeControl()
    control.blocked_on = Deferred()
    found: list[LogEvent] = []
    observe: Any = found.append
    async with listening(control) as port:
        client = dial(port)
        client.sendall(request_bytes("POST", "/api/refresh"))
        await until(lambda: control.started > 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await until(lambda: not _connections(port))
        assert control.requests == []
        globalLogPublisher.addObserver(observe)
        control.error = failing
        control.blocked_on.callback(None)
        globalLogPublisher.removeObserver(observe)
    assert control.requests == ([] if failing else [("refresh", False, False)])
    (line,) = [formatEvent(event) for event in found if event["log_namespace"].startswith("admin")]
    assert "POST /api/refresh" in line
    assert len(logged_failures.flush(RuntimeError)) == (1 if isinstance(failing, RuntimeError) else 0)


def _connections(port: int) -> list[Any]:
    return [
        reader for reader in reactor.getReaders() if "admin" in type(getattr(reader, "protocol", None)).__module__
    ]


async def test_a_half_closed_connection_gets_its_response() -> None:
    """nc -N and socat half-close directly after the request."""

    def talk(port: int) -> bytes:
        with dial(port) as client:
            client.sendall(request_bytes("GET", "/api/status"))
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65_536), b""))

    async with listening(FakeControl()) as port:
        for _ in range(20):
            answer = await deferToThread(talk, port)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert answer.endswith(b"}\n")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_upload_gets_413_and_no_reset(chunked: bool) -> None:
    """Also where the client sends 3 MB before it reads."""

    def upload(port: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            body: Any = (b"x" * 30_000 for _ in range(100)) if chunked else b"x" * 3_000_000
            connection.request("POST", "/api/refresh", body, encode_chunked=chunked, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    async with listening(FakeControl()) as port:
        status, body = await deferToThread(upload, port)
        assert (status, body[:18]) == (413, b'{"status": "error"')


async def test_hostile_connections_leave_no_connection() -> None:
    def attack(port: int) -> None:
        for raw in (
            b"",
            b"\x16\x03\x01",
            b"GET /",
            request_bytes("GET", "/healthz")[:-1],
            b"x\r\n\r\n",
            b"y" * 70_000,
        ):
            with dial(port) as client:
                client.sendall(raw)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with listening(FakeControl()) as port:
        await gatherResults([deferToThread(attack, port) for _ in range(10)])
        assert (await ask(port, "GET", "/healthz"))[0] == 200
        await until(lambda: not _connections(port))
