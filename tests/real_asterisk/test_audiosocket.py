"""The two ways into the server, AudioSocket() and Dial(AudioSocket/…): sound, digits and every kind of ending."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.real_asterisk import sound
from tests.real_asterisk.handset import Handset, PickUp
from tests.real_asterisk.product import Server
from tests.real_asterisk.rig import Asterisk

pytestmark = pytest.mark.asterisk

DIGITS = "0123456789*#ABCD"


@pytest.fixture
def server(lasting_server: Server) -> Server:
    return lasting_server


def dialplan(server: Server, codec: str = "slin") -> str:
    """Return a dialplan with both ways into the server, each with a user event when the dialplan continues."""
    where = f"{server.host}:{server.visitor_port}"
    return f"""
[visitor]
exten => app,1,Answer()
 same => n,AudioSocket(${{RIG_UUID}},{where})
 same => n,UserEvent(Continued)
 same => n,Hangup()
exten => chan,1,Answer()
 same => n,Dial(AudioSocket/{where}/${{RIG_UUID}}/c({codec}),30,g)
 same => n,UserEvent(Continued)
 same => n,Hangup()
[presses]
exten => s,1,Wait(0.3)
 same => n,SendDTMF({DIGITS},40,80)
 same => n,Wait(1)
 same => n,Hangup()
"""


def call_to(extension: str) -> tuple[str, dict[str, Any]]:
    call_id = str(uuid.uuid4())
    return call_id, {"context": "visitor", "extension": extension, "variables": {"__RIG_UUID": call_id}}


async def hear_echo(caller: Handset, server: Server, call_id: str) -> None:
    """Send half a second of numbered noise and check that it is returned; silence in between is allowed."""
    await server.arrived()
    noise = sound.numbered_noise(caller.rate, 500)
    await caller.play(noise)
    wanted = sound.frames(noise, caller.rate)
    await caller.listen(lambda heard: len(sound.without_silence(heard, caller.rate)) >= len(wanted))
    assert sound.without_silence(bytes(caller.heard), caller.rate) == wanted


async def test_app_echoes_every_byte(asterisk: Asterisk, server: Server, pick_up: PickUp) -> None:
    await asterisk.dialplan(dialplan(server))
    call_id, call = call_to("app")
    caller, _ = await pick_up(**call)
    await hear_echo(caller, server, call_id)
    assert await server.arrived() == [call_id]
    caller.hang_up()
    await caller.gone


@pytest.mark.parametrize("rate", sound.RATES)
async def test_channel_echoes_every_byte_at(
    asterisk: Asterisk, server: Server, pick_up: PickUp, rate: int
) -> None:
    await asterisk.dialplan(dialplan(server, sound.codec_name(rate)))
    call_id, call = call_to("chan")
    caller, _ = await pick_up(rate, **call)
    await hear_echo(caller, server, call_id)
    assert await server.arrived() == [call_id]
    caller.hang_up()
    await caller.gone


@pytest.mark.parametrize("way", ["app", "chan"])
async def test_digits_keep_their_order(asterisk: Asterisk, server: Server, way: str) -> None:
    await asterisk.dialplan(dialplan(server))
    call_id, call = call_to(way)
    call.update(context="presses", extension="s")
    await asterisk.originate(f"Local/{way}@visitor/n", **call)
    await server.arrived()
    pressed = await server.events(call_id, "leg.digit", len(DIGITS))
    assert "".join(event["digit"] for event in pressed) == DIGITS


@pytest.mark.parametrize("talking", [True, False], ids=["talking", "silent"])
@pytest.mark.parametrize("way", ["app", "chan"])
async def test_server_hangs_up_and_the_dialplan_continues(
    asterisk: Asterisk, server: Server, pick_up: PickUp, way: str, talking: bool
) -> None:
    await asterisk.dialplan(dialplan(server))
    call_id, call = call_to(way)
    caller, _ = await pick_up(**call)
    await server.arrived()
    if talking:  # so that the server has unread input when it hangs up
        caller.play(sound.numbered_noise(8000, 3000))
        await caller.listen(lambda heard: len(heard) > 3 * sound.frame_bytes(8000))
    continued = asterisk.user_event("Continued")
    await server.hang_up(call_id)
    await continued
    await caller.gone


@pytest.mark.parametrize("way", ["app", "chan"])
async def test_server_hangs_up_immediately(asterisk: Asterisk, server: Server, pick_up: PickUp, way: str) -> None:
    await asterisk.dialplan(dialplan(server))
    call_id, call = call_to(way)
    continued = asterisk.user_event("Continued")
    caller, _ = await pick_up(**call)
    await server.arrived()
    await server.hang_up(call_id)
    await continued
    await caller.gone


@pytest.mark.parametrize("way", ["app", "chan"])
async def test_caller_hangs_up_and_no_channel_is_left(
    asterisk: Asterisk, server: Server, pick_up: PickUp, way: str
) -> None:
    await asterisk.dialplan(dialplan(server))
    call_id, call = call_to(way)
    caller, _ = await pick_up(**call)
    await server.arrived()
    caller.hang_up()
    await caller.gone
    await asterisk.no_channels()
    await server.left(call_id)
