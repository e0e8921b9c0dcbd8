"""A visit goes on in the next process: what it does from there on is what it would have done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.apps.porteiro.app import Porteiro
from audiosocket.apps.porteiro.dialogue import Dialogue
from audiosocket.apps.porteiro.visit import Visit
from audiosocket.apps.porteiro.words import (
    Action,
    Began,
    Event,
    Found,
    GateAnswered,
    Joined,
    Key,
    Left,
    RingEnded,
    Said,
    SpeechEnded,
    SpeechStarted,
    Tick,
)
from audiosocket.extensions.model import Role
from audiosocket.interfaces import Leg
from audiosocket.upgrade.codec import decode, encode
from tests.support.loopback_server import no_deadline
from tests.support.porteiro_server import PorteiroServer

ROLES = st.sampled_from(list(Role))
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Joined, ROLES),
    st.builds(Left, ROLES, st.booleans()),
    st.builds(Key, ROLES, st.sampled_from("0123#")),
    st.builds(Began, ROLES, st.integers(1, 5)),
    st.builds(Said, ROLES, st.integers(1, 9)),
    st.just(SpeechStarted()),
    st.just(SpeechEnded()),
    st.just(Found(("1001", "1002"))),
    st.builds(RingEnded, st.sampled_from(["1001", "1002"]), st.booleans()),
    st.builds(GateAnswered, st.booleans()),
    st.just(Tick()),
)
STEPS = st.lists(st.tuples(EVENTS, st.sampled_from([0.1, 3.0, 9.0])), max_size=14)


def run(dialogue: Dialogue, now: float, steps: list[tuple[Event, float]]) -> tuple[float, list[list[Action]]]:
    done = []
    for event, seconds in steps:
        now += seconds
        done.append(dialogue.handle(event, now))
    return now, done


@settings(no_deadline, max_examples=60)
@given(STEPS, STEPS)
def test_a_dialogue_that_was_handed_over_does_what_the_old_one_would_have_done(
    before: list[tuple[Event, float]], after: list[tuple[Event, float]]
) -> None:
    old = Dialogue(Visit("visit-1"))
    now, _ = run(old, 1_000.0, [(Joined(Role.VISITOR), 0.0), *before])
    new = Dialogue(Visit("other"))
    new.load(decode(encode(old.save())))
    assert new.due == old.due
    assert run(new, now, after) == run(old, now, after)
    assert new.visit == old.visit


def test_a_dialogue_of_another_version_is_refused() -> None:
    dialogue = Dialogue(Visit("visit-1"))
    saved = dialogue.save()
    with pytest.raises(ValueError, match="no step 'dance'"):
        dialogue.load({**saved, "then": {"visitor": "dance"}})


class Visits:
    """A visit on a server in memory, and the app that goes on with it in the next process."""

    def __init__(self, directory: Path) -> None:
        self.server = PorteiroServer(directory)
        self.server.join(Role.VISITOR)

    def to_menu(self) -> None:
        self.server.press(Role.VISITOR, "101#")
        self.server.join(Role.RESIDENT)
        self.server.hear_menu()

    def legs(self) -> list[Leg]:
        return list(self.server.server.legs)

    def saved(self, app: Porteiro) -> list[Any]:
        return [decode(encode(app.handed_over(leg))) for leg in self.legs()]

    def next_app(self) -> Porteiro:
        old = self.server.apps[-1]
        app = Porteiro(self.server.contexts[-1])
        for leg, state in zip(self.legs(), self.saved(old), strict=True):
            app.taken_over(leg, state)
        return app


def test_the_next_app_has_all_that_the_old_one_had(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    visits.server.speak(Role.VISITOR, "speech")
    visits.server.speak(Role.VISITOR, "speech")
    visits.server.wait(2)
    visits.to_menu()
    visits.server.wait(4)  # the name is played, too
    visits.server.press(Role.RESIDENT, "3")
    visits.server.wait(0.5)
    saved = visits.saved(visits.server.apps[-1])
    assert [(each["connected"], bool(each["name"]), each["decided"]) for each in saved] == [(True, True, None)] * 2
    assert visits.saved(visits.next_app()) == saved


def test_the_next_app_knows_who_is_rung(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    visits.server.press(Role.VISITOR, "101#")
    visits.server.wait(0.5)
    (saved,) = visits.saved(visits.server.apps[-1])
    assert (saved["ringing"], saved["rang_before"]) == ("1001", False)
    assert visits.saved(visits.next_app()) == [saved]


def test_the_next_app_knows_the_outcome(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    visits.to_menu()
    visits.server.press(Role.RESIDENT, "2")
    visits.server.wait(0.04)
    saved = visits.saved(visits.server.apps[-1])  # the resident's leg has ended
    assert [each["decided"] for each in saved] == ["denied"]
    assert visits.saved(visits.next_app()) == saved


def test_a_visit_is_not_handed_over_while_a_name_is_recorded(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    visits.server.speak(Role.VISITOR, "speech")
    assert visits.saved(visits.server.apps[-1]) == [None]


def test_a_visit_is_not_handed_over_while_the_gate_is_asked(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    visits.to_menu()
    visits.server.press(Role.RESIDENT, "1")
    assert visits.server.way.asked
    assert visits.saved(visits.server.apps[-1]) == [None, None]
