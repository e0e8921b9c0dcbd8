"""Whole visits: a visitor's call, a resident called over SIP, and both talking.

The server, its account and the dialplan are as an operator has them; only the server places calls.
"""

from __future__ import annotations

import pytest
from twisted.internet import defer, reactor

from tests.real_asterisk import visit
from tests.real_asterisk.conversation import RESIDENTS, SAYS, check_talk, enter
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve
from tests.real_asterisk.rig import Asterisk
from tests.real_asterisk.sip_phones import sip_phones

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(60)]

# As in FreePBX: residents are called through the dialplan
THROUGH_THE_DIALPLAN = "Local/{number}@internal/n"
INTERNAL = """
[internal]
exten => _X.,1,Dial(PJSIP/${EXTEN})
"""


@pytest.mark.parametrize(
    ("backend", "first", "codec", "channel"),
    [
        ("ami", "visitor", "", "PJSIP/{number}"),
        ("ami", "resident", "slin16", "PJSIP/{number}"),
        ("ami", "resident", "", THROUGH_THE_DIALPLAN),
        ("ari", "visitor", "slin16", THROUGH_THE_DIALPLAN),
        ("ari", "resident", "", "PJSIP/{number}"),
    ],
)
async def test_a_whole_visit(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str, first: str, codec: str, channel: str
) -> None:
    server = await serve("bridge", **visit.settings(asterisk, backend, RETURN_CHANNEL=channel))
    await visit.load(asterisk, server, INTERNAL, AUDIOSOCKET_CODEC=codec)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, SAYS) as house:
        visitor, call_id = await enter(server, pick_up, server.rows[0])
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        assert (await server.call(call_id))["return"]["state"] == "ringing"
        assert await server.calls("resident") == []
        house.answer("2001")
        assert await server.arrived(role="resident") == [call_id]
        await check_talk(server, house, visitor, call_id, server.rows[0], "2001")
        if first == "visitor":
            visitor.hang_up()
        else:
            house.hang_up("2001")
        await visitor.gone
        await house.gone("2001")
        await visit.nothing_left(asterisk, server)
    call = await server.call(call_id)
    other = {"visitor": "resident", "resident": "visitor"}[first]
    assert visit.leg(call, first)["outcome"] in visit.HUNG_UP
    assert visit.leg(call, other)["outcome"] == "server_hangup"
    assert len(visit.events(call, "return.ended")) == 1


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_calls_of_two_condominiums_are_never_mixed_up(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    server = await serve("bridge", rows=2, **visit.settings(asterisk, backend))
    await visit.load(asterisk, server)
    async with sip_phones(reactor, asterisk, {"2001": "ring", "2002": "ring"}, SAYS) as house:
        visits = []
        for row, resident in zip(server.rows, RESIDENTS, strict=True):
            visits.append((*(await enter(server, pick_up, row)), row, resident))
        for _, call_id, _, resident in visits:
            await visit.ring(server, call_id, resident)
        for _, _, _, resident in visits:
            await house.rings(resident)
        for _, _, _, resident in reversed(visits):
            house.answer(resident)
        assert set(await server.arrived(2, "resident")) == {call_id for _, call_id, _, _ in visits}
        talks = [check_talk(server, house, *one) for one in visits]
        await defer.gatherResults([defer.ensureDeferred(talk) for talk in talks], consumeErrors=True)
        house.hang_up("2001")
        await visits[0][0].gone
        assert await server.calls() == [visits[1][1]]  # one visit's end is none of the other's business
        visits[1][0].hang_up()
        await visits[1][0].gone
        await house.gone("2002")
        await visit.nothing_left(asterisk, server)


async def test_a_resident_of_another_condominium_cannot_join(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp
) -> None:
    server = await serve("bridge", rows=2, **visit.settings(asterisk))
    await visit.load(asterisk, server)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, SAYS) as house:
        visitor, call_id = await enter(server, pick_up, server.rows[0])
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        stranger, _ = await pick_up(
            context="audiosocket-return",
            extension=server.rows[1].return_number,
            variables={"AUDIOSOCKET_CALL_ID": call_id},
        )
        await stranger.gone
        assert (await server.call(call_id))["return"]["state"] == "ringing"
        house.answer("2001")
        assert await server.arrived(role="resident") == [call_id]
        await check_talk(server, house, visitor, call_id, server.rows[0], "2001")
        visitor.hang_up()
        await visit.nothing_left(asterisk, server)


async def test_residents_are_called_in_order_until_one_answers(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp
) -> None:
    server = await serve("bridge", **visit.settings(asterisk, RETURN_RING_SECONDS="1"))
    await visit.load(asterisk, server)
    reactions = {"2001": "486 Busy Here", "2002": "ring", "2003": "answer"}
    async with sip_phones(reactor, asterisk, reactions) as house:
        visitor, call_id = await enter(server, pick_up, server.rows[0])
        await visit.ring(server, call_id, "2001", "2002", "2003")
        found = await visit.ended(server, call_id, "connected")
        attempts = [(one["number"], one["end"]) for one in found["attempts"]]
        assert attempts == [("2001", "busy"), ("2002", "no_answer"), ("2003", "answered")]
        call = await server.call(call_id)
        assert [one["end"] for one in visit.events(call, "return.attempt")] == ["busy", "no_answer", "answered"]
        visitor.hang_up()
        await house.gone("2003")
        await visit.nothing_left(asterisk, server)
