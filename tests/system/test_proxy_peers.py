"""PROXY headers on a real server: with each transport, and over several workers."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.proxy_header import SIGNATURE
from audiosocket.wire import uuid_frame
from tests.support.loopback_server import LOOPBACK, until
from tests.support.server_process import ServerProcess

SETTINGS = {"PROXY_PEERS": "127.0.0.0/8", "VISITOR_APP": "echo"}
CALLS = 8


def header(n: int, version: int) -> bytes:
    """Return the header of caller ``n``, whose address ends with that number."""
    if version == 1:
        return f"PROXY TCP4 10.9.8.{n} 127.0.0.1 40000 8101\r\n".encode()
    return SIGNATURE + b"\x21\x11\x00\x0c" + bytes((10, 9, 8, n, 127, 0, 0, 1, 0x9C, 0x40, 0x1F, 0xA5))


@pytest.mark.parametrize(
    "settings",
    [{"LEG_TRANSPORT": "auto"}, {"LEG_TRANSPORT": "stock"}, {"WORKERS": "2"}],
    ids=["fast", "stock", "workers"],
)
async def test_the_caller_behind_the_proxy_is_seen(tmp_path: Path, settings: dict[str, str]) -> None:
    ids = [uuid4() for _ in range(CALLS)]
    with ServerProcess(tmp_path, {**SETTINGS, **settings}) as server:
        lines = [_call(server.visitor, header(n, n % 2 + 1), call_id) for n, call_id in enumerate(ids)]
        calls: list[dict[str, Any]] = []

        def all_seen() -> bool:
            calls[:] = server.api("/api/calls")["calls"]
            return len(calls) == CALLS

        while not await deferToThread(all_seen):
            pass
        seen = {call["call_id"]: call["legs"][0]["peer"] for call in calls}
        assert seen == {str(call_id): f"10.9.8.{n}:40000" for n, call_id in enumerate(ids)}
        # one that lies about its header costs nobody else anything
        with socket.create_connection((LOOPBACK, server.visitor)) as liar:
            liar.sendall(b"PROXY TCP4 nobody\r\n")
            liar.settimeout(10)
            with pytest.raises(ConnectionResetError):
                liar.recv(1)
        await until(lambda: "PROXY line" in server.log())
        for line in lines:
            assert line.recv(3)[:1] == b"\x10"
            line.close()


def _call(port: int, first: bytes, call_id: UUID) -> socket.socket:
    line = socket.create_connection((LOOPBACK, port))
    line.settimeout(10)
    line.sendall(first + uuid_frame(call_id))
    return line
