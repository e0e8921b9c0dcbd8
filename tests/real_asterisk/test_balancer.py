"""HAProxy killed in front of one server, under callers of a real Asterisk, and back: every call goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from twisted.internet import reactor, task

from audiosocket.calls.registry import RECONNECT_SECONDS
from tests.real_asterisk import sound, visit
from tests.real_asterisk.conversation import SAYS, VISITORS, check_talk, enter, is_heard
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import OUTAGE, Asterisk
from tests.real_asterisk.sip_phones import sip_phones
from tests.support.haproxy import LOOPBACK, HAProxy

pytestmark = [pytest.mark.asterisk, pytest.mark.fleet, pytest.mark.deadline(180)]

#: 60 for the figure of docs/scale.md.
CALLERS = int(os.environ.get("FLEET_CALLERS", "20"))
#: For how long there is no HAProxy, in seconds.
AWAY = 0.3
NODE = "127.0.0.2"
BEHIND = {"BIND_ADDRESS": NODE, "API_HOST": NODE, "PROXY_PEERS": f"{LOOPBACK}/32"}
TALKERS = """
[talks]
exten => s,1,Milliwatt()
"""


@contextmanager
def balancer(server: Server) -> Iterator[HAProxy]:
    """Run a HAProxy at the address to which Asterisk connects."""
    api_port = urlsplit(server.api).port
    assert api_port is not None
    proxy = HAProxy({"n1": NODE}, [server.visitor_port, server.return_port], api_port)
    try:
        proxy.start_proxy()
        yield proxy
    finally:
        proxy.close()


async def killed_and_back(proxy: HAProxy) -> None:
    proxy.kill_proxy()
    await task.deferLater(reactor, AWAY)
    proxy.start_proxy()


async def listed(server: Server) -> dict[str, Any]:
    _, answer = await server.ask("GET", f"/api/calls?limit={10 * CALLERS}")
    return {call["call_id"]: call for call in answer["calls"]}


def is_resumed(call: dict[str, Any]) -> bool:
    return all(leg["state"] == "live" and leg["resumes"] for leg in call["legs"])


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_the_callers_of_a_killed_balancer_come_back_to_the_same_calls(
    asterisk: Asterisk, serve: Serve, backend: str
) -> None:
    asterisk.expect(*OUTAGE)
    server = await serve(**BEHIND, **visit.settings(asterisk, backend))
    await visit.connected(server)
    with balancer(server) as proxy:
        await visit.load(asterisk, server, TALKERS)
        for _ in range(CALLERS):
            await asterisk.originate("Local/1000@audiosocket-visitor/n", context="talks", extension="s")
        calls = set(await server.arrived(CALLERS, seconds=40))

        async def all_identified() -> bool:
            return all(call["caller"] is not None for call in (await listed(server)).values())

        await server.until(all_identified)
        before = await listed(server)
        await killed_and_back(proxy)

        async def all_resumed() -> bool:
            return all(map(is_resumed, (await listed(server)).values()))

        await server.until(all_resumed, 30)
        after = await listed(server)
        assert {each: (one["started_at"], one["outcome"]) for each, one in after.items()} == {
            each: (one["started_at"], None) for each, one in before.items()
        }
        assert set(after) == calls
        await asterisk.hang_up("Local")
        await visit.nothing_left(asterisk, server)
    for call_id in calls:
        call = await server.call(call_id)
        names = [event["event"] for event in call["timeline"]]
        assert [names.count(name) for name in ("call.started", "leg.joined", "leg.left")] == [1, 1, 1]
        assert call["outcome"] == "caller_hangup"
        # not when the wait was over, but when Asterisk said that the channel was gone
        suspended, left = visit.events(call, "leg.suspended")[-1], visit.events(call, "leg.left")[-1]
        assert left["at_seconds"] - suspended["at_seconds"] < RECONNECT_SECONDS


@pytest.mark.parametrize("backend", visit.BACKENDS)
async def test_two_who_talk_go_on_when_the_balancer_is_back(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str
) -> None:
    asterisk.expect(*OUTAGE)
    server = await serve("bridge", **BEHIND, **visit.settings(asterisk, backend))
    await visit.connected(server)
    with balancer(server) as proxy:
        await visit.load(asterisk, server)
        async with sip_phones(reactor, asterisk, {"2001": "answer"}, SAYS) as house:
            visitor, call_id = await enter(server, pick_up, server.rows[0])
            await visit.ring(server, call_id, "2001")
            await visit.ended(server, call_id, "connected")
            await check_talk(server, house, visitor, call_id, server.rows[0], "2001")
            await killed_and_back(proxy)
            await server.until_call(call_id, is_resumed, 30)
            heard = len(visitor.heard), len(house.heard("2001"))
            visitor.play(sound.tone(8000, VISITORS["1000"], 30_000))
            at_gate = await visitor.listen(lambda audio: is_heard(700.0)(audio[heard[0] :]), 15)
            assert is_heard(700.0)(at_gate[heard[0] :])
            at_home = await house.listen("2001", lambda audio: is_heard(440.0)(audio[heard[1] :]), 15)
            assert is_heard(440.0)(at_home[heard[1] :])
            house.hang_up("2001")
            await server.left(call_id, "visitor")
            await visit.nothing_left(asterisk, server)
    call = await server.call(call_id)
    assert visit.leg(call, "resident")["outcome"] == "caller_hangup"
    assert visit.leg(call, "visitor")["outcome"] == "server_hangup"
    assert len(visit.events(call, "leg.joined")) == 2
