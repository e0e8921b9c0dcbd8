"""The channels that lead to this server, as ARI's events and answers show them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred

from audiosocket.asterisk.ari.channel_events import is_of_use, parse_channel
from audiosocket.asterisk.ari.channels import MAX_CHANNELS
from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo
from audiosocket.outbound.http_client import Answer, RequestFailed
from tests.support.ari_channels import DOOR, NOT_FOUND, ARIFixture, event, runs

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
OTHER_CALL = UUID(int=7)
PORT, RETURN_PORT = 8080, 8081
RESIDENT = f"{CHANNEL_ID_PREFIX}7"


@pytest.fixture
def ari() -> ARIFixture:
    return ARIFixture()


def went(channel: str = DOOR, port: int = PORT, call_id: UUID = CALL, **more: Any) -> dict[str, Any]:
    return runs("AudioSocket", f"{call_id},127.0.0.1:{port}", channel, **more)


def found(ari: ARIFixture, port: int = PORT, **more: Any) -> str | None:
    info = ari.channels.find(CALL, port, **more)
    return None if info is None else info.channel_id


def certain(ari: ARIFixture, port: int = PORT) -> str | None:
    info = ari.channels.certain(CALL, port)
    return None if info is None else info.channel_id


@pytest.mark.parametrize(
    ("application", "data"),
    [
        ("AudioSocket", f"{CALL},127.0.0.1:{PORT}"),
        ("TryExec", f"AudioSocket({CALL},127.0.0.1:{PORT})"),
        ("Dial", f"AudioSocket/127.0.0.1:{PORT}/{CALL}/c(slin16),,g"),
    ],
)
def test_the_caller_is_known_from_the_step_that_leads_here(ari: ARIFixture, application: str, data: str) -> None:
    ari.channels.received(event("ChannelCreated", exten="1000"))
    assert ari.channels.certain(CALL, PORT) is None
    ari.channels.received(runs(application, data))
    assert ari.channels.certain(CALL, PORT) == CallerInfo(
        "PJSIP/door-00000001", DOOR, "5511", "Porta Norte", "1000"
    )
    assert ari.news == [CALL]
    assert ari.channels.sizes == (1, 1)


def test_an_extension_that_nobody_dials_is_not_reported_as_dialled(ari: ARIFixture) -> None:
    ari.channels.received(went(exten="s"))
    info = ari.channels.certain(CALL, PORT)
    assert info is not None
    assert info.dialled == ""


def test_a_check_whether_the_server_answers_is_no_call(ari: ARIFixture) -> None:
    ari.channels.received(went(call_id=UUID(int=0)))
    assert ari.news == []


def test_visitor_and_resident_are_told_apart_by_their_ports(ari: ARIFixture) -> None:
    ari.channels.received(went())
    ari.channels.received(went(RESIDENT, RETURN_PORT))
    assert (certain(ari), certain(ari, RETURN_PORT)) == (DOOR, RESIDENT)


def test_where_asterisk_uses_other_ports_only_our_own_channel_is_a_residents(ari: ARIFixture) -> None:
    ari.channels.received(went(RESIDENT, 9001))
    ari.channels.received(went(DOOR, 9000))
    assert certain(ari) is None
    assert found(ari, PORT, other_port=RETURN_PORT) == DOOR
    assert found(ari, RETURN_PORT, role=Role.RESIDENT, other_port=PORT) == RESIDENT


def test_a_channel_of_the_other_role_is_never_taken(ari: ARIFixture) -> None:
    ari.channels.received(went(RESIDENT, RETURN_PORT))
    assert found(ari, PORT, other_port=RETURN_PORT) is None
    assert found(ari, PORT, role=Role.RESIDENT) == RESIDENT


def test_a_channel_that_is_gone_is_no_longer_certain(ari: ARIFixture) -> None:
    ari.channels.received(went())
    ari.channels.received(event("ChannelDestroyed"))
    assert certain(ari) is None
    assert found(ari) == DOOR


def test_only_the_latest_channels_of_a_uuid_are_kept(ari: ARIFixture) -> None:
    for number in range(20):
        ari.channels.received(went(f"{number}"))
    assert certain(ari) == "14"


def test_what_is_kept_is_bounded(ari: ARIFixture) -> None:
    for number in range(MAX_CHANNELS + 10):
        ari.channels.received(event("ChannelCreated", f"{number}"))
        ari.channels.received(went(f"{number}", call_id=UUID(int=number + 1)))
    assert ari.channels.sizes == (MAX_CHANNELS, 2_000)


def ended(ari: ARIFixture, channel: str = DOOR) -> bool:
    return ari.channels.has_ended(channel, CALL, RETURN_PORT)


def test_the_end_of_a_followed_channel_is_known_without_a_question(ari: ARIFixture) -> None:
    ari.channels.received(went())
    assert not ended(ari)
    ari.channels.received(event("ChannelDestroyed"))
    assert ended(ari)
    assert ari.ends == 1
    assert ari.asked == []


def test_another_channel_with_the_uuid_keeps_the_call_and_one_of_the_other_role_does_not(ari: ARIFixture) -> None:
    ari.channels.received(went())
    ari.channels.received(went("transferred"))
    ari.channels.received(went(RESIDENT, RETURN_PORT))
    ari.channels.received(event("ChannelDestroyed"))
    assert not ended(ari)
    ari.channels.received(event("ChannelDestroyed", "transferred"))
    assert ended(ari)


def test_asterisk_is_asked_once_for_a_channel_that_is_older_than_the_events(ari: ARIFixture) -> None:
    assert not ended(ari)
    assert not ended(ari)
    assert ari.asked == [f"channels/{DOOR}"]
    ari.answers(NOT_FOUND)
    assert ended(ari)
    assert ari.ends == 1


def test_an_old_channel_that_exists_is_followed_from_then_on(ari: ARIFixture) -> None:
    assert not ended(ari)
    ari.answers(Answer(200, b"{}"))
    assert not ended(ari)
    assert len(ari.asked) == 1
    ari.channels.received(event("ChannelDestroyed"))
    assert ended(ari)


def test_an_end_that_was_reported_before_the_answer_counts(ari: ARIFixture) -> None:
    assert not ended(ari)
    ari.channels.received(event("ChannelDestroyed"))
    ari.answers(Answer(200, b"{}"))
    assert ended(ari)


@pytest.mark.parametrize(
    "reply",
    [Answer(404, b"<html>no ARI here</html>"), Answer(500), Answer(401), RequestFailed("no connection")],
)
def test_an_answer_that_does_not_tell_ends_nothing_and_is_asked_for_again(
    ari: ARIFixture, reply: Answer | RequestFailed
) -> None:
    assert not ended(ari)
    ari.answers(reply)
    assert not ended(ari)
    assert len(ari.asked) == 2


def test_channels_are_asked_for_one_after_the_other(ari: ARIFixture) -> None:
    for channel in ("1", "2", "3"):
        assert not ended(ari, channel)
    assert ari.asked == ["channels/1"]
    ari.answers(NOT_FOUND)
    assert ari.asked == ["channels/1", "channels/2"]
    ari.answers(Answer(200, b"{}"))
    ari.answers(NOT_FOUND)
    assert [ended(ari, channel) for channel in ("1", "2", "3")] == [True, False, True]


def test_while_no_events_arrive_nothing_has_ended_and_afterwards_it_is_asked_for(ari: ARIFixture) -> None:
    ari.channels.received(went())
    ari.up = False
    assert not ari.channels.tells_ends
    assert not ended(ari)
    assert ari.asked == []
    ari.up = True
    ari.channels.connected()
    assert ari.ends == 1
    assert not ended(ari)
    ari.answers(NOT_FOUND)
    assert ended(ari)


async def test_a_list_is_not_waited_for(ari: ARIFixture) -> None:
    listing = ari.channels.listing()
    assert isinstance(listing, Deferred)
    assert listing.called
    await listing


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        {"type": "ChannelDialplan"},
        {"type": "ChannelDialplan", "channel": "x"},
        {"type": "ChannelDialplan", "channel": {"id": 7}},
        {"type": ["ChannelDialplan"], "channel": {"id": DOOR}},
        {"type": "StasisStart", "channel": {"id": DOOR}},
    ],
)
def test_events_that_are_malformed_or_of_other_kinds_tell_nothing(malformed: dict[str, Any]) -> None:
    assert parse_channel(malformed) is None


def test_a_step_with_values_of_the_wrong_type_leads_nowhere(ari: ARIFixture) -> None:
    channel = {"id": DOOR, "name": 7, "caller": [], "dialplan": {"exten": None}}
    ari.channels.received(
        {"type": "ChannelDialplan", "channel": channel, "dialplan_app": 1, "dialplan_app_data": {}}
    )
    assert ari.news == []


def test_a_channel_of_the_audiosocket_driver_is_no_telephone(ari: ARIFixture) -> None:
    step = went()
    step["channel"]["name"] = f"AudioSocket/127.0.0.1:{PORT}-{CALL}"
    ari.channels.received(step)
    assert ari.news == []


def test_steps_that_lead_nowhere_are_not_parsed() -> None:
    assert not is_of_use('{"type":"ChannelDialplan","dialplan_app":"Wait"}')
    assert is_of_use('{"type":"ChannelDialplan","dialplan_app":"TryExec","dialplan_app_data":"audiosocket(x,y)"}')
    assert is_of_use('{"type":"ChannelDestroyed"}')
