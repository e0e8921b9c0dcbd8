"""Apps and the API learn who is calling: at once, later, by a listing, and without anybody waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, Leg
from audiosocket.server.caller_identification import MIN_LIST_SECONDS, CallerIdentification
from tests.asterisk.test_ami_channels import DOOR, DOOR_INFO, RESIDENT, RETURN_PORT, VISITOR_PORT, Calling
from tests.support.in_memory import CALL, OTHER_CALL, AsteriskConnection, InMemoryServer, RecordingApp
from tests.support.logged_failures import LoggedFailures

IN_APP = f"{CALL},127.0.0.1:{VISITOR_PORT}"


class Gate(Calling):
    """A switchboard beside an Asterisk; visitors and residents run ``app``."""

    def __init__(self) -> None:
        super().__init__()
        self.app = RecordingApp()
        self.lines: list[AsteriskConnection] = []
        callers = CallerIdentification(self.channels, self.clock)
        self.exchange = InMemoryServer(self.app, accept_unexpected_resident=True, time=self.clock, callers=callers)

    def join(self, call_id: UUID = CALL, role: Role = Role.VISITOR) -> AsteriskConnection:
        self.lines.append(self.exchange.join(call_id, role))
        self.flush()
        return self.lines[-1]

    def told(self) -> list[Any]:
        return self.app.values("identified")

    def shown(self, call_id: UUID = CALL) -> Any:
        call = self.exchange.registry.get(call_id)
        assert call is not None
        return call.to_json(self.clock.seconds())["caller"]

    def listings(self) -> int:
        return len(self.asterisk.actions_named("CoreShowChannels"))

    def finish(self) -> None:
        for line in self.lines:
            line.hang_up()
        self.exchange.run(10)  # the clock of the legs stops in its own turn
        super().finish()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    gate.start()
    yield gate
    gate.finish()


@pytest.mark.parametrize(
    ("application", "data"), [("AudioSocket", IN_APP), ("Dial", f"AudioSocket/127.0.0.1:8080/{CALL}/c(slin16),,g")]
)
@pytest.mark.parametrize("first", ["the event", "the leg"])
def test_an_app_is_told_once_who_is_calling(gate: Gate, application: str, data: str, first: str) -> None:
    gate.calls()
    steps: list[Callable[[], object]] = [lambda: gate.runs(application, data), gate.join]
    for step in steps if first == "the event" else reversed(steps):
        step()
    assert gate.app.methods == ["joined", "identified"]
    (told,) = (told for told in gate.app.events if told.method == "identified")
    assert told.value == told.leg.caller == DOOR_INFO
    gate.runs(application, data)
    gate.run(5)
    assert gate.told() == [DOOR_INFO]
    assert gate.listings() == 1, "that of the login"


def test_the_caller_is_unknown_until_then_and_shown_from_then_on(gate: Gate) -> None:
    gate.calls()
    line = gate.join()
    assert gate.app.events[0].leg.caller is None
    assert gate.shown() is None
    gate.runs("AudioSocket", IN_APP)
    wanted = {"channel": "PJSIP/door-00000001", "number": "5511", "name": "Porta Norte", "dialled": "1000"}
    assert gate.shown() == wanted
    gate.event("Hangup", **DOOR, Cause="16")
    line.hang_up()
    assert gate.shown() == wanted, "of a call that has ended, too"


def test_visitor_and_resident_are_told_apart(gate: Gate) -> None:
    gate.calls()
    gate.runs("AudioSocket", IN_APP)
    gate.join()
    gate.join(role=Role.RESIDENT)
    gate.run(1)
    assert gate.told() == [DOOR_INFO], "the visitor's channel is not the resident's"
    gate.calls(RESIDENT, exten="1001")
    gate.runs("AudioSocket", f"{CALL},127.0.0.1:{RETURN_PORT}", RESIDENT)
    roles = [(told.leg.role, told.value.channel) for told in gate.app.events if told.method == "identified"]
    assert roles == [(Role.VISITOR, DOOR["Channel"]), (Role.RESIDENT, RESIDENT["Channel"])]
    assert gate.shown()["channel"] == DOOR["Channel"]


def test_behind_a_nat_a_guess_counts_when_the_event_is_overdue(gate: Gate) -> None:
    gate.calls()
    gate.join()
    gate.runs("AudioSocket", f"{CALL},gate.example:9999")
    assert gate.told() == []
    gate.run(0.4)
    assert gate.told() == [DOOR_INFO]
    assert gate.listings() == 1, "no channel was missing"


def test_without_the_events_of_the_dialplan_a_listing_tells(gate: Gate) -> None:
    gate.calls()
    gate.listed(DOOR, "AudioSocket", IN_APP)
    gate.join()
    gate.run(0.2)
    assert (gate.told(), gate.listings()) == ([], 1)
    gate.run(0.2)
    assert (gate.told(), gate.listings()) == ([DOOR_INFO], 2)


def test_one_listing_serves_many_and_a_crowd_does_not_flood_ami(gate: Gate) -> None:
    seconds, each = 5, 20
    for number in range(seconds * each):
        channel = {"Channel": f"PJSIP/door-{number}", "Uniqueid": f"{number}"}
        call_id = UUID(int=number + 1)
        gate.listed(channel, "AudioSocket", f"{call_id},127.0.0.1:8080", Exten="1000")
        gate.join(call_id)
        gate.run(1 / each, step=1 / each)
    gate.run(2)
    assert [info.channel for info in gate.told()] == [f"PJSIP/door-{number}" for number in range(seconds * each)]
    assert gate.listings() <= 2 + (seconds + 2) / MIN_LIST_SECONDS


def test_a_leg_that_nobody_knows_is_listed_for_once(gate: Gate) -> None:
    gate.join()
    gate.run(10)
    assert (gate.told(), gate.listings()) == ([], 2)
    gate.calls()
    gate.runs("AudioSocket", IN_APP)
    assert gate.told() == [DOOR_INFO], "news are welcome all the same"


def test_a_login_tells_those_who_came_before_it() -> None:
    gate = Gate()
    gate.join()
    gate.run(1)
    gate.listed(DOOR, "AudioSocket", IN_APP, **{"CALLERID(dnid)": "1000"})
    gate.start()
    assert gate.told() == [DOOR_INFO]
    gate.finish()


def test_a_leg_that_is_over_is_told_nothing_and_leaves_nothing(gate: Gate) -> None:
    gate.calls()
    gate.join().hang_up()
    gate.runs("AudioSocket", IN_APP)
    gate.run(1)
    assert gate.app.methods == ["joined", "left"]
    assert gate.listings() == 1


def test_a_leg_that_an_app_ends_at_once_is_not_waited_for(gate: Gate) -> None:
    gate.app._then = {"joined": lambda leg: leg.hang_up()}
    gate.join()
    gate.run(1)
    assert (gate.app.methods, gate.listings()) == (["joined", "left"], 1)


def test_an_app_that_raises_costs_its_own_call(gate: Gate, logged_failures: LoggedFailures) -> None:
    def fail(leg: Leg) -> None:
        if leg.call_id == CALL:
            raise RuntimeError("what a name")

    gate.app._then = {"identified": fail}
    gate.join()
    gate.join(OTHER_CALL)
    for number, call_id in enumerate((CALL, OTHER_CALL)):
        channel = {"Channel": f"PJSIP/door-{number}", "Uniqueid": f"{number}"}
        gate.calls(channel)
        gate.runs("AudioSocket", f"{call_id},127.0.0.1:8080", channel)
    outcomes = [gate.exchange.registry.get(call_id) for call_id in (CALL, OTHER_CALL)]
    assert [call and call.outcome for call in outcomes] == ["app_failed", None]
    assert len(gate.told()) == 2
    assert len(logged_failures.flush(RuntimeError)) == 1


def test_an_app_may_hang_up_on_whom_it_learns_of(gate: Gate) -> None:
    gate.app._then = {"identified": lambda leg: leg.hang_up()}
    gate.calls()
    gate.runs("AudioSocket", IN_APP)
    line = gate.join()
    assert gate.app.methods == ["joined", "identified", "left"]
    assert line.ended_by_server


def test_a_leg_that_joins_again_is_identified_again_and_a_resumed_one_is_not(gate: Gate) -> None:
    gate.calls()
    gate.runs("AudioSocket", IN_APP)
    gate.join()
    gate.run(2)
    gate.join()  # the old connection went quiet
    assert gate.app.methods == ["joined", "identified", "resumed"]
    gate.join(role=Role.RESIDENT)
    gate.lines[1].hang_up()
    gate.join()
    assert gate.app.methods[-3:] == ["left", "joined", "identified"]


def test_without_ami_no_app_is_asked() -> None:
    app = RecordingApp()
    exchange = InMemoryServer(app)
    line = exchange.join()
    exchange.run(2_000)
    assert app.methods == ["joined"]
    line.hang_up()
    assert exchange.idle


def test_the_hook_does_nothing_by_itself() -> None:
    leg: Any = None
    App().identified(leg, DOOR_INFO)
