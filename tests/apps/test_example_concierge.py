"""The concierge of ``examples/apps``: rings the resident, bridges the two, plays a busy tone without an answer."""

from __future__ import annotations

import configparser
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from audiosocket.errors import ReturnUnavailable
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo, ReturnAttempt, ReturnOutcome
from audiosocket.settings import Settings
from tests.support.fake_leg import FakeLeg, app_context

PACKAGE = Path(__file__).parents[2] / "examples" / "apps" / "concierge"
CONNECTED = ReturnOutcome("connected", "", (ReturnAttempt("101", "answered"),))
FAILED = ReturnOutcome("failed", "busy", (ReturnAttempt("101", "busy"), ReturnAttempt("102", "busy")))
VOICE = b"\x31\x32" * 160


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.setenv("CONCIERGE_NUMBERS", "101, 102")
    yield importlib.import_module("audiosocket_concierge")
    del sys.modules["audiosocket_concierge"]


class Door:
    """A visitor at the door, and a resident who may come."""

    def __init__(self, module: Any) -> None:
        self.clock = Clock()
        self.app = module.Concierge(app_context(self.clock))
        self.visitor = FakeLeg(self.clock, self.app)
        self.resident = FakeLeg(self.clock, self.app, role=Role.RESIDENT)
        self.visitor.join()

    def run(self, ms: float) -> bytes:
        """Let time pass; what the visitor was sent meanwhile."""
        before = len(self.visitor.sent)
        self.visitor.run(ms)
        return b"".join(frame.pcm for _, frame in self.visitor.sent[before:])

    def connect(self) -> None:
        self.resident.join()
        self.visitor.end_return_call(CONNECTED)


@pytest.fixture
def door(module: Any) -> Door:
    return Door(module)


def test_key_1_rings_the_configured_numbers_with_ringback(door: Door, module: Any) -> None:
    door.visitor.press("7")
    assert not any(door.run(1_000))
    door.visitor.press("1")
    door.visitor.press("1")
    assert door.visitor.called_numbers == [["101", "102"]]
    heard = door.run(12_000)
    assert heard.count(module.RINGING[: 2 * module.RATE]) == 3


def test_a_door_may_have_numbers_of_its_own(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCIERGE_NUMBERS_5511", "201")
    rung = {}
    for number in ("5511", "5512"):
        door = Door(module)
        door.visitor.identify(CallerInfo(f"PJSIP/{number}-1", "1.1", number, "Porta Norte", "1000"))
        assert door.visitor.notes == [
            ("app.note", {"app": "concierge", "caller": number, "dialled": "1000"}),
        ]
        door.visitor.press("1")
        rung[number] = door.visitor.called_numbers
    assert rung == {"5511": [["201"]], "5512": [["101", "102"]]}
    door.resident.identify(CallerInfo("PJSIP/101-1", "1.2", "101", "", "1001"))
    assert door.resident.notes == []


def test_the_resident_who_answers_is_bridged_with_the_visitor(door: Door) -> None:
    door.visitor.press("1")
    door.run(500)
    door.connect()
    assert door.visitor.remembered[-1] == (door.app, None)
    assert not any(door.run(100)[640:]), "the tone is over"
    door.resident.receive(VOICE)
    door.visitor.receive(VOICE[::-1])
    assert door.visitor.sent_pcm("passed") == VOICE
    assert door.resident.sent_pcm("passed") == VOICE[::-1]
    door.visitor.press("1")
    assert len(door.visitor.called_numbers) == 1
    door.resident.end()
    assert door.visitor.outcome == "server_hangup"


def test_the_visitor_may_try_again_after_no_answer(door: Door, module: Any) -> None:
    door.visitor.press("1")
    door.run(500)
    door.visitor.end_return_call(FAILED)
    assert door.run(4_000).count(module.BUSY) == 1
    door.visitor.press("1")
    assert len(door.visitor.called_numbers) == 2


def test_the_star_key_stops_the_ringing(door: Door) -> None:
    door.visitor.press("1")
    door.visitor.press("*")
    assert not door.visitor.ringing
    door.visitor.end_return_call(ReturnOutcome("cancelled"))
    assert not any(door.run(6_000)[640:])


def test_a_return_call_that_cannot_be_placed_is_noted_and_signalled(door: Door, module: Any) -> None:
    door.visitor.call_error = ReturnUnavailable("no backend")
    door.visitor.press("1")
    assert door.visitor.notes == [("app.note", {"app": "concierge", "problem": "no backend"})]
    assert door.run(4_000).count(module.BUSY) == 1


def test_after_a_restart_the_ringback_continues(module: Any) -> None:
    door = Door(module)
    door.visitor.press("1")
    (state,) = [state for _, state in door.visitor.remembered]
    again = FakeLeg(door.clock, module.Concierge(app_context(door.clock)))
    again.resume_after_restart(state)
    again.run(1_100)
    assert again.sent_pcm().startswith(module.RINGING[: 2 * module.RATE])
    quiet = FakeLeg(door.clock, module.Concierge(app_context(door.clock)))
    quiet.resume_after_restart(None)
    quiet.run(1_000)
    assert quiet.sent_pcm() == b""


def test_missing_settings_are_reported_at_the_start(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"VISITOR_APP": "concierge", "RESIDENT_APP": "concierge"}
    assert module.Concierge.check(Settings.parse(both)) == []
    assert "RESIDENT_APP" in module.Concierge.check(Settings.parse({**both, "RESIDENT_APP": "echo"}))[0]
    monkeypatch.setenv("CONCIERGE_NUMBERS", " ,")
    assert "CONCIERGE_NUMBERS" in module.Concierge.check(Settings.parse(both))[0]


def test_the_package_has_the_entry_point(module: Any) -> None:
    declared = configparser.ConfigParser()
    declared.read(PACKAGE / "setup.cfg")
    (entry,) = declared["options.entry_points"]["audiosocket.apps"].strip().splitlines()
    name, _, target = entry.partition(" = ")
    where, _, attribute = target.partition(":")
    assert (name, where) == ("concierge", module.__name__)
    assert getattr(module, attribute) is module.Concierge
