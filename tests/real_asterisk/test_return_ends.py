"""Return calls that fail: how each ends, in what time, and that nothing is left."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import defer, reactor, task

from tests.real_asterisk import visit
from tests.real_asterisk.handset import Handset, PickUp
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import Asterisk
from tests.real_asterisk.sip_phones import sip_phones
from tests.real_asterisk.visit import CutOff

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(60)]

RING = 2  # seconds; an attempt has ended five seconds after that at the latest, whatever happened

# What the telephone does, and the end that the server reports
ENDS = {
    "486 Busy Here": "busy",
    "600 Busy Everywhere": "busy",
    "603 Decline": "refused",
    "404 Not Found": "failed",
    "480 Temporarily Unavailable": "no_answer",
    "ring": "no_answer",
    "nothing": "no_answer",
}
# Without a telephone: what a dialplan does with a number, and the end that the server reports
DIALPLAN_ENDS = {
    "701": ("Busy()", "busy"),
    "702": ("Congestion()", "failed"),
    "703": ("Hangup(21)", "refused"),
    "704": ("Hangup(17)", "busy"),
    "705": ("Hangup(1)", "failed"),
    "706": ("Ringing(),Wait(20)", "no_answer"),
    "707": ("Wait(20)", "no_answer"),
    "708": ("Ringing(),Wait(0.6),Busy()", "busy"),
    "709": ("Ringing(),Wait(0.6),Hangup(21)", "refused"),
    "710": ("Ringing(),Wait(0.6),Hangup()", "refused"),
    "711": ("NoOp()", "failed"),
    "712": ("Dial(Local/701@numbers)", "busy"),
    "713": ("Dial(Local/799@numbers)", "failed"),
    "799": ("", "failed"),  # there is no such extension
}
AWAY = {"ami": {"AMI_PORT": "1"}, "ari": {"ARI_URL": "http://127.0.0.1:1"}}
MISTYPED = {"ami": {"AMI_SECRET": "mistyped"}, "ari": {"ARI_PASSWORD": "mistyped"}}


async def waiting_visitor(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str = "ami", more: str = "", **settings: str
) -> tuple[Server, Handset, str]:
    """Return a server with one waiting visitor, the visitor, and the call's id."""
    given = {**visit.settings(asterisk, backend, RETURN_RING_SECONDS=str(RING)), **settings}
    server = await serve("bridge", **given)
    await visit.load(asterisk, server, more)
    visitor, _ = await pick_up(context="audiosocket-visitor", extension="1000")
    (call_id,) = await server.arrived()
    return server, visitor, call_id


async def only_the_visitor(asterisk: Asterisk, alone: set[str], seconds: float = RING + 5) -> None:
    """Wait until only the channels are left that existed before the return call."""
    deadline = reactor.seconds() + seconds
    while {one["Uniqueid"] for one in await asterisk.channels()} != alone:
        assert reactor.seconds() < deadline, await asterisk.channels()
        await task.deferLater(reactor, 0.05)


async def channels(asterisk: Asterisk) -> set[str]:
    return {one["Uniqueid"] for one in await asterisk.channels()}


async def leave(asterisk: Asterisk, server: Server, visitor: Handset) -> None:
    visitor.hang_up()
    await visitor.gone
    await visit.nothing_left(asterisk, server)


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_the_visitor_stays_however_the_resident_is_not_reached(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend)
    await server.until(lambda: is_fully_up(server))
    alone = await channels(asterisk)
    found = {}
    async with sip_phones(reactor, asterisk, {}) as house:
        for reaction in ENDS:
            house.reactions["2001"] = reaction
            await visit.ring(server, call_id, "2001")
            ended = await visit.ended(server, call_id, "failed", RING + 5)
            (attempt,) = ended["attempts"]
            found[reaction] = attempt["end"]
            assert ended["reason"]
            await only_the_visitor(asterisk, alone)
            assert await server.calls() == [call_id]
    assert found == ENDS
    ends = [event["end"] for event in visit.events(await server.call(call_id), "return.attempt")]
    assert ends == list(ENDS.values())
    await leave(asterisk, server, visitor)


def numbers() -> str:
    """Return a dialplan context with these numbers."""
    lines = ["[numbers]"]
    for number, (does, _) in DIALPLAN_ENDS.items():
        steps = re.findall(r"\w+\([^)]*\)", does)
        lines += [f"exten => {number},{'n' if at else 1},{step}" for at, step in enumerate(steps)]
    return "\n".join(["", *lines, ""])


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_every_end_that_a_dialplan_can_give_a_number(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    asterisk.expect("No such extension/context 799@numbers")
    channel = {"RETURN_CHANNEL": "Local/{number}@numbers/n"}
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend, numbers(), **channel)
    await server.until(lambda: is_fully_up(server))
    alone = await channels(asterisk)
    found = {}
    for number in DIALPLAN_ENDS:
        await visit.ring(server, call_id, number)
        ended = await visit.ended(server, call_id, "failed", RING + 5)
        (attempt,) = ended["attempts"]
        found[number] = attempt["end"]
        assert ended["reason"] == attempt["reason"] != ""
        await only_the_visitor(asterisk, alone)
    assert found == {number: end for number, (_, end) in DIALPLAN_ENDS.items()}
    await leave(asterisk, server, visitor)


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_a_number_that_asterisk_does_not_know(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    asterisk.expect(r"Unable to create PJSIP channel - endpoint '2999' was not found", "requested tech 'PJSIP'")
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend)
    await visit.ring(server, call_id, "2999")
    (attempt,) = (await visit.ended(server, call_id, "failed", RING + 5))["attempts"]
    assert attempt["end"] == "failed"
    status, answer = await server.ask("POST", f"/api/calls/{call_id}/return", {"number": "2001&PJSIP/2002"})
    assert status == 422, answer
    await leave(asterisk, server, visitor)


@pytest.mark.parametrize("backend", visit.BACKENDS)
@pytest.mark.parametrize("how", ["hangs up", "is cancelled"])
async def test_the_ringing_stops_when_the_call_does_not_need_it(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str, how: str
) -> None:
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend)
    alone = await channels(asterisk)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}) as house:
        await visit.ring(server, call_id, "2001", "2002")
        await house.rings("2001")
        if how == "hangs up":
            visitor.hang_up()
        else:
            status, answer = await server.ask("DELETE", f"/api/calls/{call_id}/return")
            assert status == 200, answer
        await house.gone("2001")
        assert "CANCEL" in house.received
        (attempt,) = (await visit.ended(server, call_id, "cancelled"))["attempts"]
        assert attempt["end"] == "cancelled"
        if how == "is cancelled":
            await only_the_visitor(asterisk, alone)
            assert await server.calls() == [call_id]
        await leave(asterisk, server, visitor)
        assert house.received.count("INVITE") == 1


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_declined_and_busy_are_distinguished(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend, RETURN_RING_SECONDS="20")
    async with sip_phones(reactor, asterisk, {"2001": "ring"}) as house:
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        await task.deferLater(reactor, 0.6)  # ARI is asked four times a second
        house.decline("2001")
        (attempt,) = (await visit.ended(server, call_id, "failed"))["attempts"]
        assert attempt["end"] == "refused"
        await leave(asterisk, server, visitor)


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_a_resident_who_answers_while_the_visitor_leaves_is_not_kept(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}) as house:
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        visitor.hang_up()
        house.answer("2001")
        await house.gone("2001")
        await leave(asterisk, server, visitor)


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_without_asterisks_interface_the_attempt_fails_immediately(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend, **AWAY[backend])
    await server.until(lambda: backend_is(server, "down"))
    await visit.ring(server, call_id, "2001", "2002")
    (attempt,) = (await visit.ended(server, call_id, "failed", RING))["attempts"]
    assert attempt["end"] == "failed"
    assert "refused" in attempt["reason"]
    await leave(asterisk, server, visitor)


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_with_a_wrong_secret_the_attempt_fails_immediately(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    asterisk.expect("failed to authenticate")
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend, **MISTYPED[backend])
    await server.until(lambda: backend_is(server, "down"))
    await visit.ring(server, call_id, "2001")
    (attempt,) = (await visit.ended(server, call_id, "failed", RING))["attempts"]
    assert attempt["end"] == "failed"
    assert "refuse" in attempt["reason"]
    assert "mistyped" not in str(await server.call(call_id)) + "".join(server.log())
    await leave(asterisk, server, visitor)


async def backend_is(server: Server, state: str) -> bool:
    _, status = await server.ask("GET", "/api/status")
    return bool(status["return_backend"]["state"] == state)


async def is_fully_up(server: Server) -> bool:
    """Return whether the backend is up without a restriction: ARI's events are received."""
    _, status = await server.ask("GET", "/api/status")
    return (status["return_backend"]["state"], status["return_backend"]["reason"]) == ("up", "")


@pytest.fixture
def cut_off(asterisk: Asterisk) -> Iterator[CutOff]:
    """Give ``cable, settings = cut_off(backend)``: a `Cable` to that interface, and the settings to use it."""
    cables = []

    def lay(backend: str) -> tuple[visit.Cable, dict[str, str]]:
        asterisk.expect("(?i)web ?socket.*reset by peer")  # ARI's events, cut off in the middle
        port = {"ami": asterisk.ports.ami, "ari": asterisk.ports.http}[backend]
        cables.append(cable := visit.Cable(reactor, port))
        through = {
            "ami": {"AMI_PORT": str(cable.entrance)},
            "ari": {"ARI_URL": f"http://127.0.0.1:{cable.entrance}"},
        }
        return cable, {**through[backend], "RETURN_RING_SECONDS": "30"}

    yield lay
    for cable in cables:
        pytest_twisted.blockon(defer.ensureDeferred(cable.cut()))


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_asterisks_interface_is_lost_while_it_rings_and_comes_back(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, cut_off: CutOff, backend: str
) -> None:
    cable, settings = cut_off(backend)
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend, **settings)
    alone = await channels(asterisk)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}) as house:
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        await cable.cut()
        (attempt,) = (await visit.ended(server, call_id, "failed"))["attempts"]
        assert attempt["end"] == "failed"
        assert backend.upper() in attempt["reason"]
        cable.mend()
        await house.gone("2001")  # long before its thirty seconds are over
        await only_the_visitor(asterisk, alone)
        await server.until(lambda: backend_is(server, "up"), 30)
        house.reactions["2001"] = "answer"
        await visit.ring(server, call_id, "2001")
        assert await server.arrived(role="resident") == [call_id]
        await leave(asterisk, server, visitor)


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_a_resident_who_answers_when_the_call_has_failed_is_not_kept(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, cut_off: CutOff, backend: str
) -> None:
    cable, settings = cut_off(backend)
    server, visitor, call_id = await waiting_visitor(asterisk, serve, pick_up, backend, **settings)
    alone = await channels(asterisk)
    async with sip_phones(reactor, asterisk, {"2001": "ring"}) as house:
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        await cable.cut()
        await visit.ended(server, call_id, "failed")
        house.answer("2001")
        await house.gone("2001")  # nobody waits for them any more
        await only_the_visitor(asterisk, alone)
        assert await server.calls("resident") == []
        await leave(asterisk, server, visitor)
