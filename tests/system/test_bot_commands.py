"""What a bot may do with its call: on a real server, alone and with workers, beside a fake Asterisk and a gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from audiosocket.media.pcm import tone
from tests.support.fake_ami import SECRET, USER, FakeAMIServer
from tests.support.loopback_server import LOOPBACK, reactor, until
from tests.support.numbered_calls import call_ids
from tests.support.porteiro_visits import GateProgram, gate_program
from tests.support.ports import free_ports
from tests.support.server_process import ServerProcess
from tests.support.twilio_bot import TwilioBot
from tests.support.websocket_server import WebSocketServer, websocket_server

pytestmark = [pytest.mark.slow]

CHANNEL = {"Channel": "PJSIP/door-00000001", "Uniqueid": "1795376508.1", "Linkedid": "1795376508.1"}
ENTRY = """
[extension."1000"]
visitor = "twilio"
resident = "echo"
bot_may_dial = ["_3XX"]
transfer_context = "desk"
bot_may_transfer_to = ["0"]
bot_may_authorise = true
[extension."1000".twilio]
url = "ws://127.0.0.1:{port}/"
fallback = "silence"
"""


class Here:
    """A visitor with a bot, and all that is around them."""

    def __init__(
        self, server: ServerProcess, asterisk: FakeAMIServer, gate: GateProgram, visitor: Caller, bot: TwilioBot
    ) -> None:
        self.server = server
        self.asterisk = asterisk
        self.gate = gate
        self.visitor = visitor
        self.bot = bot

    async def call(self) -> dict[str, Any]:
        """The call as the API shows it."""
        answer = await deferToThread(self.server.api, f"/api/calls/{self.visitor.call_id}")
        return dict(answer["call"])

    async def until_identified(self) -> None:
        """Wait until the visitor's channel is known."""
        while (await self.call())["caller"] is None:
            pass

    async def as_bot(self, url: str, body: object = None) -> tuple[int, Any]:
        """Send a request with the call's token."""
        other = ServerProcess(self.server.directory, {**self.server.settings})
        other.settings["API_TOKEN"] = self.bot.parameters["control_token"]
        return await deferToThread(other.request, urlsplit(url).path, body)


def make_server(directory: Path, settings: Mapping[str, str]) -> ServerProcess:
    """A server with extension 1000 and return extension 1001, not started."""
    visitor, resident = free_ports(2)
    row = {"id": 1, "ramal_ia": "1000", "ramal_retorno": "1001"}
    rows = [{**row, "porta_ia": visitor, "porta_retorno": resident}]
    server = ServerProcess(directory, settings, rows=rows, app="echo")
    server.visitor, server.resident = visitor, resident
    return server


def announce(asterisk: FakeAMIServer, call_id: UUID, port: int) -> None:
    """The events of a visitor's channel."""
    who = {**CHANNEL, "CallerIDNum": "5511", "CallerIDName": "Porta Norte"}
    asterisk.event("Newchannel", **who, Exten="1000", Context="gate")
    asterisk.event("NewCallerid", **who, Exten="1000")
    data = f"{call_id},{LOOPBACK}:{port}"
    asterisk.event("Newexten", **who, Exten="s", Application="AudioSocket", AppData=data)


@asynccontextmanager
async def visit(directory: Path, workers: int, bots: WebSocketServer) -> AsyncIterator[Here]:
    asterisk = FakeAMIServer()
    for action in ("PlayDTMF", "Redirect"):
        asterisk.replies[action] = lambda connection, action: connection.answer(action)
    port = reactor.listenTCP(0, asterisk, interface=LOOPBACK)
    (directory / "data").mkdir()
    (directory / "data" / "apps.toml").write_text(ENTRY.replace("{port}", str(bots.port)))
    ami = {"AMI_HOST": LOOPBACK, "AMI_PORT": str(port.getHost().port), "AMI_USER": USER, "AMI_SECRET": SECRET}
    try:
        async with gate_program() as (gate, settings):
            given = {**ami, **settings, "WORKERS": str(workers), "API_TOKEN": "a-token-of-24-characters"}
            server = make_server(directory, given)
            await deferToThread(server.__enter__)
            # With two workers, a call of the one that is not the first.
            visitor = Caller(reactor, next(call_ids(f"{workers - 1}/{workers}")))
            try:
                await until(lambda: sum(one.logged_in for one in asterisk.connections) >= workers)
                announce(asterisk, visitor.call_id, server.visitor)
                await visitor.dial(LOOPBACK, server.visitor)
                yield Here(server, asterisk, gate, visitor, await TwilioBot.answer(bots))
                visitor.hang_up()
                await visitor.ended
            finally:
                await deferToThread(server.__exit__, None, None, None)
    finally:
        await port.stopListening()
    assert asterisk.violations == []


@pytest.mark.deadline(90)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_bot_rings_connects_and_opens(tmp_path: Path, workers: int) -> None:
    async with websocket_server() as bots, visit(tmp_path, workers, bots) as here:
        bot, asterisk = here.bot, here.asterisk
        refused = await bot.command("dial", to="0900")
        assert (refused["ok"], "bot_may_dial" in refused["error"]) == (False, True)
        assert (await bot.command("dial", to="301"))["ok"]
        await until(lambda: len(asterisk.actions_named("Originate")) == 1)
        assert (await bot.command("cancel"))["ok"]
        ended = await bot.next("x-leg")
        assert (ended["leg"], ended["state"]) == ("resident", "cancelled")
        assert (await bot.command("dial", to="302"))["ok"]
        await until(lambda: len(asterisk.actions_named("Originate")) == 2)
        placed = asterisk.actions_named("Originate")[-1]
        assert (placed["Channel"], placed["Context"]) == ("PJSIP/302", "audiosocket-return")
        asterisk.event("OriginateResponse", Response="Success", Uniqueid=placed["ChannelId"], Reason="4")
        resident = Caller(reactor, here.visitor.call_id)
        await resident.dial(LOOPBACK, here.server.resident)
        assert (await bot.next("x-leg"))["state"] == "connected"
        assert (await bot.command("bridge"))["ok"]
        word = tone(8000, 700, 20)
        resident.say(word * 50)
        await here.visitor.until_heard(lambda heard: word in heard)
        assert (await bot.command("unbridge"))["ok"]
        opened = await bot.command("outcome", outcome="authorised")
        assert (opened["ok"], opened["gate_opened"]) == (True, True)
        assert here.gate.keys == [str(here.visitor.call_id)]
        assert not (await bot.command("outcome", outcome="authorised"))["ok"]
        assert len(here.gate.asked) == 1
        assert (await bot.command("hangup"))["ok"]
        assert (await here.visitor.ended).ended_by == "server"
        resident.hang_up()
        await resident.ended
        call = await here.call()
        assert call["outcome"] == "authorised"
        done = [(entry["command"], entry["ok"]) for entry in call["timeline"] if entry["event"] == "bot.command"]
        assert done == [
            *(("dial", False), ("dial", True), ("cancel", True), ("dial", True), ("bridge", True)),
            *(("unbridge", True), ("outcome", True), ("outcome", False), ("hangup", True)),
        ]


@pytest.mark.deadline(90)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_bot_plays_digits_and_transfers(tmp_path: Path, workers: int) -> None:
    async with websocket_server() as bots, visit(tmp_path, workers, bots) as here:
        await here.until_identified()
        assert (await here.bot.command("digits", digits="12#"))["ok"]
        played = [(one["Channel"], one["Digit"]) for one in here.asterisk.actions_named("PlayDTMF")]
        assert played == [(CHANNEL["Channel"], digit) for digit in "12#"]
        assert not (await here.bot.command("transfer", to="1"))["ok"]
        assert (await here.bot.command("transfer", to="0"))["ok"]
        (moved,) = here.asterisk.actions_named("Redirect")
        assert (moved["Channel"], moved["Context"], moved["Exten"]) == (CHANNEL["Channel"], "desk", "0")


@pytest.mark.deadline(90)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_bot_asks_over_http_for_its_own_call_only(tmp_path: Path, workers: int) -> None:
    async with websocket_server() as bots, visit(tmp_path, workers, bots) as here:
        url = here.bot.parameters["control_url"]
        assert url == f"http://127.0.0.1:{here.server.api_port}/api/calls/{here.visitor.call_id}"
        assert (await here.as_bot(f"{url}/note", {"text": "a parcel"}))[0] == 200
        assert (await here.as_bot(f"{url}/return", {"number": "0900"}))[0] == 409
        status, answer = await here.as_bot(f"{url}/return", {"number": "302"})
        assert (status, answer["call"]["return"]["state"]) == (202, "ringing")
        await until(lambda: len(here.asterisk.actions_named("Originate")) == 1)
        for path in (url, "/api/status", url.replace(str(here.visitor.call_id), str(UUID(int=1))) + "/note"):
            assert (await here.as_bot(path, {"text": "x"} if path.endswith("note") else None))[0] == 403
        assert (await here.as_bot(f"{url}/hangup", {}))[0] == 200
        assert (await here.visitor.ended).ended_by == "server"
        notes = [entry["text"] for entry in (await here.call())["timeline"] if entry["event"] == "app.note"]
        assert notes == ["a parcel"]
