"""The server is killed while a telephone rings: a resident who answers later joins."""

from __future__ import annotations

import pytest
from twisted.internet import reactor

from tests.real_asterisk import visit
from tests.real_asterisk.conversation import SAYS, check_talk, enter
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve
from tests.real_asterisk.rig import OUTAGE, Asterisk
from tests.real_asterisk.sip_phones import sip_phones

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(60)]


@pytest.mark.parametrize("answers", ["after", "meanwhile"])
async def test_a_resident_who_answers_after_the_server_was_killed_joins(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, answers: str
) -> None:
    asterisk.expect(*OUTAGE, r"res_audiosocket\.c", r"app_audiosocket\.c")
    server = await serve("bridge", **visit.settings(asterisk))
    await visit.load(asterisk, server)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, SAYS) as house:
        visitor, call_id = await enter(server, pick_up, server.rows[0])
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        await server.kill()
        if answers == "meanwhile":
            house.answer("2001")
        await server.start()
        if answers == "after":
            assert await server.arrived() == [call_id]
            assert (await server.call(call_id))["return"]["state"] == "ringing"
            house.answer("2001")
        assert await server.arrived(role="resident", seconds=15) == [call_id]
        assert await server.arrived(seconds=15) == [call_id]
        await check_talk(server, house, visitor, call_id, server.rows[0], "2001")
        visitor.hang_up()
        await house.gone("2001")
        await visit.nothing_left(asterisk, server)


async def test_the_ringing_stops_when_the_visitor_leaves_after_the_server_was_killed(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp
) -> None:
    asterisk.expect(*OUTAGE, r"res_audiosocket\.c", r"app_audiosocket\.c")
    server = await serve("bridge", **visit.settings(asterisk))
    await visit.load(asterisk, server)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, SAYS) as house:
        visitor, call_id = await enter(server, pick_up, server.rows[0])
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        await server.kill()
        await server.start()
        assert await server.arrived() == [call_id]
        visitor.hang_up()
        await house.gone("2001")
        await visit.nothing_left(asterisk, server)
        call = await server.call(call_id)
    assert (call["return"]["state"], call["return"]["attempts"][0]["end"]) == ("cancelled", "cancelled")


async def test_the_next_number_rings_for_a_visitor_whose_server_was_killed(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp
) -> None:
    asterisk.expect(*OUTAGE, r"res_audiosocket\.c", r"app_audiosocket\.c")
    server = await serve("bridge", **visit.settings(asterisk, RETURN_RING_SECONDS="3", RETURN_WINDOW_SECONDS="2"))
    await visit.load(asterisk, server)
    async with sip_phones(reactor, asterisk, {"2001": "ring", "2002": "answer"}, SAYS) as house:
        visitor, call_id = await enter(server, pick_up, server.rows[0])
        await visit.ring(server, call_id, "2001", "2002")
        await house.rings("2001")
        await server.kill()
        await server.start()
        assert await server.arrived() == [call_id]
        found = await visit.ended(server, call_id, "connected", 15)
        assert [(one["number"], one["end"]) for one in found["attempts"]] == [
            ("2001", "failed"),
            ("2002", "answered"),
        ]
        visitor.hang_up()
        await house.gone("2002")
        await visit.nothing_left(asterisk, server)
