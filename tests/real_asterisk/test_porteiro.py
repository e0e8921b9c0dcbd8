"""The app porteiro under a real Asterisk: a door station that types and hears keys, and residents' telephones.

The door station is the other half of a Local channel: its dialplan presses keys, and reads those by which the gate
is opened. Residents answer over SIP; their keys arrive as if the telephone had sent them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor, task

from tests.real_asterisk import visit
from tests.real_asterisk.conversation import SAYS, enter
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import Asterisk
from tests.real_asterisk.sip_phones import sip_phones

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(120)]

DOOR = """
[door]
exten => s,1,Answer()
 same => n,Wait(1)
 same => n,SendDTMF(#,200,100)
 same => n,Wait(1)
 same => n,SendDTMF(${KEYS}#,200,100)
 same => n,Read(CODE,,2,,1,60)
 same => n,UserEvent(Code,Code: ${CODE})
 same => n,Wait(30)
"""
#: 2001 is the resident's telephone, 2002 a mailbox that answers and records.
INTERNAL = """
[internal]
exten => 2001,1,Dial(PJSIP/2001)
exten => 2002,1,Answer()
 same => n,Wait(0.5)
 same => n,VoiceMail(2002@default,s)
 same => n,Hangup()
"""
VOICEMAIL = """\
[general]
format = wav
maxsecs = 30
[default]
2002 => 1234,Somebody
"""
APARTMENTS = [
    {"apartment_number": "101", "voip_number": "2001"},
    {"apartment_number": "102", "numbers": ["2002", "2001"]},
]


def write_apartments(server: Server) -> None:
    """Enter the apartments, as an administrator does."""
    (Path(server.directory) / "data" / "apartamentos.json").write_text(json.dumps(APARTMENTS))


def audit(server: Server) -> list[dict[str, Any]]:
    path = Path(server.directory) / "data" / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def until_state(server: Server, call_id: str, state: str, seconds: float = 30) -> None:
    """Wait until the visit has reached a stage."""
    await server.until_call(
        call_id, lambda call: any(entry.get("state") == state for entry in call["timeline"]), seconds
    )


async def press(asterisk: Asterisk, number: str, key: str) -> None:
    """A key of a resident's telephone."""
    (channel,) = [
        one["Channel"] for one in await asterisk.channels() if one["Channel"].startswith(f"PJSIP/{number}-")
    ]
    await asterisk.ami.action("PlayDTMF", {"Channel": channel, "Digit": key, "Duration": "150", "Receive": "true"})


async def ring_at_the_door(asterisk: Asterisk, server: Server, keys: str) -> str:
    """A visitor at the door station, who types an apartment; return the call's id."""
    await asterisk.originate(
        "Local/s@door/n", context="audiosocket-visitor", extension="1000", variables={"__KEYS": keys}
    )
    (call_id,) = await server.arrived()
    return call_id


async def authorise(asterisk: Asterisk, server: Server, call_id: str) -> None:
    """Press 1 on the resident's telephone until the menu has begun and the key counts."""
    await until_state(server, call_id, "menu")
    for _ in range(60):
        if any(event["event"] == "gate.opening" for event in (await server.call(call_id))["timeline"]):
            return
        await press(asterisk, "2001", "1")
        await task.deferLater(reactor, 0.3)
    raise AssertionError("the key did not count")


@pytest.mark.parametrize("codec", ["", "slin16"], ids=["8 kHz", "16 kHz"])
async def test_a_whole_visit_opens_the_gate_by_keys(asterisk: Asterisk, serve: Serve, codec: str) -> None:
    settings = visit.settings(asterisk, GATE_DTMF="*9", RETURN_RING_SECONDS="20")
    server = await serve("porteiro", **settings)
    write_apartments(server)
    await visit.load(asterisk, server, DOOR + INTERNAL, AUDIOSOCKET_CODEC=codec)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, SAYS) as house:
        heard = asterisk.user_event("Code")
        call_id = await ring_at_the_door(asterisk, server, "101")
        await house.rings("2001", 30)
        house.answer("2001")
        await authorise(asterisk, server, call_id)
        assert (await heard)["Code"] == "*9"
        call = await server.until_call(call_id, lambda call: call["state"] == "ended", 30)
        assert call["outcome"] == "authorised"
        assert visit.leg(call, "resident")["rate"] == (16_000 if codec else 8_000)
        await house.gone("2001")
        await asterisk.hang_up("Local/s@door")
        await visit.nothing_left(asterisk, server)
    (line,) = audit(server)
    assert (line["apartment"], line["answered_by"], line["gate"]) == (
        "101",
        "2001",
        {"dtmf": "2 keys were played"},
    )


async def with_mailbox(asterisk: Asterisk, **more: str) -> dict[str, str]:
    """Have 2002 answered by voicemail; return the server's settings."""
    asterisk.configure({"voicemail.conf": VOICEMAIL})
    asterisk.expect("beep")  # this tree has no sounds
    await asterisk.ami.action("ModuleLoad", {"Module": "app_voicemail.so", "LoadType": "load"})
    return visit.settings(
        asterisk,
        RETURN_CHANNEL="Local/{number}@internal/n",
        RETURN_CONFIRM="true",
        RETURN_RING_SECONDS="20",
        **more,
    )


async def test_a_mailbox_does_not_connect_a_bridge(asterisk: Asterisk, serve: Serve, pick_up: PickUp) -> None:
    server = await serve("bridge", **await with_mailbox(asterisk))
    await visit.load(asterisk, server, INTERNAL)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, SAYS) as house:
        visitor, call_id = await enter(server, pick_up, server.rows[0])
        await visit.ring(server, call_id, "2002", "2001")
        await house.rings("2001", 60)
        house.answer("2001")
        await server.until_call(call_id, lambda call: call["return"]["state"] == "answered", 10)
        await task.deferLater(reactor, 1)
        await press(asterisk, "2001", "3")
        found = await visit.ended(server, call_id, "connected", 10)
        assert [one["end"] for one in found["attempts"]] == ["no_answer", "answered"]
        visitor.hang_up()
        await visitor.gone
        await house.gone("2001")
        await asterisk.hang_up("Local/")
        await visit.nothing_left(asterisk, server)


async def test_a_mailbox_is_no_resident(asterisk: Asterisk, serve: Serve) -> None:
    """The first number's voicemail answers and presses no key; the next number's resident decides."""
    server = await serve("porteiro", **await with_mailbox(asterisk, GATE_DTMF="*9"))
    write_apartments(server)
    await visit.load(asterisk, server, DOOR + INTERNAL)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, SAYS) as house:
        call_id = await ring_at_the_door(asterisk, server, "102")
        await until_state(server, call_id, "ringing")
        await house.rings("2001", 60)
        call = await server.call(call_id)
        assert [one["end"] for one in call["earlier_returns"][0]["attempts"]] == ["no_answer"]
        assert "menu" not in [entry.get("state") for entry in call["timeline"]]
        house.answer("2001")
        await task.deferLater(reactor, 1)
        await press(asterisk, "2001", "3")
        await authorise(asterisk, server, call_id)
        call = await server.until_call(call_id, lambda call: call["state"] == "ended", 30)
        assert call["outcome"] == "authorised"
        await house.gone("2001")
        await asterisk.hang_up("Local/")
        await visit.nothing_left(asterisk, server)
    assert [line["answered_by"] for line in audit(server)] == ["2001"]
