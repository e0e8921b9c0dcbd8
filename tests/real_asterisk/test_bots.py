"""Voice bots under a real Asterisk: digits and transfer through AMI, and how soon a barge-in is silent.

The bot is a WebSocket server of the test, so that what it says and when is known to the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet import reactor, task

from tests.real_asterisk import sound, visit
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import Asterisk
from tests.support.twilio_bot import TwilioBot
from tests.support.websocket_server import WebSocketServer, websocket_server

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(120)]

#: The caller of the bot reads digits, and hears the porter after a transfer.
DOOR = """
[door]
exten => s,1,Answer()
 same => n,Read(CODE,,3,,1,60)
 same => n,UserEvent(Code,Code: ${CODE})
 same => n,Wait(30)
[desk]
exten => 0,1,UserEvent(Desk,Reached: ${EXTEN})
 same => n,Wait(1)
 same => n,Hangup()
"""
ENTRY = """
[extension."1000"]
visitor = "twilio"
transfer_context = "desk"
bot_may_transfer_to = ["0"]
[extension."1000".twilio]
url = "ws://127.0.0.1:{port}/"
fallback = "silence"
"""
OLD, NEW = 700.0, 1100.0  # hertz
#: Frames of what the bot said before that may follow a `clear`: 40 ms are promised. The others are for the way
#: through Asterisk and for a machine that does other things.
MOST_OLD_FRAMES = 10


async def serve_bot(serve: Serve, asterisk: Asterisk, bots: WebSocketServer) -> Server:
    """A server whose extension 1000 has the bot."""
    server = await serve("silence", **visit.settings(asterisk))
    (Path(server.directory) / "data" / "apps.toml").write_text(ENTRY.replace("{port}", str(bots.port)))

    async def read() -> bool:
        _, shown = await server.ask("GET", "/api/extensions/1/apps")
        return bool(shown["visitor"]["app"] == "twilio")

    await server.until(read)
    await visit.load(asterisk, server, DOOR)
    return server


async def test_digits_reach_the_caller_and_a_transfer_takes_it_away(asterisk: Asterisk, serve: Serve) -> None:
    async with websocket_server() as bots:
        server = await serve_bot(serve, asterisk, bots)
        asterisk.expect("Failed to receive frame from channel")  # what a redirected channel's AudioSocket() says
        code, desk = asterisk.user_event("Code"), asterisk.user_event("Desk")
        await asterisk.originate("Local/s@door/n", context="audiosocket-visitor", extension="1000")
        bot = await TwilioBot.answer(bots)
        (call_id,) = await server.arrived()
        await server.until_call(call_id, lambda call: call["caller"] is not None)
        assert (await bot.command("digits", digits="124"))["ok"]
        assert (await code)["Code"] == "124"
        assert (await bot.command("transfer", to="0"))["ok"]
        assert (await desk)["Reached"] == "0"
        call = await server.until_call(call_id, lambda call: call["state"] == "ended")
        assert visit.leg(call, "visitor")["outcome"] in visit.HUNG_UP
        await bot.next("stop")
        await asterisk.hang_up("Local/s@door")
        await visit.nothing_left(asterisk, server)


async def test_nothing_old_is_heard_after_a_clear(asterisk: Asterisk, serve: Serve, pick_up: PickUp) -> None:
    async with websocket_server() as bots:
        server = await serve_bot(serve, asterisk, bots)
        caller, _ = await pick_up(context="audiosocket-visitor", extension="1000")
        bot = await TwilioBot.answer(bots)
        found = []
        for _ in range(10):
            at = len(caller.heard)
            bot.play(sound.tone(8000, OLD, 5_000))
            await caller.listen(more_than(20, OLD, at), 10)
            before = len(caller.heard)
            bot.send("clear")
            bot.play(sound.tone(8000, NEW, 400))
            await caller.listen(more_than(15, NEW, before), 10)
            found.append(frames_of(bytes(caller.heard[before:]), OLD))
            await task.deferLater(reactor, 0.5)
        assert max(found) <= MOST_OLD_FRAMES, found
        caller.hang_up()
        await caller.gone
        await visit.nothing_left(asterisk, server)


def frames_of(audio: bytes, hertz: float) -> int:
    """Return how many 20 ms frames of ``audio`` are this tone."""
    return sum(sound.strength(frame * 5, 8000, hertz) > 0.5 for frame in sound.frames(bytes(audio), 8000))


def more_than(frames: int, hertz: float, at: int) -> Callable[[bytes], bool]:
    """Return a condition: what was heard from byte ``at`` on has more than so many frames of this tone."""
    return lambda heard: frames_of(heard[at:], hertz) > frames
