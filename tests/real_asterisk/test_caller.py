"""The caller, identified over AMI or ARI for both ways into the server, without a line in the dialplan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from tests.real_asterisk import sound, visit
from tests.real_asterisk.product import Serve
from tests.real_asterisk.rig import OUTAGE, Asterisk
from tests.real_asterisk.sip_phones import sip_phones
from tests.real_asterisk.telephone import MakeTelephone
from tests.support.server_process import install_app

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(30)]

# Door stations call AI extensions; the second one has a name besides its number
GATE = """
[from-sip]
include => audiosocket-visitor
[talks]
exten => s,1,Milliwatt()
"""
# Records the callers reported
APP = """
from audiosocket.interfaces import App


class RecordingApp(App):
    def identified(self, leg, caller):
        assert leg.caller is caller
        leg.note("app.note", caller=caller.to_json())
"""
WAYS = {"AudioSocket()": "", "Dial(AudioSocket/...)": "slin16"}


def is_known(call: dict[str, Any]) -> bool:
    return call["caller"] is not None


@pytest.mark.parametrize("backend", visit.BACKENDS)
@pytest.mark.parametrize("codec", WAYS.values(), ids=WAYS)
async def test_the_telephone_of_a_call_over_sip(
    asterisk: Asterisk, serve: Serve, telephone: MakeTelephone, codec: str, backend: str
) -> None:
    server = await serve(**visit.settings(asterisk, backend))
    await visit.connected(server)
    await visit.load(asterisk, server, GATE, AUDIOSOCKET_CODEC=codec)
    door = telephone(sound.tone(8000, 1000, 1000))
    door.call("1000")
    (call_id,) = await server.arrived()
    caller = (await server.until_call(call_id, is_known))["caller"]
    assert caller.pop("channel").startswith("PJSIP/doorstation-")
    assert caller == {"number": "doorstation", "name": "", "dialled": "1000"}
    await door.done()
    await server.left(call_id)
    await visit.nothing_left(asterisk, server)


@pytest.mark.parametrize("backend", visit.BACKENDS)
@pytest.mark.parametrize("codec", WAYS.values(), ids=WAYS)
async def test_callers_are_distinguished(asterisk: Asterisk, serve: Serve, codec: str, backend: str) -> None:
    server = await serve(rows=2, **visit.settings(asterisk, backend))
    await visit.connected(server)
    await visit.load(asterisk, server, GATE, AUDIOSOCKET_CODEC=codec)
    for number in ("551", "552", "553", "554"):
        where = f"Local/{'1000' if number < '553' else '1002'}@audiosocket-visitor/n"
        await asterisk.originate(where, context="talks", extension="s", caller=f"Portão {number} <{number}>")
    found = []
    for call_id in await server.arrived(4):
        call = await server.until_call(call_id, is_known)
        caller = call["caller"]
        assert caller["channel"].startswith(f"Local/{call['extension']['ramal_ia']}@audiosocket-visitor")
        assert caller["dialled"] == call["extension"]["ramal_ia"]
        assert caller["name"] == f"Portão {caller['number']}"
        found.append((caller["number"], caller["dialled"]))
    assert sorted(found) == [("551", "1000"), ("552", "1000"), ("553", "1002"), ("554", "1002")]
    await asterisk.hang_up("Local")
    await visit.nothing_left(asterisk, server)


async def test_a_restart_of_the_server_forgets_no_caller(
    asterisk: Asterisk, serve: Serve, telephone: MakeTelephone
) -> None:
    asterisk.expect(*OUTAGE)
    server = await serve(**visit.settings(asterisk))
    await visit.load(asterisk, server, GATE)
    door = telephone(sound.tone(8000, 1000, 1000))
    door.call("1000", 15)
    (call_id,) = await server.arrived()
    before = (await server.until_call(call_id, is_known))["caller"]
    await server.kill()
    await server.start()
    assert await server.arrived() == [call_id]
    await server.until_call(call_id, lambda call: call["caller"] == before)
    await server.hang_up(call_id)
    await visit.nothing_left(asterisk, server)


@pytest.mark.parametrize("codec", WAYS.values(), ids=WAYS)
async def test_an_app_is_given_the_caller_of_both_legs(
    asterisk: Asterisk, serve: Serve, telephone: MakeTelephone, tmp_path: Path, codec: str
) -> None:
    install_app(tmp_path / "server0", "learner = learner:RecordingApp", APP)
    server = await serve("learner", RETURN_CALLER_ID="Gate <1000>", **visit.settings(asterisk))
    await visit.load(asterisk, server, GATE, AUDIOSOCKET_CODEC=codec)
    door = telephone(sound.tone(8000, 1000, 1000))
    door.call("1000")
    (call_id,) = await server.arrived()
    (found,) = await server.events(call_id, "app.note", 1)
    call = await server.call(call_id)
    assert (found["role"], found["caller"]) == ("visitor", call["caller"])
    assert (found["caller"]["number"], found["caller"]["dialled"]) == ("doorstation", "1000")
    joined = next(event for event in call["timeline"] if event["event"] == "leg.joined")
    assert found["at_seconds"] - joined["at_seconds"] < 0.3, "no listing was waited for"
    async with sip_phones(reactor, asterisk, {"2001": "answer"}, {"2001": sound.tone(8000, 700, 1000)}) as house:
        await visit.ring(server, call_id, "2001")
        found = (await server.events(call_id, "app.note", 2))[1]
        assert found["role"] == "resident"
        assert found["caller"].pop("channel").startswith("PJSIP/2001-")
        assert found["caller"] == {"number": "1000", "name": "Gate", "dialled": ""}, "what the resident is shown"
        _, answer = await server.ask("GET", "/api/calls")
        assert [one["caller"]["number"] for one in answer["calls"]] == ["doorstation"]
        house.hang_up("2001")
        await house.gone("2001")
    await door.done()
    await server.left(call_id)
    assert (await server.call(call_id))["caller"] == call["caller"]
    await visit.nothing_left(asterisk, server)
