"""A visit goes on in the next process: what it does from there on is what it would have done."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from audiosocket.upgrade.codec import decode, encode
from tests.support.loopback_server import no_deadline

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
