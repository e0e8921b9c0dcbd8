"""The caller of a leg is identified: at once, later, or by a listing; nothing waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, Leg
from audiosocket.server.caller_identification import MIN_LIST_SECONDS, CallerIdentification
from tests.support.ami_channels import DOOR, DOOR_INFO, RESIDENT, RETURN_PORT, VISITOR_PORT, ChannelFixture
from tests.support.in_memory import CALL, OTHER_CALL, AsteriskConnection, InMemoryServer, RecordingApp
from tests.support.logged_failures import LoggedFailures

IN_APP = f"{CALL},127.0.0.1:{VISITOR_PORT}"


class IdentificationFixture(ChannelFixture):
    """A server with a fake Asterisk; visitors and residents run ``app``."""

    def __init__(self) -> None:
        super().__init__()
        self.app = RecordingApp()
        self.connections: list[AsteriskConnection] = []
        callers = CallerIdentification(self.channels, self.clock)
        self.server = InMemoryServer(self.app, accept_unexpected_resident=True, time=self.clock, callers=callers)

    def join(self, call_id: UUID = CALL, role: Role = Role.VISITOR) -> AsteriskConnection:
        self.connections.append(self.server.join(call_id, role))
        self.flush()
        return self.connections[-1]

    def identified(self) -> list[Any]:
        return self.app.values("identified")

    def shown(self, call_id: UUID = CALL) -> Any:
        call = self.server.registry.get(call_id)
        assert call is not None
        return call.to_json(self.clock.seconds())["caller"]

    def listings(self) -> int:
        return len(self.asterisk.actions_named("CoreShowChannels"))

    def finish(self, *, goodbye: bool = True) -> None:
        for connection in self.connections:
            connection.hang_up()
        self.server.run(10)  # the clock of the legs stops in its own turn
        super().finish()


@pytest.fixture
def ami() -> Iterator[IdentificationFixture]:
    ami = IdentificationFixture()
    ami.start()
    yield ami
    ami.finish()


@pytest.mark.parametrize(
    ("application", "data"), [("AudioSocket", IN_APP), ("Dial", f"AudioSocket/127.0.0.1:8080/{CALL}/c(slin16),,g")]
)
@pytest.mark.parametrize("first", ["the event", "the leg"])
def test_an_app_gets_identified_once(ami: IdentificationFixture, application: str, data: str, first: str) -> None:
    ami.calls()
    steps: list[Callable[[], object]] = [lambda: ami.runs(application, data), ami.join]
    for step in steps if first == "the event" else reversed(steps):
        step()
    assert ami.app.methods == ["joined", "identified"]
    (event,) = (event for event in ami.app.events if event.method == "identified")
    assert event.value == event.leg.caller == DOOR_INFO
    ami.runs(application, data)
    ami.run(5)
    assert ami.identified() == [DOOR_INFO]
    assert ami.listings() == 1, "only that of the login"


OTHER = {"Channel": "PJSIP/desk-00000007", "Uniqueid": "1700000000.77"}


def test_after_an_attended_transfer_of_the_application_the_caller_is_the_new_party(
    ami: IdentificationFixture,
) -> None:
    """Asterisk gives the channel that runs the application the name and the caller of the other telephone."""
    ami.calls()
    ami.runs("AudioSocket", IN_APP)
    ami.join()
    ami.event(
        "NewCallerid",
        **{**DOOR, "Channel": OTHER["Channel"]},
        CallerIDNum="300",
        CallerIDName="Desk",
        Exten="1000",
    )
    ami.event("Hangup", **{**OTHER, "Channel": f"{DOOR['Channel']}<ZOMBIE>"}, Cause="16")
    first, second = ami.identified()
    assert first == DOOR_INFO
    assert (second.channel, second.number, second.name, second.dialled) == (
        OTHER["Channel"],
        "300",
        "Desk",
        "1000",
    )
    assert ami.shown()["number"] == "300"
    ami.run(5)
    assert len(ami.identified()) == 2


def test_after_an_attended_transfer_with_the_channel_driver_the_caller_is_the_new_party(
    ami: IdentificationFixture,
) -> None:
    media = {"Channel": f"AudioSocket/127.0.0.1:8080-{CALL}", "Uniqueid": "1700000000.50"}
    ami.calls()
    ami.runs("Dial", f"AudioSocket/127.0.0.1:8080/{CALL}/c(slin16),,g")
    ami.event("Newchannel", **media)
    ami.join()
    for channel in (DOOR, media):
        ami.event("BridgeEnter", **channel, BridgeUniqueid="b1")
    assert ami.identified() == [DOOR_INFO]
    ami.event("Newchannel", **OTHER, CallerIDNum="300", CallerIDName="Desk", Exten="400")
    ami.event("BridgeLeave", **DOOR, BridgeUniqueid="b1")
    ami.event("BridgeEnter", **OTHER, BridgeUniqueid="b1", CallerIDNum="300", CallerIDName="Desk")
    ami.event("Hangup", **DOOR, Cause="16")
    second = ami.identified()[-1]
    assert (second.channel, second.number, second.dialled) == (OTHER["Channel"], "300", "1000")
    assert ami.shown()["name"] == "Desk"
    assert len(ami.identified()) == 2


def test_the_api_shows_the_caller_once_it_is_identified(ami: IdentificationFixture) -> None:
    ami.calls()
    connection = ami.join()
    assert ami.app.events[0].leg.caller is None
    assert ami.shown() is None
    ami.runs("AudioSocket", IN_APP)
    wanted = {"channel": "PJSIP/door-00000001", "number": "5511", "name": "Porta Norte", "dialled": "1000"}
    assert ami.shown() == wanted
    ami.event("Hangup", **DOOR, Cause="16")
    connection.hang_up()
    assert ami.shown() == wanted, "also of a call that has ended"


def test_visitor_and_resident_are_distinguished(ami: IdentificationFixture) -> None:
    ami.calls()
    ami.runs("AudioSocket", IN_APP)
    ami.join()
    ami.join(role=Role.RESIDENT)
    ami.run(1)
    assert ami.identified() == [DOOR_INFO], "the visitor's channel is not the resident's"
    ami.calls(RESIDENT, exten="1001")
    ami.runs("AudioSocket", f"{CALL},127.0.0.1:{RETURN_PORT}", RESIDENT)
    roles = [(event.leg.role, event.value.channel) for event in ami.app.events if event.method == "identified"]
    assert roles == [(Role.VISITOR, DOOR["Channel"]), (Role.RESIDENT, RESIDENT["Channel"])]
    assert ami.shown()["channel"] == DOOR["Channel"]


def test_behind_a_nat_the_best_match_is_taken_when_the_event_is_overdue(ami: IdentificationFixture) -> None:
    ami.calls()
    ami.join()
    ami.runs("AudioSocket", f"{CALL},gate.example:9999")
    assert ami.identified() == []
    ami.run(0.4)
    assert ami.identified() == [DOOR_INFO]
    assert ami.listings() == 1, "no channel was missing"


def test_without_dialplan_events_a_listing_identifies_the_caller(ami: IdentificationFixture) -> None:
    ami.calls()
    ami.listed(DOOR, "AudioSocket", IN_APP)
    ami.join()
    ami.run(0.2)
    assert (ami.identified(), ami.listings()) == ([], 1)
    ami.run(0.2)
    assert (ami.identified(), ami.listings()) == ([DOOR_INFO], 2)


def test_one_listing_serves_many_legs(ami: IdentificationFixture) -> None:
    seconds, each = 5, 20
    for number in range(seconds * each):
        channel = {"Channel": f"PJSIP/door-{number}", "Uniqueid": f"{number}"}
        call_id = UUID(int=number + 1)
        ami.listed(channel, "AudioSocket", f"{call_id},127.0.0.1:8080", Exten="1000")
        ami.join(call_id)
        ami.run(1 / each, step=1 / each)
    ami.run(2)
    assert [info.channel for info in ami.identified()] == [
        f"PJSIP/door-{number}" for number in range(seconds * each)
    ]
    assert ami.listings() <= 2 + (seconds + 2) / MIN_LIST_SECONDS


def test_an_unknown_leg_causes_one_listing(ami: IdentificationFixture) -> None:
    ami.join()
    ami.run(10)
    assert (ami.identified(), ami.listings()) == ([], 2)
    ami.calls()
    ami.runs("AudioSocket", IN_APP)
    assert ami.identified() == [DOOR_INFO], "later events are used all the same"


def test_the_listing_of_a_login_identifies_legs_that_joined_before_it() -> None:
    ami = IdentificationFixture()
    ami.join()
    ami.run(1)
    ami.listed(DOOR, "AudioSocket", IN_APP, **{"CALLERID(dnid)": "1000"})
    ami.start()
    assert ami.identified() == [DOOR_INFO]
    ami.finish()


def test_a_leg_that_has_ended_is_not_identified(ami: IdentificationFixture) -> None:
    ami.calls()
    ami.join().hang_up()
    ami.runs("AudioSocket", IN_APP)
    ami.run(1)
    assert ami.app.methods == ["joined", "left"]
    assert ami.listings() == 1


def test_a_leg_that_an_app_hangs_up_at_once_causes_no_listing(ami: IdentificationFixture) -> None:
    ami.app._then = {"joined": lambda leg: leg.hang_up()}
    ami.join()
    ami.run(1)
    assert (ami.app.methods, ami.listings()) == (["joined", "left"], 1)


def test_an_app_that_raises_ends_its_own_call(ami: IdentificationFixture, logged_failures: LoggedFailures) -> None:
    def fail(leg: Leg) -> None:
        if leg.call_id == CALL:
            raise RuntimeError("of the test")

    ami.app._then = {"identified": fail}
    ami.join()
    ami.join(OTHER_CALL)
    for number, call_id in enumerate((CALL, OTHER_CALL)):
        channel = {"Channel": f"PJSIP/door-{number}", "Uniqueid": f"{number}"}
        ami.calls(channel)
        ami.runs("AudioSocket", f"{call_id},127.0.0.1:8080", channel)
    outcomes = [ami.server.registry.get(call_id) for call_id in (CALL, OTHER_CALL)]
    assert [call and call.outcome for call in outcomes] == ["app_failed", None]
    assert len(ami.identified()) == 2
    assert len(logged_failures.flush(RuntimeError)) == 1


def test_an_app_may_hang_up_in_identified(ami: IdentificationFixture) -> None:
    ami.app._then = {"identified": lambda leg: leg.hang_up()}
    ami.calls()
    ami.runs("AudioSocket", IN_APP)
    connection = ami.join()
    assert ami.app.methods == ["joined", "identified", "left"]
    assert connection.ended_by_server


def test_a_leg_that_joins_again_is_identified_again_and_a_resumed_one_is_not(
    ami: IdentificationFixture,
) -> None:
    ami.calls()
    ami.runs("AudioSocket", IN_APP)
    ami.join()
    ami.run(2)
    ami.join()  # the old connection sent no audio
    assert ami.app.methods == ["joined", "identified", "resumed"]
    ami.join(role=Role.RESIDENT)
    ami.connections[1].hang_up()
    ami.join()
    assert ami.app.methods[-3:] == ["left", "joined", "identified"]


def test_without_ami_no_app_gets_identified() -> None:
    app = RecordingApp()
    server = InMemoryServer(app)
    connection = server.join()
    server.run(2_000)
    assert app.methods == ["joined"]
    connection.hang_up()
    assert server.idle


def test_identified_does_nothing_by_default() -> None:
    leg: Any = None
    App().identified(leg, DOOR_INFO)
