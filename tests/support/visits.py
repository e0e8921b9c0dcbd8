"""A visitor in a call of the real server, for tests of return calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from tests.support.loopback_server import LOOPBACK, reactor
from tests.support.ports import free_ports
from tests.support.server_process import ServerProcess


class Visit:
    """A running server, and a visitor in a call of extension 1000, whose return number is 1001."""

    def __init__(self, server: ServerProcess, visitor: Caller) -> None:
        self.server = server
        self.visitor = visitor
        self.path = f"/api/calls/{visitor.call_id}"

    async def request(self, path: str, body: object = None, method: str | None = None) -> tuple[int, Any]:
        """Send one HTTP request; return status and JSON."""
        return await deferToThread(self.server.request, path, body, method)

    async def call_resident(self, *numbers: str) -> tuple[int, Any]:
        """Request the return call."""
        return await self.request(f"{self.path}/return", {"numbers": list(numbers)})

    async def call_json(self) -> Any:
        """Return the call as the API shows it."""
        return (await self.request(self.path))[1]["call"]

    async def wait_for_return(self, state: str) -> list[tuple[str, str | None, str]]:
        """Wait until the return call is in this state; return number, end and reason of its attempts."""
        while (shown := (await self.call_json())["return"])["state"] != state:
            assert shown["state"] in {"ringing", "answered"}, shown
            await deferLater(reactor, 0.05)
        return [(attempt["number"], attempt["end"], attempt["reason"]) for attempt in shown["attempts"]]

    async def wait_for_backend(self, state: str) -> dict[str, Any]:
        """Wait until the backend is in this state; return its part of the status."""
        while (shown := (await self.request("/api/status"))[1]["return_backend"])["state"] != state:
            await deferLater(reactor, 0.05)
        return dict(shown)

    async def connect_resident(self) -> Caller:
        """Connect the resident's leg, and return it once it hears its echo."""
        resident = Caller(reactor, self.visitor.call_id)
        await resident.dial(LOOPBACK, self.server.resident)
        await resident.until_heard(640)
        return resident

    async def hang_up_all(self, *others: Caller) -> None:
        """Hang up all legs."""
        for caller in (self.visitor, *others):
            caller.hang_up()
            await caller.ended


@asynccontextmanager
async def visit(directory: Path, **settings: str) -> AsyncIterator[Visit]:
    """Give a `Visit` on a server with these settings; hang up and stop the server in the end."""
    given = {"VISITOR_APP": "echo", "RESIDENT_APP": "echo", "RETURN_RING_SECONDS": "5", **settings}
    visitor_port, resident_port = free_ports(2)
    row = {"id": 1, "ramal_ia": "1000", "ramal_retorno": "1001"}
    server = ServerProcess(
        directory, given, rows=[{**row, "porta_ia": visitor_port, "porta_retorno": resident_port}]
    )
    server.visitor, server.resident = visitor_port, resident_port
    await deferToThread(server.__enter__)
    visitor = Caller(reactor)
    try:
        await visitor.dial(LOOPBACK, server.visitor)
        await visitor.until_heard(640)
        yield Visit(server, visitor)
    finally:
        visitor.hang_up()
        await visitor.ended
        await deferToThread(server.__exit__, None, None, None)
    secrets = [value for name, value in given.items() if name in {"WEBHOOK_SECRET", "ARI_PASSWORD", "AMI_SECRET"}]
    assert not [secret for secret in secrets if secret in server.log() + server.stdout()]
