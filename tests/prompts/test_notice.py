"""Who says that a call is recorded, and that nobody says it twice on one leg."""

from __future__ import annotations

import pytest

from audiosocket.interfaces import CallPolicy
from audiosocket.prompts.notice import is_due

RECORD, TRANSCRIPT = CallPolicy(record=True), CallPolicy(transcript=True)


@pytest.mark.parametrize("policy", [RECORD, TRANSCRIPT])
def test_who_takes_a_leg_over_does_not_repeat_it(policy: CallPolicy) -> None:
    assert is_due(policy, ["twilio"], "twilio")
    assert not is_due(policy, ["twilio"], "porteiro")
    assert not is_due(policy, ["twilio"], "openai_realtime")


def test_who_takes_a_leg_over_says_it_where_nobody_has() -> None:
    assert is_due(TRANSCRIPT, ["a_plug_in"], "porteiro")
    assert not is_due(RECORD, ["a_plug_in"], "porteiro"), "the app record has"


def test_without_recording_there_is_nothing_to_say() -> None:
    assert not is_due(CallPolicy(), ["porteiro"], "porteiro")
