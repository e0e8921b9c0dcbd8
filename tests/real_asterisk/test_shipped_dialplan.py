"""The dialplan of ``examples/asterisk`` as an administrator uses it: callers survive the server, calls end."""

from __future__ import annotations

import pytest
from twisted.internet import defer, reactor, task

from tests.real_asterisk import shipped, sound
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import OUTAGE, Asterisk

pytestmark = pytest.mark.asterisk

# For the tests: the status with which the shipped subroutine returned
RIG = """
[watched]
exten => s,1,Gosub(audiosocket-call,s,1(${{UUID()}},{where},))
 same => n,UserEvent(Returned,Status: ${{AUDIOSOCKET_STATUS}})
 same => n,Hangup()
"""

# What FreePBX keeps around the file: its own globals, and from-internal with the include for custom contexts
FREEPBX = """
[globals]
ASTVERSION=22
[from-internal]
include => from-internal-custom
#include extensions_custom.conf
"""

FORMS = ["plain", "freepbx"]


async def load(asterisk: Asterisk, server: Server, form: str = "plain", **settings: str) -> None:
    settings = {
        "AUDIOSOCKET_HOST": server.host,
        "AUDIOSOCKET_PORT": str(server.visitor_port),
        "AUDIOSOCKET_RETURN_PORT": str(server.return_port),
        **settings,
    }
    rig = RIG.format(where=f"{server.host}:{server.visitor_port}")
    if form == "plain":
        await asterisk.dialplan(shipped.load("extensions.conf", **settings) + rig)
    else:
        asterisk.configure({"extensions_custom.conf": shipped.load("extensions_custom.conf", **settings)})
        await asterisk.dialplan(FREEPBX + rig)


def number(form: str) -> str:
    """Return the context in which a telephone's call to 1000 arrives."""
    return "1000@audiosocket-visitor" if form == "plain" else "1000@from-internal"


async def until_live(server: Server, wanted: set[str], seconds: float) -> None:
    deadline = reactor.seconds() + seconds
    while set(await server.calls()) != wanted and reactor.seconds() < deadline:
        await task.deferLater(reactor, 0.05)
    assert set(await server.calls()) == wanted


def test_both_forms_hold_the_same_subroutine() -> None:
    marker = "; ---- One leg of a call"
    plain, freepbx = (
        shipped.load(name).partition(marker) for name in ("extensions.conf", "extensions_custom.conf")
    )
    assert plain[1] == marker
    assert plain[2] == freepbx[2]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.deadline(20)
async def test_a_visit_and_its_end(asterisk: Asterisk, server: Server, pick_up: PickUp, form: str) -> None:
    await load(asterisk, server, form)
    extension, _, context = number(form).partition("@")
    caller, _ = await pick_up(context=context, extension=extension)
    (call_id,) = await server.arrived()
    noise = sound.numbered_noise(8000, 300)
    await caller.play(noise)
    await caller.listen(lambda heard: len(b"".join(sound.without_silence(heard, 8000))) >= len(noise))
    assert b"".join(sound.without_silence(bytes(caller.heard), 8000)) == noise
    await server.hang_up(call_id)
    await caller.gone
    presented = await asterisk.logged(rf"Executing .* TryExec\(.*AudioSocket\({call_id}")
    assert len(presented) == 2  # the call, and once more to be sure that it is over: no longer than that takes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.deadline(20)
async def test_the_return_call_opens_the_return_port_with_the_same_uuid(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, form: str
) -> None:
    server = await serve(ACCEPT_UNEXPECTED_RESIDENT="true")  # the test places the return call, not the server
    await load(asterisk, server, form)
    visitor, _ = await pick_up(context="audiosocket-visitor", extension="1000")
    (call_id,) = await server.arrived()
    resident, _ = await pick_up(
        context="audiosocket-return", extension="1001", variables={"AUDIOSOCKET_CALL_ID": call_id}
    )
    assert await server.arrived(role="resident") == [call_id]
    assert await server.calls() == [call_id]
    resident.hang_up()
    await server.left(call_id, "resident")
    assert await server.calls() == [call_id]  # the visitor's leg is none of the resident's business
    visitor.hang_up()
    await visitor.gone


async def test_a_resident_who_is_hung_up_by_the_server_is_not_kept(
    asterisk: Asterisk, server: Server, pick_up: PickUp
) -> None:
    await load(asterisk, server)
    visitor, _ = await pick_up(context="audiosocket-visitor", extension="1000")
    (call_id,) = await server.arrived()
    resident, _ = await pick_up(
        context="audiosocket-return", extension="1001", variables={"AUDIOSOCKET_CALL_ID": call_id}
    )
    await server.arrived(role="resident")
    await server.hang_up(call_id, "resident")
    try:
        await resident.gone.addTimeout(5, reactor)
    except defer.TimeoutError:
        resident.hang_up()
        raise
    finally:
        visitor.hang_up()


async def test_a_return_number_dialled_by_hand_is_rejected(
    asterisk: Asterisk, server: Server, pick_up: PickUp
) -> None:
    await load(asterisk, server)
    stranger, _ = await pick_up(context="audiosocket-return", extension="1001")
    await stranger.gone
    assert await server.arrived(0, role="resident") == []


@pytest.mark.deadline(60)
async def test_callers_survive_a_killed_server_with_the_channel_driver(
    asterisk: Asterisk, server: Server, pick_up: PickUp
) -> None:
    asterisk.expect(*OUTAGE)
    await load(asterisk, server, AUDIOSOCKET_CODEC="slin16")
    caller, _ = await pick_up(16000, context="audiosocket-visitor", extension="1000")
    calls = set(await server.arrived())
    await server.kill()
    await task.deferLater(reactor, 1)
    await server.start()
    await until_live(server, calls, 5)
    noise = sound.numbered_noise(16000, 300)
    await caller.play(noise)
    await caller.listen(lambda heard: len(b"".join(sound.without_silence(heard, 16000))) >= len(noise))
    assert b"".join(sound.without_silence(bytes(caller.heard), 16000)) == noise  # wideband, both ways
    (call_id,) = calls
    await server.hang_up(call_id)
    await caller.gone


@pytest.mark.deadline(30)
async def test_the_dialplan_continues_when_the_server_stays_unreachable(
    asterisk: Asterisk, server: Server, pick_up: PickUp
) -> None:
    asterisk.expect(*OUTAGE)
    await load(asterisk, server, AUDIOSOCKET_PATIENCE="2")
    returned = asterisk.user_event("Returned")
    caller, _ = await pick_up(context="watched", extension="s")
    await server.arrived()
    await server.kill()
    assert (await returned)["Status"] == "DOWN"
    await caller.gone


@pytest.mark.deadline(30)
async def test_with_a_second_address_asterisk_does_not_close_twice(
    asterisk: Asterisk, server: Server, pick_up: PickUp
) -> None:
    """The setting of /etc/hosts in README.md: no attempt may end in the branch of Asterisk that closes twice."""
    asterisk.configure({"hosts": f"{server.host} audiosocket\n255.255.255.255 audiosocket\n"})
    await load(asterisk, server, AUDIOSOCKET_HOST="audiosocket")
    asterisk.expect(*(pattern + "(?!Failed to connect to AudioSocket service)" for pattern in OUTAGE))
    caller, _ = await pick_up(context="audiosocket-visitor", extension="1000")
    (call_id,) = await server.arrived()
    await server.kill()
    await task.deferLater(reactor, 1)
    await server.start()
    await until_live(server, {call_id}, 5)
    await server.hang_up(call_id)
    await caller.gone


async def test_an_ordinary_end_has_its_own_status(asterisk: Asterisk, server: Server, pick_up: PickUp) -> None:
    await load(asterisk, server)
    returned = asterisk.user_event("Returned")
    caller, _ = await pick_up(context="watched", extension="s")
    (call_id,) = await server.arrived()
    await server.hang_up(call_id)
    assert (await returned)["Status"] == "ENDED"
    await caller.gone


@pytest.mark.deadline(30)
async def test_a_caller_may_hang_up_while_the_server_is_down(
    asterisk: Asterisk, server: Server, pick_up: PickUp
) -> None:
    asterisk.expect(*OUTAGE)
    await load(asterisk, server)
    caller, channel = await pick_up(context="audiosocket-visitor", extension="1000")
    await server.arrived()
    await server.kill()
    await task.deferLater(reactor, 0.5)
    ended = asterisk.ended(channel)
    caller.hang_up()
    await ended
    await caller.gone
    await asterisk.no_channels()
