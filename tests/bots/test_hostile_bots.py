"""Bots that are slow, rude, wrong or dead, over real sockets: callers hear the fallback, neighbours nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from wsproto import events as ws

from audiosocket.bots import connecting
from audiosocket.bots.app import Twilio
from audiosocket.client.caller import Caller
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, Leg
from audiosocket.media.pcm import slin_to_ulaw, tone
from audiosocket.testing.loopback import LoopbackCalls, loopback_calls
from tests.support.certificates import Authority, ServerTLS
from tests.support.loopback_server import until
from tests.support.reactor import reactor
from tests.support.websocket_server import ServerConnection, WebSocketServer

TONE = tone(8000, 440, 20)
FALLBACK = b"\x31\x42" * 160


class Fallback(App):
    """What takes over: says something that nobody else says."""

    def joined(self, leg: Leg) -> None:
        leg.play(FALLBACK * 10)


@asynccontextmanager
async def calls_with(url: str, **parameters: Any) -> AsyncIterator[LoopbackCalls]:
    table = {"url": url, "fallback": "rescue", "retry_seconds": 0.3, "connect_seconds": 0.5, **parameters}
    options: dict[str, Any] = {
        "parameters": {"twilio": table},
        "others": {"rescue": Fallback},
        "leg_transport": os.environ.get("LEG_TRANSPORT", "auto"),
    }
    async with loopback_calls(reactor, {"twilio": Twilio}, **options) as calls:
        yield calls


async def hears_fallback(calls: LoopbackCalls, caller: Caller) -> str:
    """The reason why the bot was replaced, once the caller hears what replaced it."""
    await caller.until_heard(lambda heard: FALLBACK in heard)
    (event,) = [each for each in calls.events if each["event"] == "app.replaced"]
    return str(event["reason"])


class BotServer(WebSocketServer):
    """Knows its connections, so that none is left."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[ServerConnection] = []

    def buildProtocol(self, addr: object) -> ServerConnection:
        self.made.append(super().buildProtocol(addr))
        return self.made[-1]


@asynccontextmanager
async def bot_server(
    tls: ServerTLS | None = None, port: int = 0, make: type[BotServer] = BotServer
) -> AsyncIterator[BotServer]:
    """A bot's server on loopback; what the clients have not closed in the end is dropped."""
    server = make()
    if tls is None:
        listening = reactor.listenTCP(port, server, interface="127.0.0.1")
    else:
        listening = reactor.listenSSL(port, server, tls, interface="127.0.0.1")
    server.port = listening.getHost().port
    try:
        yield server
    finally:
        await listening.stopListening()
        for one in server.made:
            with contextlib.suppress(AttributeError):  # Twisted's TLS of a connection that is gone
                one.transport.abortConnection()
        await deferLater(reactor, 0.02)


def media(pcm: bytes) -> ws.TextMessage:
    payload = base64.b64encode(slin_to_ulaw(pcm)).decode()
    return ws.TextMessage(json.dumps({"event": "media", "media": {"payload": payload}}))


async def started(server: WebSocketServer) -> ServerConnection:
    """The connection of a bot that has read connected and start."""
    bot: ServerConnection = await server.connection()
    await bot.accept()
    for event in ("connected", "start"):
        message = await bot.next()
        assert json.loads(message.data)["event"] == event
    return bot


def local(server: Any, scheme: str = "ws", host: str = "127.0.0.1") -> str:
    return f"{scheme}://{host}:{server.port}/bot"


async def test_nobody_there() -> None:
    async with bot_server() as server:
        port = server.port
    async with calls_with(f"ws://127.0.0.1:{port}/") as calls:
        caller = await calls.call()
        assert "no connection" in await hears_fallback(calls, caller)


async def test_accepts_and_never_answers() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        assert "within 0.5 s" in await hears_fallback(calls, caller)


@pytest.mark.parametrize("status", [302, 403, 500])
async def test_a_redirect_or_an_error_is_not_followed(status: int) -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        calling = calls.call()
        refusals = _refuse_all(server, status)
        caller = await calling
        reason = await hears_fallback(calls, caller)
        refusals.cancel()
        assert f"HTTP {status}" in reason


def _refuse_all(server: WebSocketServer, status: int) -> Deferred[None]:
    async def refuse() -> None:
        while True:
            bot = await server.connection()
            await bot.next()
            headers = [(b"location", b"ws://127.0.0.1:1/"), (b"content-length", b"0")]
            bot.send(ws.RejectConnection(status_code=status, headers=headers))
            bot.transport.loseConnection()

    return Deferred.fromCoroutine(refuse()).addErrback(lambda failure: None)


async def test_closes_at_once() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        bot.send(ws.CloseConnection(1000))
        assert "at once" in await hears_fallback(calls, caller)


async def test_dies_in_the_middle_of_a_word() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        bot.send(media(TONE * 250))
        await caller.until_heard(3200)
        bot.transport.abortConnection()
        assert "1006" in await hears_fallback(calls, caller)


async def test_floods_with_audio() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        for _ in range(14):
            bot.send(media(TONE * 500))
        assert "120 s" in await hears_fallback(calls, caller)


async def test_a_message_of_10_mb() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        bot.send(ws.TextMessage("x" * 10_000_000))
        assert "1000000 bytes" in await hears_fallback(calls, caller)


async def test_a_message_of_many_pieces_that_are_small_each() -> None:
    """1.4 MB in pieces of 1.4 kB: the limit is one of the message."""
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        for _ in range(1_000):
            bot.send(ws.TextMessage("x" * 1_400, message_finished=False))
        assert "1000000 bytes" in await hears_fallback(calls, caller)


async def test_a_flood_of_pings_is_no_reason_to_leave() -> None:
    async with bot_server() as server, calls_with(local(server), connect_seconds=5) as calls:
        caller = await calls.call()
        bot = await started(server)
        bot.send_bytes(b"\x89\x04ping" * 20_000)
        bot.send(media(TONE * 20))
        await caller.until_heard(lambda heard: len(heard.strip(b"\0")) > 3200)
        assert not [each for each in calls.events if each["event"] == "app.replaced"]


async def test_a_bot_that_pings_and_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not answer our pings, and what waits for it is bounded meanwhile."""
    monkeypatch.setattr(connecting, "PING_SECONDS", 0.1)
    monkeypatch.setattr(connecting, "PONG_SECONDS", 1.0)
    async with bot_server() as server, calls_with(local(server), connect_seconds=5) as calls:
        caller = await calls.call()
        bot = await started(server)
        bot.transport.pauseProducing()  # type: ignore[attr-defined] # a producer, too
        bot.send_bytes((b"\x89\x7d" + b"p" * 125) * 5_000)
        assert "no answer to a ping" in await hears_fallback(calls, caller)


async def test_rubbish_is_no_reason_to_leave() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        bot.send(ws.BytesMessage(b"\xff\x00"), ws.TextMessage("{"), ws.TextMessage("[]"), media(TONE * 20))
        await caller.until_heard(lambda heard: len(heard.strip(b"\0")) > 3200)
        assert not [each for each in calls.events if each["event"] == "app.replaced"]


async def test_frames_that_are_no_websocket() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        bot.send_bytes(b"\xff" * 64)
        assert "1002" in await hears_fallback(calls, caller)


class Mute(Protocol):
    """Speaks neither HTTP nor anything else."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"SSH-2.0-OpenSSH\r\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        pass


async def test_another_kind_of_server() -> None:
    factory = Factory.forProtocol(Mute)
    factory.noisy = False
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        async with calls_with(f"ws://127.0.0.1:{port.getHost().port}/") as calls:
            caller = await calls.call()
            assert "WebSocket" in await hears_fallback(calls, caller)
    finally:
        await port.stopListening()


async def test_a_certificate_of_another_host(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("other.example")
    async with (
        bot_server(tls) as server,
        calls_with(local(server, "wss"), ca_file=str(authority.path)) as calls,
    ):
        caller = await calls.call()
        assert "TLS" in await hears_fallback(calls, caller)


async def test_a_certificate_of_nobody_known(tmp_path: Path) -> None:
    tls = Authority(tmp_path).server("127.0.0.1")
    async with bot_server(tls) as server, calls_with(local(server, "wss")) as calls:
        caller = await calls.call()
        assert "TLS" in await hears_fallback(calls, caller)


async def test_a_bot_over_tls_is_heard(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("127.0.0.1")
    async with (
        bot_server(tls) as server,
        calls_with(local(server, "wss"), ca_file=str(authority.path)) as calls,
    ):
        caller = await calls.call()
        bot = await started(server)
        bot.send(media(TONE * 20))
        await caller.until_heard(lambda heard: len(heard.strip(b"\0")) > 3200)


async def test_comes_late_within_the_time_for_retries() -> None:
    async with bot_server() as server:
        port = server.port
    async with calls_with(f"ws://127.0.0.1:{port}/", retry_seconds=5) as calls:
        caller = await calls.call()
        await deferLater(reactor, 0.3)
        async with bot_server(port=port) as server:
            bot = await started(server)
            bot.send(media(TONE * 20))
            await caller.until_heard(lambda heard: len(heard.strip(b"\0")) > 3200)
            caller.hang_up()
            await caller.ended


async def test_a_caller_who_hangs_up_ends_the_connection_with_stop_and_1000() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        caller = await calls.call()
        bot = await started(server)
        caller.hang_up()
        last, message = "", await bot.next()
        while isinstance(message, ws.TextMessage):
            last, message = json.loads(message.data)["event"], await bot.next()
        assert last == "stop"
        assert isinstance(message, ws.CloseConnection)
        assert message.code == 1000


async def test_both_legs_of_a_call_have_a_connection_of_their_own() -> None:
    async with bot_server() as server, calls_with(local(server)) as calls:
        call_id = uuid4()
        await calls.call(call_id=call_id)
        visitor = await started(server)
        resident = await calls.call(Role.RESIDENT, call_id)
        other = await started(server)
        other.send(media(TONE * 20))
        await resident.until_heard(lambda heard: len(heard.strip(b"\0")) > 3200)
        assert visitor is not other
        assert not calls.callers[0].heard.strip(b"\0")


class DyingBot(ServerConnection):
    """Dies in one of the ways that a program, its host or its network can."""

    def live_and_die(self, chance: random.Random) -> Deferred[None]:
        return Deferred.fromCoroutine(self._live(chance)).addErrback(lambda failure: None)

    async def _live(self, chance: random.Random) -> None:
        if chance.random() < 0.1:
            self.transport.abortConnection()
            return
        await self.accept()
        for _ in range(chance.randrange(20)):
            await self.next()
            self.send(media(TONE))
        end = chance.choice(["reset", "silence", 1000, 1011])
        if isinstance(end, int):
            self.send(ws.CloseConnection(end))
        elif end == "reset":
            self.transport.abortConnection()


class DyingBots(BotServer):
    """Each connection dies at random."""

    protocol = DyingBot

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(1)

    def buildProtocol(self, addr: object) -> ServerConnection:
        made = super().buildProtocol(addr)
        assert isinstance(made, DyingBot)
        reactor.callLater(0, made.live_and_die, self.chance)
        return made


@pytest.mark.deadline(120)
async def test_calls_to_bots_that_die_at_random_leave_nothing_behind() -> None:
    """``DYING_BOT_CALLS=1000`` makes a thousand of them."""
    total = int(os.environ.get("DYING_BOT_CALLS", "60"))
    chance = random.Random(2)
    descriptors = len(os.listdir("/proc/self/fd"))
    async with bot_server(make=DyingBots) as server, calls_with(local(server), connect_seconds=5) as calls:
        idle = len(os.listdir("/proc/self/fd"))
        for _ in range(0, total, 20):
            callers = [await calls.call() for _ in range(20)]
            for caller in callers:
                caller.say(TONE * 20)
            await deferLater(reactor, chance.random() / 2)
            for caller in callers:
                caller.hang_up()
            for caller in callers:
                await caller.ended
        await until(lambda: len(calls.switchboard.registry) == 0)
        await until(lambda: all(one.gone for one in server.made))
        assert len(server.made) > total / 2
        await until(lambda: len(os.listdir("/proc/self/fd")) <= idle)
        names = [each["event"] for each in calls.events]
        assert names.count("call.started") == names.count("call.ended") == total
        assert names.count("app.failed") == 0
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


@pytest.mark.deadline(30)
async def test_neighbours_notice_nothing() -> None:
    """A caller on a good bot hears it without a gap while another bot does its worst."""

    async def bad(bot: ServerConnection) -> None:
        bot.send(
            *[
                ws.TextMessage(json.dumps({"event": "mark", "mark": {"name": str(number)}}))
                for number in range(3000)
            ]
        )
        bot.send(*[media(TONE * 100) for _ in range(50)])
        bot.send(ws.TextMessage("x" * 2_000_000))

    async with bot_server() as server, calls_with(local(server), connect_seconds=5) as calls:
        good = await calls.call()
        friend = await started(server)
        friend.send(media(TONE * 100))
        await good.until_heard(lambda heard: len(heard.strip(b"\0")) > 1600)
        for _ in range(3):
            await calls.call()
            await bad(await started(server))
        await until(lambda: len([each for each in calls.events if each["event"] == "app.replaced"]) == 3)
        await good.until_heard(lambda heard: len(heard.strip(b"\0")) >= 100 * 320 - 2)
        assert slin_to_ulaw(TONE * 100) in slin_to_ulaw(good.heard)
        assert len(calls.switchboard.registry) == 4
