"""The app porteiro on a real server: whole visits between two callers, and a gate that is a program."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from tests.support.porteiro_visits import Door, GateProgram, door, gate_program
from tests.support.reactor import reactor

pytestmark = [pytest.mark.slow]


async def to_menu(here: Door, rate: int = 8_000) -> tuple[Caller, Caller]:
    """A visitor for 101, and a resident who has come."""
    visitor = await here.visitor(rate=rate)
    visitor.press("#101#")
    await here.until_state(visitor, "ringing")
    resident = await here.resident(visitor, rate)
    await here.until_state(visitor, "menu")
    return visitor, resident


def gate_events(call: dict[str, Any]) -> list[str]:
    """What the timeline says of the gate."""
    return [entry["event"] for entry in call["timeline"] if entry["event"].startswith("gate.")]


@pytest.mark.deadline(90)
async def test_a_whole_visit_on_a_fresh_install(tmp_path: Path) -> None:
    async with door(tmp_path, apartments=None) as here:
        visitor, resident = await to_menu(here)
        await here.authorise(visitor, resident)
        call = await here.until_ended(visitor)
        assert call["outcome"] == "authorised"
        (line,) = await here.until_audited()
        told = (line["call_id"], line["apartment"], line["key"], line["opened"])
        assert told == (str(visitor.call_id), "101", "1", True)
        assert gate_events(call) == ["gate.opening", "gate.opened"]
        assert (await visitor.ended).ok
        assert (await resident.ended).ok
        shown = await deferToThread(here.server.api, "/api/audit")
        assert shown["entries"] == [line]


@pytest.mark.deadline(90)
@pytest.mark.parametrize(("workers", "rate"), [("1", 16_000), ("2", 8_000)])
async def test_a_whole_visit_with_a_gate(tmp_path: Path, workers: str, rate: int) -> None:
    async with gate_program() as (gate, settings), door(tmp_path, {**settings, "WORKERS": workers}) as here:
        visitor, resident = await to_menu(here, rate)
        await here.authorise(visitor, resident)
        call = await here.until_ended(visitor)
        assert call["outcome"] == "authorised"
        assert gate.keys == [str(visitor.call_id)]
        assert gate.genuine == [True]
        (asked,) = gate.asked
        assert (asked["action"], asked["apartment"], asked["answered_by"]) == ("open", "101", "1003030")
        (line,) = await here.until_audited()
        assert line["gate"] == {"webhook": 'HTTP 200 {"gate": "opened"}'}
        shown = await deferToThread(here.server.api, "/api/apartments?condominium=0")
        assert [one["numbers"] for one in shown["apartments"]] == [["*****30"], ["**21", "**22"]]


@pytest.mark.deadline(90)
@pytest.mark.parametrize(
    ("statuses", "outcome", "asked"),
    [([500, 503, 200], "authorised", 3), ([403], "failed", 1), ([302], "failed", 1)],
)
async def test_what_the_gate_answers_decides(
    tmp_path: Path, statuses: list[int], outcome: str, asked: int
) -> None:
    async with gate_program() as (gate, settings), door(tmp_path, settings) as here:
        gate.statuses = statuses
        visitor, resident = await to_menu(here)
        await here.authorise(visitor, resident)
        call = await here.until_ended(visitor)
        assert (call["outcome"], gate.keys) == (outcome, [str(visitor.call_id)] * asked)
        assert gate_events(call) == ["gate.opening", "gate.opened" if outcome == "authorised" else "gate.failed"]
        assert [line["opened"] for line in await here.until_audited()] == [outcome == "authorised"]
        assert len(gate.opened) == (outcome == "authorised")


@pytest.mark.deadline(90)
async def test_a_resident_who_was_not_rung_decides_nothing(tmp_path: Path) -> None:
    async with gate_program() as (gate, settings), door(tmp_path, settings) as here:
        visitor = await here.visitor()
        early = await here.resident(visitor)
        early.press("1111")
        assert (await early.ended).ended_by == "server"
        visitor.press("#101#")
        await here.until_state(visitor, "ringing")
        visitor.press("1111")
        await here.until(visitor, lambda call: call["outcome"] == "no_answer")
        assert gate.asked == here.audit() == []


async def _killed(here: Door, *callers: Caller) -> list[Caller]:
    """``kill -9``, the next process, and these callers again with their UUID, as the dialplan does."""
    await deferToThread(here.server.stop, signal.SIGKILL)
    await deferToThread(here.server.start)
    back = []
    for caller, port in zip(callers, (here.server.visitor, here.server.resident), strict=False):
        await caller.ended
        back.append(await here.dial(port, caller.call_id))
    return back


async def _finish(here: Door, visitor: Caller, resident: Caller | None) -> dict[str, Any]:
    """Go on as people would: the resident comes where he is waited for, and presses 1 until it counts."""
    while (call := await here.call(visitor))["state"] != "ended":
        states = [entry["state"] for entry in call["timeline"] if entry.get("app") == "porteiro"]
        if states[-1] == "ringing" and (resident is None or resident.report is not None):
            resident = await here.resident(visitor)
        elif states[-1] == "menu" and resident is not None and resident.report is None:
            resident.press("1")
        await deferLater(reactor, 0.1)
    return call


MOMENTS = ["ringing", "menu", "opening", "telling"]


@pytest.mark.deadline(150)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_kill_9_opens_once_and_audits_once(tmp_path: Path, moment: str) -> None:
    async with (
        gate_program() as (gate, settings),
        door(tmp_path, {**settings, "RETURN_RING_SECONDS": "30"}) as here,
    ):
        gate.statuses = [0, 200] if moment == "opening" else [200]
        visitor = await here.visitor()
        visitor.press("#101#")
        await here.until_state(visitor, "ringing")
        resident: Caller | None = None
        if moment != "ringing":
            resident = await here.resident(visitor)
            await here.until_state(visitor, "menu")
        if moment in {"opening", "telling"}:
            assert resident is not None
            await here.authorise(visitor, resident)
            await here.until_state(visitor, moment)
        visitor, *others = await _killed(here, *([visitor] if resident is None else [visitor, resident]))
        call = await _finish(here, visitor, others[0] if others else None)
        assert call["outcome"] == "authorised"
        assert gate.opened == {str(visitor.call_id)}
        assert [line["opened"] for line in await here.until_audited()] == [True]
        assert len(gate.asked) == (2 if moment == "opening" else 1)


async def until_asked(gate: GateProgram, count: int) -> None:
    """Wait for that many requests."""
    while len(gate.asked) < count:
        await deferLater(reactor, 0.02)


@pytest.mark.deadline(90)
async def test_kill_9_while_the_gate_opens_and_nobody_comes_back(tmp_path: Path) -> None:
    """The decision was made: the gate opens, although its call is lost."""
    async with gate_program() as (gate, settings), door(tmp_path, {**settings, "RESUME_SECONDS": "1"}) as here:
        gate.statuses = [0, 200]
        visitor, resident = await to_menu(here)
        await here.authorise(visitor, resident)
        await until_asked(gate, 1)
        await deferToThread(here.server.stop, signal.SIGKILL)
        await deferToThread(here.server.start)
        (line,) = await here.until_audited()
        assert (line["opened"], gate.keys) == (True, [str(visitor.call_id)] * 2)
        assert (await here.until_ended(visitor))["outcome"] == "lost"
