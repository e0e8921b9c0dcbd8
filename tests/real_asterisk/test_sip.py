"""Whole calls of telephones: SIP and RTP on one side, the server on the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_asterisk import shipped, sound
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import Asterisk
from tests.real_asterisk.telephone import MakeTelephone

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(30)]

FROM_SIP = """
[from-sip]
include => audiosocket-visitor
"""
SAID, PLAYED = 1000, 700  # hertz: one tone a direction


async def start(asterisk: Asterisk, serve: Serve, tmp_path: Path) -> Server:
    """Return a server that plays a tone and records, behind the shipped dialplan."""
    sound.write_wav(tmp_path / "played.wav", sound.tone(8000, PLAYED, 1000), 8000)
    settings = {"PLAY_FILE": str(tmp_path / "played.wav"), "PLAY_THEN": "loop"}
    settings["ACCEPT_UNEXPECTED_RESIDENT"] = "true"  # the test places the return call, not the server
    server = await serve(app="play+record", **settings)
    ports = {"AUDIOSOCKET_PORT": str(server.visitor_port), "AUDIOSOCKET_RETURN_PORT": str(server.return_port)}
    await asterisk.dialplan(shipped.load("extensions.conf", **ports) + FROM_SIP)
    return server


def check_both_ends(heard_by_telephone: bytes, recording: Path) -> None:
    """Check that telephone and server received only each other's tone, for two seconds."""
    assert len(heard_by_telephone) >= 2 * 8000 * 2
    assert sound.strength(heard_by_telephone, 8000, PLAYED) > 0.95
    rate, (heard_by_server, said_by_server) = sound.read_wav(recording)
    assert rate == 8000
    assert len(b"".join(sound.without_silence(heard_by_server, 8000))) >= 2 * 8000 * 2
    assert sound.strength(heard_by_server, 8000, SAID) > 0.95
    assert sound.strength(said_by_server, 8000, PLAYED) > 0.95


async def test_a_visit_over_sip_and_rtp(
    asterisk: Asterisk, serve: Serve, telephone: MakeTelephone, tmp_path: Path
) -> None:
    server = await start(asterisk, serve, tmp_path)
    door = telephone(sound.tone(8000, SAID, 3000))
    door.call("1000")
    (call_id,) = await server.arrived()
    await door.done()
    await server.left(call_id)
    check_both_ends(door.heard, await server.recording(call_id))
    await asterisk.no_channels()


async def test_a_resident_is_called_and_answers(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, telephone: MakeTelephone, tmp_path: Path
) -> None:
    server = await start(asterisk, serve, tmp_path)
    visitor, _ = await pick_up(context="audiosocket-visitor", extension="1000")
    (call_id,) = await server.arrived()
    home = telephone(sound.tone(8000, SAID, 3000))
    home.wait_for_call()
    await asterisk.originate(
        "PJSIP/2001", context="audiosocket-return", extension="1001", variables={"AUDIOSOCKET_CALL_ID": call_id}
    )
    assert await server.arrived(role="resident") == [call_id]
    await server.events(call_id, "recording.started", 2)
    await visitor.listen(lambda heard: len(heard) > 3 * 8000 * 2, 6)  # three seconds go by
    visitor.hang_up()
    await server.left(call_id)
    await asterisk.hang_up("PJSIP/2001")
    await home.done()
    await server.left(call_id, "resident")
    check_both_ends(home.heard, await server.recording(call_id, "resident"))
