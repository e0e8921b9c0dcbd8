"""Legs behind a proxy: the end of their connection does not say that the caller has hung up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.registry import RECONNECT_SECONDS
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.server.caller_identification import CallerIdentification
from audiosocket.wire import HANGUP_FRAME, uuid_frame
from tests.support.ami_channels import DOOR, RESIDENT, RETURN_PORT, VISITOR_PORT, ChannelFixture
from tests.support.in_memory import (
    CALL,
    FRAME,
    OTHER_EXTENSION,
    AsteriskConnection,
    InMemoryServer,
    RecordingApp,
    RememberingApp,
    refused,
)
from tests.support.journal import InMemoryJournal

PROXY = "198.51.100.1"
HEADER = b"PROXY TCP4 10.0.0.7 10.0.0.31 40123 8101\r\n"
AFTER_THAT = RECONNECT_SECONDS * 1000 + 100
End = Callable[[AsteriskConnection], None]


def server_of(app: RecordingApp, journal: InMemoryJournal | None = None) -> InMemoryServer:
    return InMemoryServer(app, proxies=f"{PROXY}/32", journal=journal)


def through_proxy(server: InMemoryServer, role: Role = Role.VISITOR) -> AsteriskConnection:
    line = server.connect(role, host=PROXY)
    line.send(HEADER + uuid_frame(CALL))
    return line


def call_of(server: InMemoryServer) -> Call:
    call = server.registry.get(CALL)
    assert call is not None
    return call


def leg_of(server: InMemoryServer, role: Role = Role.VISITOR) -> LegState:
    return call_of(server).legs[role]


def shown(server: InMemoryServer) -> tuple[str, str, str | None]:
    call = call_of(server).to_json(server.now)
    return call["state"], call["legs"][0]["state"], call["outcome"]


def fin(line: AsteriskConnection) -> None:
    line.hang_up()


def rst(line: AsteriskConnection) -> None:
    line.reset()


ENDS = pytest.mark.parametrize(
    ("end", "outcome"), [(fin, "caller_hangup"), (rst, "connection_lost")], ids=["FIN", "RST"]
)


@ENDS
def test_a_visitor_whose_connection_ended_is_suspended_and_resumes_as_if_nothing_had_happened(
    end: End, outcome: str
) -> None:
    app = RecordingApp()
    server = server_of(app)
    first = through_proxy(server)
    first.send(FRAME)
    leg = app.events[0].leg
    leg.play(b"\x21\x43" * 8000 * 3)
    server.run(500, first)
    heard = leg.heard_ms
    end(first)
    assert shown(server) == ("live", "suspended", None)
    server.run(300)
    assert leg.heard_ms == heard
    second = through_proxy(server)
    assert shown(server) == ("live", "live", None)
    server.run(500, second)
    assert {event.leg for event in app.events} == {leg}
    assert (app.methods.count("joined"), app.methods.count("resumed"), app.methods.count("left")) == (1, 1, 0)
    assert leg.heard_ms == heard + 520  # the first frame is sent at once
    assert any(second.audio()[0][2])
    assert leg_of(server).resumes == 1
    assert server.event_names() == ["call.started", "leg.joined", "leg.suspended", "leg.resumed"]
    second.send(HANGUP_FRAME)
    second.hang_up()
    assert server.idle


@ENDS
def test_a_caller_who_does_not_come_back_is_reported_once_when_that_is_certain(end: End, outcome: str) -> None:
    app, journal = RecordingApp(), InMemoryJournal()
    server = server_of(app, journal)
    line = through_proxy(server)
    server.run(100, line)
    end(line)
    server.run(RECONNECT_SECONDS * 1000 - 100)
    assert app.values("left") == []
    assert server.event_names() == ["call.started", "leg.joined", "leg.suspended"]
    assert not any(b'"leg.left"' in written or b'"call.ended"' in written for written in journal.lines)
    server.run(200)
    assert app.values("left") == [outcome]
    assert shown(server) == ("ended", "ended", outcome)
    assert server.event_names()[3:] == ["leg.left", "call.ended"]
    assert refused(server.join())
    server.run(AFTER_THAT)
    assert app.values("left") == [outcome]


def test_a_hangup_frame_through_a_proxy_ends_the_call_at_once() -> None:
    app = RecordingApp()
    server = server_of(app)
    line = through_proxy(server)
    line.send(HANGUP_FRAME)
    line.hang_up()
    assert shown(server) == ("ended", "ended", "caller_hangup")
    assert app.values("left") == ["caller_hangup"]
    assert server.idle


def test_without_a_proxy_a_fin_ends_the_call_at_once() -> None:
    server = server_of(RecordingApp())
    server.join().hang_up()
    assert shown(server) == ("ended", "ended", "caller_hangup")
    assert server.idle


def test_the_uuid_may_come_back_at_once_although_a_frame_was_just_received() -> None:
    server = server_of(RecordingApp())
    line = through_proxy(server)
    server.run(1_000, line)
    line.hang_up()
    again = through_proxy(server)
    assert not refused(again)
    assert shown(server) == ("live", "live", None)
    again.send(HANGUP_FRAME)


def test_each_connection_through_a_proxy_is_waited_for_anew() -> None:
    server = server_of(RecordingApp())
    for _ in range(3):
        line = through_proxy(server)
        server.run(100, line)
        line.hang_up()
        server.run(RECONNECT_SECONDS * 1000 - 500)
    assert shown(server) == ("live", "suspended", None)
    assert leg_of(server).resumes == 2
    server.run(AFTER_THAT)
    assert shown(server)[0] == "ended"
    assert server.idle


def test_a_leg_that_came_back_without_a_proxy_ends_with_its_connection() -> None:
    server = server_of(RecordingApp())
    through_proxy(server).hang_up()
    server.join().hang_up()
    assert shown(server) == ("ended", "ended", "caller_hangup")


def test_the_old_connection_may_end_after_the_new_one_has_come() -> None:
    server = server_of(RecordingApp())
    old = through_proxy(server)
    server.run(1_100)
    new = through_proxy(server)
    old.hang_up()
    assert shown(server) == ("live", "live", None)
    assert server.event_names() == ["call.started", "leg.joined", "leg.resumed"]
    new.send(HANGUP_FRAME)


@pytest.mark.parametrize("who", ["app", "API", "failure", "stop"])
def test_a_suspended_leg_can_be_ended_by_the_server(who: str) -> None:
    app = RecordingApp()
    server = server_of(app)
    line = through_proxy(server)
    line.hang_up()
    leg = app.events[0].leg
    if who == "app":
        leg.hang_up()
    elif who == "API":
        server.switchboard.hang_up(CALL, Role.VISITOR, LegOutcome.ADMIN_HANGUP)
    elif who == "failure":
        server.switchboard.end_call(CALL, LegOutcome.APP_FAILED)
    else:
        server.switchboard.close()
    assert len(app.values("left")) == 1
    assert shown(server)[0] == "ended"
    assert server.idle
    if who != "stop":
        assert refused(through_proxy(server))


def test_what_an_app_plays_meanwhile_is_heard_after_the_return() -> None:
    app = RecordingApp()
    server = server_of(app)
    through_proxy(server).hang_up()
    leg = app.events[0].leg
    leg.play(b"\x21\x43" * 1600, live=True)
    leg.mark("end")
    leg.pass_on(b"\x01\x02" * 160, 8000)
    server.run(200)
    assert leg.queued_ms == 200
    back = through_proxy(server)
    server.run(400, back)
    assert app.values("marked") == [("end", 200)]
    back.send(HANGUP_FRAME)


def test_a_suspended_leg_counts_as_live_until_it_is_over() -> None:
    server = server_of(RecordingApp())
    through_proxy(server).hang_up()
    assert server.switchboard.live_legs == 1  # a drain waits for it
    assert server.registry.is_suspended(CALL)
    server.run(AFTER_THAT)
    assert server.switchboard.live_legs == 0
    assert not server.registry.is_suspended(CALL)


def test_the_other_rules_of_joining_hold_for_a_suspended_leg() -> None:
    server = server_of(RecordingApp())
    through_proxy(server).hang_up()
    elsewhere = server.connect(Role.VISITOR, OTHER_EXTENSION, host=PROXY)
    elsewhere.send(HEADER + uuid_frame(CALL))
    assert refused(elsewhere)
    assert shown(server) == ("live", "suspended", None)


def test_a_resident_may_join_while_the_visitor_is_suspended() -> None:
    app = RecordingApp()
    server = server_of(app)
    through_proxy(server).hang_up()
    resident = through_proxy(server, Role.RESIDENT)
    assert not refused(resident)
    server.run(AFTER_THAT, resident)
    assert app.values("left") == ["caller_hangup"]
    assert shown(server) == ("live", "ended", None)
    resident.send(HANGUP_FRAME)


def test_a_process_killed_meanwhile_leaves_the_call_to_the_next_one() -> None:
    journal = InMemoryJournal()
    server = server_of(RememberingApp(), journal)
    line = through_proxy(server)
    line.send(b"\x03\x00\x017")
    line.hang_up()
    app = RememberingApp()
    after = journal.restarted(app)
    assert after.registry.is_suspended(CALL)
    back = after.join(extension=DEFAULT_EXTENSION)
    assert not refused(back)
    assert app.values("restored") == [{"digit": "7"}]
    assert [entry["event"] for entry in call_of(after).timeline] == [
        "call.started", "leg.joined", "leg.digit", "leg.suspended", "call.resumed", "leg.resumed",
    ]  # fmt: skip
    assert leg_of(after).joined < after.now


# what Asterisk says of the channel


@pytest.fixture
def ami() -> Iterator[ChannelFixture]:
    """Return an Asterisk with the channel of a visitor whose leg is expected."""
    ami = ChannelFixture()
    ami.start()
    ami.calls()
    ami.runs("AudioSocket", f"{CALL},127.0.0.1:{VISITOR_PORT}")
    ami.flush()
    yield ami
    ami.finish()


def server_with(ami: ChannelFixture, app: RecordingApp) -> InMemoryServer:
    callers = CallerIdentification(ami.channels, ami.clock)
    return InMemoryServer(app, proxies=f"{PROXY}/32", time=ami.clock, callers=callers)


@ENDS
def test_a_suspended_leg_ends_when_asterisk_says_that_its_channel_is_gone(
    ami: ChannelFixture, end: End, outcome: str
) -> None:
    app = RecordingApp()
    server = server_with(ami, app)
    line = through_proxy(server)
    end(line)
    server.run(100)
    assert shown(server) == ("live", "suspended", None)
    ami.event("Hangup", **DOOR)
    ami.flush()
    assert shown(server) == ("ended", "ended", "caller_hangup")
    assert app.values("left") == ["caller_hangup"]
    server.run(AFTER_THAT)
    assert app.values("left") == ["caller_hangup"]


@ENDS
def test_a_connection_whose_channel_is_gone_already_ends_its_leg_at_once(
    ami: ChannelFixture, end: End, outcome: str
) -> None:
    app = RecordingApp()
    server = server_with(ami, app)
    line = through_proxy(server)
    server.run(20, line)
    ami.event("Hangup", **DOOR)
    ami.flush()
    assert shown(server) == ("live", "live", None)
    end(line)
    assert shown(server) == ("ended", "ended", "caller_hangup")
    assert server.event_names() == ["call.started", "leg.joined", "leg.suspended", "leg.left", "call.ended"]
    server.run(50)


def test_a_visitor_who_is_back_is_not_ended_by_the_news_of_a_channel(ami: ChannelFixture) -> None:
    app = RecordingApp()
    server = server_with(ami, app)
    through_proxy(server).hang_up()
    back = through_proxy(server)
    ami.event("Hangup", **DOOR)
    ami.flush()
    assert shown(server) == ("live", "live", None)
    back.send(HANGUP_FRAME)
    back.hang_up()
    server.run(50)


# two people who talk


def states(server: InMemoryServer) -> list[str]:
    return [leg["state"] for leg in call_of(server).to_json(server.now)["legs"]]


def talking(server: InMemoryServer, app: RecordingApp) -> list[AsteriskConnection]:
    """Return the connections of a visitor and a resident who hear each other."""
    lines = [through_proxy(server, role) for role in Role]
    assert app.events[0].leg.connect_other(True)
    server.run(20)
    return lines


@pytest.fixture
def both(ami: ChannelFixture) -> ChannelFixture:
    """Return an Asterisk with the channels of a visitor and a resident."""
    ami.calls(RESIDENT, "1001")
    ami.runs("AudioSocket", f"{CALL},127.0.0.1:{RETURN_PORT}", RESIDENT)
    ami.flush()
    return ami


@ENDS
def test_two_who_talk_go_on_when_both_connections_are_back(both: ChannelFixture, end: End, outcome: str) -> None:
    app = RecordingApp()
    server = server_with(both, app)
    for line in talking(server, app):
        end(line)
    assert states(server) == ["suspended", "suspended"]
    server.run(300)
    visitor, resident = (through_proxy(server, role) for role in Role)
    assert states(server) == ["live", "live"]
    assert (app.methods.count("resumed"), app.values("left")) == (2, [])
    since = server.now
    visitor.send(FRAME)
    server.run(60)
    assert FRAME[3:] in [pcm for _, _, pcm in resident.audio(since)]
    assert "bridge.ended" not in server.event_names()
    for line in (visitor, resident):
        line.send(HANGUP_FRAME)
        line.hang_up()
    server.run(50)


@ENDS
def test_a_resident_who_hangs_up_is_reported_as_soon_as_the_channel_is_gone(
    both: ChannelFixture, end: End, outcome: str
) -> None:
    app = RecordingApp()
    server = server_with(both, app)
    visitor, resident = talking(server, app)
    end(resident)
    assert states(server) == ["live", "suspended"]
    both.event("Hangup", **RESIDENT)
    both.flush()
    assert states(server) == ["live", "ended"]
    assert app.values("left") == ["caller_hangup"]
    visitor.send(HANGUP_FRAME)
    visitor.hang_up()
    server.run(50)


@ENDS
def test_a_resident_of_whose_channel_nothing_is_known_ends_with_the_connection(
    ami: ChannelFixture, end: End, outcome: str
) -> None:
    app = RecordingApp()
    server = server_with(ami, app)
    visitor, resident = talking(server, app)
    end(resident)
    assert states(server) == ["live", "ended"]
    assert app.values("left") == [outcome]
    visitor.send(HANGUP_FRAME)
    visitor.hang_up()
    server.run(2_100)
