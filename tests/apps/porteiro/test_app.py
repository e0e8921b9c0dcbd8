"""The app porteiro over real registry and legs, in memory: whole visits, and two hundred that let nobody in."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiosocket.extensions.model import Role
from tests.support.in_memory import CALL
from tests.support.porteiro_server import PorteiroServer
from tests.support.porteiro_variations import Variation, variations

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT


def to_menu(directory: Path) -> PorteiroServer:
    server = PorteiroServer(directory)
    server.join(VISITOR)
    server.press(VISITOR, "101#")
    server.join(RESIDENT)
    server.hear_menu()
    return server


def test_a_whole_visit(tmp_path: Path) -> None:
    server = to_menu(tmp_path)
    assert server.states == ["name", "recording", "apartment", "ringing", "menu"]
    server.press(RESIDENT, "1")
    assert server.way.asked == [str(CALL)]
    server.answer_gate(opened=True)
    server.finish()
    assert server.call.outcome == "authorised"
    assert all(line.ended_by_server for line in server.lines.values())
    assert [line["apartment"] for line in server.gate.audit()] == ["101"]


@pytest.mark.parametrize("back", [(VISITOR, RESIDENT), (RESIDENT, VISITOR), (VISITOR,), (RESIDENT,), ()])
def test_a_decision_that_was_made_stays_made(tmp_path: Path, back: tuple[Role, ...]) -> None:
    server = to_menu(tmp_path)
    server.press(RESIDENT, "1")
    server.kill(*back)
    server.answer_gate(opened=True)
    server.wait(65)
    server.finish()
    assert [line["opened"] for line in server.gate.audit()] == [True]
    assert server.call.outcome == ("authorised" if back else "lost")


def test_a_second_resident_is_refused_while_the_first_is_there(tmp_path: Path) -> None:
    server = to_menu(tmp_path)
    first = server.lines.pop(RESIDENT)
    server.join(RESIDENT)
    second = server.lines[RESIDENT]
    assert second.ended_by_server
    server.lines[RESIDENT] = first
    server.press(RESIDENT, "2")
    server.finish()
    assert server.call.outcome == "denied"


def test_legs_on_each_others_ports_are_no_visit(tmp_path: Path) -> None:
    server = PorteiroServer(tmp_path)
    server.join(RESIDENT)
    assert server.lines[RESIDENT].ended_by_server
    assert server.server.registry.get(CALL) is None


def test_a_key_cuts_what_is_said_within_40_ms(tmp_path: Path) -> None:
    server = PorteiroServer(tmp_path)
    server.join(VISITOR)
    server.press(VISITOR, "101#")
    server.join(RESIDENT)
    server.wait(0.3)
    line = server.lines[RESIDENT]
    assert any(line.pcm(server.server.now - 0.1)), "the greeting is heard"
    since = server.server.now
    server.press(RESIDENT, "2")
    server.wait(0.3)
    assert not any(line.pcm(since + 0.041))


def test_the_visitor_hears_something_every_four_seconds(tmp_path: Path) -> None:
    server = PorteiroServer(tmp_path, "9")
    server.join(VISITOR)
    server.press(VISITOR, "102#")
    since = server.server.now
    server.wait(20)
    heard_at = [at for at, _, pcm in server.lines[VISITOR].audio(since) if any(pcm)]
    gaps = [later - earlier for earlier, later in zip([since, *heard_at], heard_at, strict=False)]
    assert max(gaps) < 4


def test_the_resident_hears_the_visitors_voice(tmp_path: Path) -> None:
    server = PorteiroServer(tmp_path)
    server.join(VISITOR)
    server.speak(VISITOR, "speech")
    server.speak(VISITOR, "speech")
    server.wait(2)
    assert server.states[-1] == "apartment"
    server.press(VISITOR, "101#")
    server.join(RESIDENT)
    since = server.server.now
    server.wait(4)
    spoken = server.lines[RESIDENT].pcm(since)
    assert len(spoken.replace(b"\0", b"")) > 20_000
    server.leave(VISITOR)
    server.wait(5)
    assert server.apps[-1]._sounds.name is None, "it is gone with the call"


def test_they_talk(tmp_path: Path) -> None:
    server = to_menu(tmp_path)
    server.press(RESIDENT, "3")
    server.wait(0.5)
    since = server.server.now
    server.speak(VISITOR, "speech")
    assert any(server.lines[RESIDENT].pcm(since))
    since = server.server.now
    server.speak(RESIDENT, "noise")
    assert any(server.lines[VISITOR].pcm(since))


@pytest.mark.parametrize("variation", list(variations()), ids=lambda one: one.name)
def test_it_does_not_authorise(variation: Variation, tmp_path: Path) -> None:
    server = PorteiroServer(tmp_path, variation.concierge)
    for step in variation.steps:
        step(server)
    server.finish()
    assert server.call.outcome == (variation.call_outcome or variation.outcome or variation.leg_outcome)
    assert len(server.way.asked) == variation.asked
    assert [line["opened"] for line in server.gate.audit()] in ([], [False] * variation.asked)


def test_a_decision_that_no_leg_was_told_waits_for_the_one_that_comes_back(tmp_path: Path) -> None:
    server = to_menu(tmp_path)
    server.kill(RESIDENT)
    server.leave(RESIDENT)
    server.join(VISITOR)
    assert server.call.outcome == "no_choice"
    server.finish()
    assert server.lines[VISITOR].ended_by_server
