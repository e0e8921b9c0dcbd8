"""A leg: what apps receive and may do."""

from __future__ import annotations

import pytest

from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.interfaces import Leg as LegForApps
from audiosocket.wire import Audio, Digit, HungUp
from tests.support.in_memory import CALL, START, RecordingApp
from tests.support.one_leg import VOICE, LegFixture

# what an app sees


def test_an_app_sees_the_call_it_serves() -> None:
    fixture = LegFixture()
    leg: LegForApps = fixture.leg
    assert (leg.call_id, leg.role, leg.extension) == (CALL, Role.VISITOR, DEFAULT_EXTENSION)
    assert (leg.rate, leg.queued_ms, leg.heard_ms) == (8000, 0, 0)
    assert leg.now_ms == pytest.approx(START * 1000)
    assert repr(leg) == f"<visitor leg of {CALL}>"


def test_an_app_receives_everything_in_order() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    fixture.hear(Audio(8000, VOICE), Digit("5"), Audio(8000, b"x"))
    fixture.leg.mark("here")
    fixture.run(20)
    fixture.hear(HungUp())
    assert [(event.method, event.value) for event in app.events] == [
        ("joined", None),
        ("audio", (VOICE, 8000)),
        ("digit", "5"),
        ("audio", (b"x", 8000)),
        ("marked", ("here", 0)),
        ("left", "caller_hangup"),
    ]
    assert {told.leg for told in app.events} == {fixture.leg}


def test_all_apps_of_a_leg_are_called_in_order() -> None:
    order: list[str] = []
    first = RecordingApp(audio=lambda _: order.append("first"))
    second = RecordingApp(audio=lambda _: order.append("second"))
    fixture = LegFixture(first, second).start()
    fixture.hear(Audio(8000, VOICE))
    assert order == ["first", "second"]
    assert first.methods == second.methods == ["joined", "audio"]


def test_an_apps_note_is_an_event_of_its_leg() -> None:
    fixture = LegFixture().start()
    fixture.run(1_500)
    fixture.leg.note("app.note", text="gate opened", role="faked", event="faked", self="fine")
    assert fixture.call.timeline[-1] == {
        "at_seconds": 1.5,
        "event": "app.note",
        "role": "visitor",
        "text": "gate opened",
        "self": "fine",
    }


def test_an_app_names_the_calls_outcome_once() -> None:
    fixture = LegFixture().start()
    assert fixture.leg.decide("opened")
    assert not fixture.leg.decide("closed")
    assert fixture.call.outcome == "opened"
