"""Events of ARI, as they arrive, to what an attempt needs of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.asterisk.ari.events import KINDS, ChannelEvent, parse_event


def test_the_end_of_a_channel_has_its_cause() -> None:
    event = {"type": "ChannelDestroyed", "cause": 17, "channel": {"id": "1.2", "state": "Ringing"}}
    assert parse_event(event) == ChannelEvent("ChannelDestroyed", "1.2", "", "Ringing", 17)


def test_a_dial_names_both_channels_and_how_it_ended() -> None:
    event = {"type": "Dial", "dialstatus": "BUSY", "peer": {"id": "1.3"}, "caller": {"id": "1.2"}}
    assert parse_event(event) == ChannelEvent("Dial", "1.3", "1.2", "BUSY", 0)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "StasisStart", "channel": {"id": "1"}},
        {"type": "Dial", "channel": {"id": "1"}},
        {"type": "ChannelStateChange", "channel": "1"},
        {"type": "ChannelStateChange", "channel": {"id": 7}},
    ],
)
def test_other_and_malformed_events_are_none(event: dict[str, Any]) -> None:
    assert parse_event(event) is None


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.dictionaries(st.just("id"), st.text() | st.integers())
)


@given(st.sampled_from(KINDS), VALUES, VALUES, VALUES, VALUES)
def test_no_value_of_a_field_raises(kind: str, channel: Any, caller: Any, cause: Any, status: Any) -> None:
    event = parse_event(
        {"type": kind, "channel": channel, "peer": channel, "caller": caller, "cause": cause, "dialstatus": status}
    )
    assert event is None or (event.kind, event.channel) == (kind, channel["id"])
