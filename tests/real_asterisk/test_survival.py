"""SIGKILL during live calls, with the shipped dialplan: every caller stays and every call resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor, task

from tests.real_asterisk import sound, visit
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Serve, Server
from tests.real_asterisk.rig import OUTAGE, Asterisk
from tests.real_asterisk.sip_phones import sip_phones

pytestmark = [pytest.mark.asterisk, pytest.mark.deadline(90)]

CALLERS = 60
TALKERS = """
[talks]
exten => s,1,Milliwatt()
"""
STEP_MS = 2000  # the play app keeps its place in pieces of that length
STEPS = [400.0 + 100 * step for step in range(20)]  # hertz: in a staircase every step says where one is


def staircase(path: Path) -> str:
    sound.write_wav(path, b"".join(sound.tone(8000, hertz, STEP_MS) for hertz in STEPS), 8000)
    return str(path)


def steps_in(audio: bytes) -> list[int]:
    """Return the steps received, in order; unclear ones are left out."""
    found: list[int] = []
    size = 8000 * 2 // 5  # 200 ms
    for at in range(0, len(audio) - size + 1, size):
        loudest = sound.loudest(audio[at : at + size], 8000)
        step = min(range(len(STEPS)), key=lambda step: abs(STEPS[step] - loudest))
        if sound.strength(audio[at : at + size], 8000, STEPS[step]) > 0.9 and found[-1:] != [step]:
            found.append(step)
    return found


async def listed(server: Server) -> dict[str, Any]:
    _, answer = await server.ask("GET", "/api/calls")
    return {call["call_id"]: call for call in answer["calls"]}


async def all_back(server: Server, wanted: set[str]) -> None:
    async def live() -> bool:
        return set(await server.calls()) == wanted

    await server.until(live, 8)


@pytest.mark.parametrize("away", [0.3, 5.0])
async def test_every_call_is_resumed_and_none_is_restarted(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, tmp_path: Path, away: float
) -> None:
    asterisk.expect(*OUTAGE)
    server = await serve(app="play", PLAY_FILE=staircase(tmp_path / "staircase.wav"))
    await visit.load(asterisk, server, TALKERS)
    listener, _ = await pick_up(context="audiosocket-visitor", extension="1000")
    for _ in range(CALLERS - 1):
        await asterisk.originate("Local/1000@audiosocket-visitor/n", context="talks", extension="s")
    calls = set(await server.arrived(CALLERS, seconds=20))
    await listener.listen(lambda heard: 2 in steps_in(heard), 20)
    before = await listed(server)
    assert set(before) == calls
    await server.kill()
    already_heard = len(listener.heard)
    assert steps_in(bytes(listener.heard)) == [0, 1, 2]
    await task.deferLater(reactor, away)
    await server.start()
    await all_back(server, calls)
    after = await listed(server)
    assert set(after) == calls  # no call is new
    for call_id, was in before.items():
        call = await server.call(call_id)
        assert (call["state"], call["outcome"]) == ("live", None)
        assert (call["started_at"], call["extension"]) == (was["started_at"], was["extension"])
        assert call["duration_seconds"] > was["duration_seconds"]
        names = [event["event"] for event in call["timeline"]]
        assert names[:2] == ["call.started", "leg.joined"]
        assert [names.count(name) for name in ("call.started", "call.resumed", "leg.resumed")] == [1, 1, 1]
        assert visit.leg(call, "visitor")["resumes"] == 1
    await listener.listen(lambda heard: 4 in steps_in(heard[already_heard:]), 20)
    since = steps_in(bytes(listener.heard[already_heard:]))
    assert since[0] in {1, 2}  # the piece that was being heard, or the one before it
    assert since == list(range(since[0], since[-1] + 1))
    for call_id in sorted(calls)[: CALLERS // 2]:
        await server.hang_up(call_id)
    await asterisk.hang_up("Local")
    listener.hang_up()
    await visit.nothing_left(asterisk, server)
    ends = [call["outcome"] for call in (await listed(server)).values()]
    assert set(ends) - visit.HUNG_UP == {"admin_hangup"}
    assert set(ends) & visit.HUNG_UP
    assert ends.count("admin_hangup") == CALLERS // 2


async def test_a_rolling_restart_keeps_every_call(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, tmp_path: Path
) -> None:
    """The next process is started while the old one drains; what that cuts off resumes in the new one."""
    asterisk.expect(*OUTAGE)
    server = await serve(app="play", PLAY_FILE=staircase(tmp_path / "staircase.wav"), DRAIN_SECONDS="8")
    await visit.load(asterisk, server, TALKERS)
    listener, _ = await pick_up(context="audiosocket-visitor", extension="1000")
    for _ in range(9):
        await asterisk.originate("Local/1000@audiosocket-visitor/n", context="talks", extension="s")
    calls = set(await server.arrived(10, seconds=20))
    before = await listed(server)
    await server.replace()
    await all_back(server, calls)
    after = await listed(server)
    assert set(after) == calls
    for call_id, was in before.items():
        call = await server.call(call_id)
        assert (call["started_at"], call["extension"]) == (was["started_at"], was["extension"])
        names = [event["event"] for event in call["timeline"]]
        assert [names.count(name) for name in ("call.started", "call.resumed")] == [1, 1]
    assert not [line for line in server.log() if "instead of" in line], "no port moved"
    heard = len(listener.heard)
    await listener.listen(lambda audio: len(audio) > heard + 16_000, 10)
    await asterisk.hang_up("Local")
    listener.hang_up()
    await visit.nothing_left(asterisk, server)


@pytest.mark.parametrize("away", [0.3, 2.0])
async def test_visitor_and_resident_continue_to_talk(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, away: float
) -> None:
    asterisk.expect(*OUTAGE)
    server = await serve("bridge", **visit.settings(asterisk))
    await visit.load(asterisk, server)
    says = {"2001": sound.tone(8000, 700, 1000)}
    async with sip_phones(reactor, asterisk, {"2001": "answer"}, says) as house:
        visitor, _ = await pick_up(context="audiosocket-visitor", extension="1000")
        visitor.play(sound.tone(8000, 440, 40_000))
        (call_id,) = await server.arrived()
        await visit.ring(server, call_id, "2001")
        await visit.ended(server, call_id, "connected")
        await visitor.listen(lambda heard: sound.strength(heard[-8000:], 8000, 700) > 0.9)
        await server.kill()
        heard = len(visitor.heard), len(house.heard("2001"))
        await task.deferLater(reactor, away)
        await server.start()
        await server.until_call(call_id, lambda call: [leg["state"] for leg in call["legs"]] == ["live", "live"])
        at_gate = await visitor.listen(lambda audio: sound.strength(audio[heard[0] :][-8000:], 8000, 700) > 0.9)
        assert sound.strength(at_gate[heard[0] :][-8000:], 8000, 700) > 0.9
        at_home = await house.listen(
            "2001", lambda audio: sound.strength(audio[heard[1] :][-8000:], 8000, 440) > 0.9
        )
        assert sound.strength(at_home[heard[1] :][-8000:], 8000, 440) > 0.9
        visitor.hang_up()
        await house.gone("2001")
        await visit.nothing_left(asterisk, server)
    call = await server.call(call_id)
    assert [len(visit.events(call, name)) for name in ("call.started", "call.resumed")] == [1, 1]


@pytest.mark.parametrize("backend", visit.BACKENDS)
@pytest.mark.parametrize("when", ["while the server is away", "afterwards"])
async def test_a_resident_called_before_the_kill_joins(
    asterisk: Asterisk, serve: Serve, pick_up: PickUp, backend: str, when: str
) -> None:
    asterisk.expect(*OUTAGE, "(?i)web ?socket.*reset by peer")  # a killed process sends ARI no close frame either
    server = await serve("bridge", **visit.settings(asterisk, backend))
    await visit.load(asterisk, server)
    says = {"2001": sound.tone(8000, 700, 1000)}
    async with sip_phones(reactor, asterisk, {"2001": "ring"}, says) as house:
        visitor, _ = await pick_up(context="audiosocket-visitor", extension="1000")
        (call_id,) = await server.arrived()
        await visit.ring(server, call_id, "2001")
        await house.rings("2001")
        await server.kill()
        if when == "while the server is away":
            house.answer("2001")
        await task.deferLater(reactor, 0.5)
        await server.start()
        await all_back(server, {call_id})
        if when == "afterwards":
            assert (await server.call(call_id))["return"]["state"] == "ringing"
            house.answer("2001")
        await visit.ended(server, call_id, "connected")
        await visitor.listen(lambda heard: sound.strength(heard[-8000:], 8000, 700) > 0.9)
        assert sound.strength(bytes(visitor.heard)[-8000:], 8000, 700) > 0.9
        visitor.hang_up()
        await house.gone("2001")
        await visit.nothing_left(asterisk, server)


async def test_an_ordinary_restart_keeps_the_callers(asterisk: Asterisk, serve: Serve) -> None:
    asterisk.expect(*OUTAGE)
    server = await serve(DRAIN_SECONDS="1")
    await visit.load(asterisk, server, TALKERS)
    for _ in range(10):
        await asterisk.originate("Local/1000@audiosocket-visitor/n", context="talks", extension="s")
    calls = set(await server.arrived(10))
    await server.stop()
    await server.start()
    await all_back(server, calls)
    for call_id in calls:
        names = [event["event"] for event in (await server.call(call_id))["timeline"]]
        assert [names.count(name) for name in ("call.started", "call.interrupted", "call.resumed")] == [1, 1, 1]
        await server.hang_up(call_id)
    await visit.nothing_left(asterisk, server)
