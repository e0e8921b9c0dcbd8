"""The return call through the real server: HTTP asks for it, AMI is told, the resident's leg joins its visitor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_ami import SECRET, USER, FakeAsterisk
from twisted.internet.threads import deferToThread

from audiosocket.caller import Caller
from tests.parts import LOOPBACK, free_ports, reactor, turns, until
from tests.running import Running


class Visit:
    """A server with an Asterisk beside it, and a visitor who is in a call."""

    def __init__(self, server: Running, asterisk: FakeAsterisk, visitor: Caller) -> None:
        self.server = server
        self.asterisk = asterisk
        self.visitor = visitor
        self.path = f"/api/calls/{visitor.call_id}"

    async def ask(self, path: str, body: object = None, method: str | None = None) -> tuple[int, Any]:
        return await deferToThread(self.server.request, path, body, method)

    async def shown(self) -> Any:
        return (await self.ask(self.path))[1]["call"]

    async def originated(self, count: int = 1) -> Any:
        await until(lambda: len(self.asterisk.named("Originate")) == count)
        return self.asterisk.named("Originate")[-1]


@asynccontextmanager
async def visit(directory: Path, **settings: str) -> AsyncIterator[Visit]:
    asterisk = FakeAsterisk()
    port = reactor.listenTCP(0, asterisk, interface=LOOPBACK)
    given = {
        "VISITOR_APP": "echo", "RESIDENT_APP": "echo", "AMI_HOST": LOOPBACK, "AMI_PORT": str(port.getHost().port),
        "AMI_USER": USER, "AMI_SECRET": SECRET, "RETURN_CALLER_ID": "Gate", **settings,
    }  # fmt: skip
    visitor_port, resident_port = free_ports(2)
    row = {"id": 1, "ramal_ia": "1000", "ramal_retorno": "1001"}
    server = Running(directory, given, rows=[{**row, "porta_ia": visitor_port, "porta_retorno": resident_port}])
    server.visitor, server.resident = visitor_port, resident_port
    await deferToThread(server.__enter__)
    visitor = Caller(reactor)
    try:
        await visitor.dial(LOOPBACK, server.visitor)
        await visitor.until_heard(640)
        yield Visit(server, asterisk, visitor)
    finally:
        visitor.hang_up()
        await visitor.ended
        await deferToThread(server.__exit__, None, None, None)
        await port.stopListening()
    assert asterisk.wrong == []


@pytest.mark.deadline(60)
async def test_a_whole_visit(tmp_path: Path) -> None:
    async with visit(tmp_path) as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        early = Caller(reactor, here.visitor.call_id)
        await early.dial(LOOPBACK, here.server.resident)
        await early.ended  # nobody has called a resident yet
        assert (await here.ask(f"{here.path}/return", {"number": "1/2"}))[0] == 422
        status, answer = await here.ask(f"{here.path}/return", {"numbers": ["101", "102"]})
        assert (status, answer["status"], answer["call"]["return"]["state"]) == (202, "success", "ringing")
        assert (await here.ask(f"{here.path}/return", {"number": "103"}))[0] == 409
        first = await here.originated()
        assert (first["Channel"], first["Exten"], first["Context"]) == ("PJSIP/101", "1001", "audiosocket-return")
        assert (first["CallerID"], first["Timeout"]) == ("Gate", "25000")
        assert f"AUDIOSOCKET_CALL_ID={here.visitor.call_id}" in first.every("Variable")
        here.asterisk.event("OriginateResponse", Response="Failure", Uniqueid=first["ChannelId"], Reason="5")
        here.asterisk.event("Hangup", Uniqueid=first["ChannelId"], Cause="17")
        second = await here.originated(2)
        assert second["Channel"] == "PJSIP/102"
        here.asterisk.event("OriginateResponse", Response="Success", Uniqueid=second["ChannelId"], Reason="4")
        resident = Caller(reactor, here.visitor.call_id)
        await resident.dial(LOOPBACK, here.server.resident)
        await resident.until_heard(640)
        call = await here.shown()
        assert call["return"]["state"] == "connected"
        assert [(a["number"], a["end"]) for a in call["return"]["attempts"]] == [
            ("**01", "busy"),
            ("**02", "answered"),
        ]
        assert {leg["role"]: leg["state"] for leg in call["legs"]} == {"visitor": "live", "resident": "live"}
        assert call["caller"] is None  # the imitation has told of no channel
        assert (await here.ask("/api/status"))[1]["return_backend"] == {"kind": "ami", "state": "up", "reason": ""}
        resident.hang_up()
        here.visitor.hang_up()
        await resident.ended
        await here.visitor.ended
        assert (await here.ask(f"{here.path}/return", {"number": "103"}))[0] == 404
        assert SECRET not in here.server.log()


@pytest.mark.deadline(60)
async def test_the_ringing_stops_when_the_visitor_leaves(tmp_path: Path) -> None:
    async with visit(tmp_path) as here:
        await until(lambda: any(connection.logged_in for connection in here.asterisk.connections))
        assert (await here.ask(f"{here.path}/return", {"number": "101"}))[0] == 202
        originated = await here.originated()
        here.visitor.hang_up()
        await until(lambda: bool(here.asterisk.named("Hangup")))
        assert here.asterisk.named("Hangup")[0]["Channel"] == originated["ChannelId"]
        call = await here.shown()
        assert (call["state"], call["return"]["state"]) == ("ended", "cancelled")


@pytest.mark.deadline(60)
async def test_a_wrong_secret_is_said_at_once(tmp_path: Path) -> None:
    async with visit(tmp_path, AMI_SECRET="mistyped") as here:
        while (await here.ask("/api/status"))[1]["return_backend"]["state"] == "connecting":
            await turns()
        status, answer = await here.ask(f"{here.path}/return", {"number": "101"})
        assert (status, "login refused" in answer["message"]) == (503, True)
        backend = (await here.ask("/api/status"))[1]["return_backend"]
        assert (backend["kind"], backend["state"]) == ("ami", "down")
        assert (await here.shown())["return"] is None
