"""Who is calling: the caller of a UUID from events, from a listing, for both ways into AudioSocket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from audiosocket.asterisk.ami.channels import MAX_LEGS, ChannelTracker
from audiosocket.asterisk.channel_names import parse_leg
from audiosocket.extensions.model import Role
from audiosocket.interfaces import CallerInfo
from tests.support.ami_channels import DOOR, DOOR_INFO, RESIDENT, RETURN_PORT, VISITOR_PORT, ChannelFixture
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import CapturedLog

CALL = UUID("0b1c2d3e-4f50-4162-8384-95a6b7c8d9e0")
MEDIA = {"Channel": f"AudioSocket/127.0.0.1:8080-{CALL}", "Uniqueid": "1795376508.25"}


@pytest.fixture
def world() -> Iterator[ChannelFixture]:
    world = ChannelFixture()
    world.start()
    yield world
    world.finish()


@pytest.mark.parametrize(
    ("text", "port"),
    [
        (f"AudioSocket({CALL},127.0.0.1:8080)", 8080),
        (f"AudioSocket({str(CALL).upper()},ai.example:8080)", 8080),
        (f"TryExec(AudioSocket({CALL}, [::1]:8080))", 8080),
        (f"ExecIf(1?AudioSocket({CALL},host))", 0),
        (f"Dial(AudioSocket/127.0.0.1:8080/{CALL}/c(slin16),,g)", 8080),
        (f"Dial(AudioSocket/[::1]:8080/{CALL},30,g)", 8080),
        (f"Dial(PJSIP/2001&AudioSocket/ai-1.example:8080/{CALL})", 8080),
        (f"AudioSocket/ai-1.example:8080-{CALL}", 8080),
        (f"AudioSocket/[::1]:8080-{CALL}", 8080),
    ],
)
def test_texts_that_name_a_leg(text: str, port: int) -> None:
    assert parse_leg(text) == (CALL, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"Gosub(audiosocket-call,s,1({CALL},127.0.0.1:8080,))",
        f"NoOp({CALL})",
        "AudioSocket(not-a-uuid,host:8080)",
        f"AudioSocket({CALL})",
        f"MyAudioSocket({CALL},host:8080)",
        f"AudioSocket/127.0.0.1:8080-{str(CALL)[:20]}",
        "AudioSocket(" * 5000,
    ],
)
def test_texts_that_name_none(text: str) -> None:
    assert parse_leg(text) is None


@pytest.mark.parametrize(
    ("application", "data"),
    [
        ("AudioSocket", f"{CALL},127.0.0.1:8080"),
        ("TryExec", f"AudioSocket({CALL},127.0.0.1:8080)"),
        ("Dial", f"AudioSocket/127.0.0.1:8080/{CALL}/c(slin16),,g"),
    ],
)
def test_a_caller_is_found_from_an_executed_application(
    world: ChannelFixture, application: str, data: str
) -> None:
    world.calls()
    assert world.channels.find(CALL) is None
    world.runs("Gosub", f"audiosocket-call,s,1({CALL},127.0.0.1:8080,)")
    assert world.channels.find(CALL) is None
    world.runs(application, data)
    assert world.channels.find(CALL) == DOOR_INFO
    assert world.channels.find(CALL, VISITOR_PORT) == DOOR_INFO
    assert world.channels.find(uuid4()) is None


def test_the_dialplans_check_of_the_server_is_no_call(world: ChannelFixture) -> None:
    no_call = UUID(int=0)
    world.calls()
    world.new({**MEDIA, "Channel": f"AudioSocket/127.0.0.1:8080-{no_call}"})
    world.runs("ChanIsAvail", f"AudioSocket/127.0.0.1:8080/{no_call}/c(slin)")
    assert world.channels.sizes == (2, 0)
    assert world.channels.find(no_call) is None


def test_a_caller_is_found_from_dialbegin_alone(world: ChannelFixture) -> None:
    """An account without the class dialplan sees no Newexten; the name of a long address has lost its UUID."""
    long = {"Channel": "AudioSocket/audiosocket.condominio.example:8080-0b1c2d3e-4f50-416", "Uniqueid": "2"}
    world.calls()
    world.new(long, exten="s")
    world.event(
        "DialBegin",
        **DOOR,
        CallerIDNum="5511",
        DestChannel=long["Channel"],
        DestUniqueid="2",
        DialString=f"audiosocket.condominio.example:8080/{CALL}",
    )
    assert world.channels.find(CALL, VISITOR_PORT) == DOOR_INFO


def test_other_dialbegin_events_are_ignored(world: ChannelFixture) -> None:
    world.calls()
    world.event("DialBegin", **DOOR, DestChannel="PJSIP/2001-1", DestUniqueid="2", DialString="2001")
    world.event("DialBegin", DestChannel="AudioSocket/h:1-x", DestUniqueid="3", DialString=f"h:1/{CALL}")
    assert world.channels.find(CALL) is None


def test_a_caller_is_found_from_the_bridge_of_an_external_media_channel(world: ChannelFixture) -> None:
    world.calls()
    world.new(MEDIA, exten="s")
    assert world.channels.find(CALL) is None  # the AudioSocket channel itself is no caller
    assert world.news == [None]  # of the login
    for channel in (MEDIA, DOOR):
        world.event("BridgeEnter", **channel, BridgeUniqueid="b1", CallerIDNum="5511" if channel is DOOR else "")
    assert world.channels.find(CALL) == world.channels.certain(CALL, VISITOR_PORT) == DOOR_INFO
    assert world.news[-1] == CALL
    world.event("BridgeLeave", **DOOR, BridgeUniqueid="b1", CallerIDNum="5511")
    assert world.channels.find(CALL) is None
    world.event("BridgeEnter", **DOOR, BridgeUniqueid="b1", CallerIDNum="5511")
    assert world.news[-2:] == [CALL, CALL]
    world.event("Hangup", **MEDIA, Cause="16")
    before = len(world.news)
    world.event("BridgeEnter", **DOOR, BridgeUniqueid="b1", CallerIDNum="5511")
    assert len(world.news) == before


def test_a_caller_is_found_from_the_variable(world: ChannelFixture) -> None:
    media = {**MEDIA, "Channel": "AudioSocket/a.very.long.name.of.a.host.in.some.network.example:8080-0b1c"}
    world.event("VarSet", **media, Variable="OTHER", Value=str(CALL))
    assert world.channels.find(CALL) is None
    world.event("VarSet", **media, Variable="AUDIOSOCKET_UUID", Value=str(CALL))
    world.calls()
    for channel in (DOOR, media):
        world.event("BridgeEnter", **channel, BridgeUniqueid="b1", CallerIDNum="5511" if channel is DOOR else "")
    assert world.channels.find(CALL) == DOOR_INFO
    assert world.news[-1] == CALL


def test_visitor_and_resident_share_a_uuid(world: ChannelFixture) -> None:
    """The resident's leg comes second, or first after a restart; the port shows which is which."""
    world.calls(RESIDENT, exten="1001")
    world.runs("AudioSocket", f"{CALL},127.0.0.1:{RETURN_PORT}", RESIDENT)
    world.calls()
    world.runs("AudioSocket", f"{CALL},127.0.0.1:{VISITOR_PORT}")
    assert world.channels.find(CALL, VISITOR_PORT) == DOOR_INFO
    resident = world.channels.find(CALL, RETURN_PORT)
    assert resident is not None
    assert resident.channel == RESIDENT["Channel"]
    assert world.channels.find(CALL) == DOOR_INFO
    assert world.channels.find(CALL, 9999) == DOOR_INFO  # behind a NAT the ports are others
    world.event("Hangup", **DOOR, Cause="16")
    assert world.channels.find(CALL, VISITOR_PORT) == DOOR_INFO  # not the resident, who talks on


def test_the_dialled_number_is_the_first_real_extension(world: ChannelFixture) -> None:
    world.new(exten="s")
    world.event("NewCallerid", **DOOR, CallerIDNum="5511", CallerIDName="", Exten="1000")
    world.event("NewCallerid", **DOOR, CallerIDNum="<unknown>", CallerIDName="", Exten="2000")
    world.runs("AudioSocket", f"{CALL},127.0.0.1:8080")
    info = world.channels.find(CALL)
    assert info is not None
    assert (info.dialled, info.number) == ("1000", "5511")


def test_channels_older_than_the_login_are_found() -> None:
    world = ChannelFixture()
    world.listed(DOOR, "AudioSocket", f"{CALL},127.0.0.1:8080", **{"CALLERID(dnid)": "1000"})
    other = uuid4()
    caller = {"Channel": "PJSIP/gate-3", "Uniqueid": "3"}
    world.listed(caller, "Dial", f"AudioSocket/127.0.0.1:8080/{other},,g", Exten="1002", BridgeId="b")
    world.listed({"Channel": f"AudioSocket/127.0.0.1:8080-{other}", "Uniqueid": "4"}, "AppDial", "", BridgeId="b")
    world.start()
    assert world.channels.find(CALL, VISITOR_PORT) == DOOR_INFO
    assert world.channels.find(other) == CallerInfo("PJSIP/gate-3", "3", "5511", "Porta Norte", "1002")
    world.finish()


def test_a_call_that_resumes_on_a_new_server_has_its_dialled_number() -> None:
    world = ChannelFixture()
    world.listed(DOOR, "Wait", "0.1", **{"CALLERID(dnid)": "1000"})  # the shipped loop waits for the server
    world.start()
    world.runs("TryExec", f"AudioSocket({CALL},127.0.0.1:8080)")
    assert world.channels.find(CALL, VISITOR_PORT) == DOOR_INFO
    world.finish()


def test_created_when_ami_is_up_already(world: ChannelFixture) -> None:
    world.listed(DOOR, "AudioSocket", f"{CALL},127.0.0.1:8080", Exten="1000")
    late = ChannelTracker(world.ami)
    world.flush()
    assert late.find(CALL) == DOOR_INFO
    late.close()


def test_a_refused_listing_is_logged_and_events_go_on(
    world: ChannelFixture, logged_failures: LoggedFailures
) -> None:
    world.asterisk.replies["CoreShowChannels"] = lambda c, action: c.error(action, "Permission denied")
    world.lose_connection()
    world.run(1)
    world.calls()
    world.runs("AudioSocket", f"{CALL},127.0.0.1:8080")
    assert world.channels.find(CALL) == DOOR_INFO
    assert not logged_failures


def test_known_callers_keep_their_history_over_a_reconnection(world: ChannelFixture) -> None:
    world.calls()
    world.runs("AudioSocket", f"{CALL},127.0.0.1:8080")
    ended = uuid4()
    gone = {"Channel": "PJSIP/x-9", "Uniqueid": "9"}
    world.calls(gone)
    world.runs("AudioSocket", f"{ended},127.0.0.1:8080", gone)
    world.listed(DOOR, "AudioSocket", f"{CALL},127.0.0.1:8080")
    world.lose_connection()
    world.run(1)
    assert world.channels.find(CALL) == DOOR_INFO  # the number dialled is only in what we knew
    assert world.channels.sizes == (1, 2)


def test_an_ended_call_is_kept_until_a_live_channel_has_its_uuid(world: ChannelFixture) -> None:
    world.calls()
    world.runs("AudioSocket", f"{CALL},127.0.0.1:8080")
    world.event("Hangup", **DOOR, Cause="16")
    assert world.channels.find(CALL) == DOOR_INFO
    assert world.channels.sizes == (0, 1)
    again = {"Channel": "PJSIP/door-2", "Uniqueid": "2"}
    world.calls(again)
    world.runs("AudioSocket", f"{CALL},127.0.0.1:8080", again)
    info = world.channels.find(CALL)
    assert info is not None
    assert info.channel == "PJSIP/door-2"


def test_what_is_certain_and_what_is_a_guess(world: ChannelFixture) -> None:
    """A channel that went to the port of the other role is not even that."""
    world.calls()
    world.runs("AudioSocket", f"{CALL},127.0.0.1:{VISITOR_PORT}")
    assert world.channels.certain(CALL, VISITOR_PORT) == DOOR_INFO
    assert world.channels.certain(CALL, RETURN_PORT) is None
    resident: dict[str, Any] = {"role": Role.RESIDENT, "other_port": VISITOR_PORT}
    assert world.channels.find(CALL, RETURN_PORT, **resident) is None
    world.calls(RESIDENT, exten="1001")
    world.runs("AudioSocket", f"{CALL},gate.example:9999", RESIDENT)  # another port, because of NAT
    assert world.channels.certain(CALL, RETURN_PORT) is None
    found = world.channels.find(CALL, RETURN_PORT, **resident)
    assert found is not None
    assert found.channel == RESIDENT["Channel"]
    other = uuid4()
    world.runs("AudioSocket", f"{other},127.0.0.1:{RETURN_PORT}", RESIDENT)
    assert world.channels.find(other, VISITOR_PORT, other_port=RETURN_PORT) is None


def test_no_caller_is_known_until_the_dialled_number_is() -> None:
    world = ChannelFixture()
    world.listed(DOOR, "AudioSocket", f"{CALL},127.0.0.1:8080", **{"CALLERID(dnid)": "1000"})
    waiting: list[Any] = []
    world.asterisk.replies["Getvar"] = lambda connection, action: waiting.append((connection, action))
    world.start()
    assert world.channels.certain(CALL, VISITOR_PORT) is world.channels.find(CALL, VISITOR_PORT) is None
    assert world.news == [None]
    for connection, action in waiting:
        connection.on_Getvar(action)
    world.flush()
    assert world.channels.certain(CALL, VISITOR_PORT) == DOOR_INFO
    assert world.news == [None, CALL]
    world.finish()


def test_a_channel_without_a_dialled_number_is_certain_after_the_answer(world: ChannelFixture) -> None:
    world.asterisk.replies["Getvar"] = lambda connection, action: connection.error(action, "No such channel")
    world.new(exten="s")
    world.runs("AudioSocket", f"{CALL},127.0.0.1:8080")
    info = world.channels.certain(CALL, VISITOR_PORT)
    assert info is not None
    assert (info.number, info.dialled) == ("5511", "")


def test_a_listing_that_fails_again_is_logged_once(world: ChannelFixture) -> None:
    with_warnings = CapturedLog()
    world.asterisk.replies["CoreShowChannels"] = lambda c, action: c.error(action, "Permission denied")
    for _ in range(3):
        world.channels.listing()
        world.flush()
    assert len(with_warnings.containing("AMI does not list the channels: Permission denied")) == 1
    del world.asterisk.replies["CoreShowChannels"]
    world.channels.listing()
    world.flush()
    world.asterisk.replies["CoreShowChannels"] = lambda c, action: c.error(action, "Permission denied")
    world.channels.listing()
    world.flush()
    assert len(with_warnings.containing("Permission denied")) == 2
    with_warnings.close()


def test_memory_is_bounded() -> None:
    world = ChannelFixture(max_calls=10, max_channels=20)
    world.start()
    for number in range(100):
        channel = {"Channel": f"PJSIP/x-{number}", "Uniqueid": f"{number}"}
        world.calls(channel)
        world.runs("AudioSocket", f"{UUID(int=number)},127.0.0.1:8080", channel)
    assert world.channels.sizes == (20, 10)
    assert world.channels.find(UUID(int=99)) is not None
    assert world.channels.find(UUID(int=0)) is None
    for number in range(100):  # the same UUID again and again
        channel = {"Channel": f"PJSIP/y-{number}", "Uniqueid": f"y{number}"}
        world.runs("AudioSocket", f"{CALL},127.0.0.1:{number}", channel)
    known = {info.channel_id for port in range(100) if (info := world.channels.find(CALL, port))}
    assert len(known) <= MAX_LEGS
    assert "y99" in known
    world.finish()
