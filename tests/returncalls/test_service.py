"""Return calls in memory: the order of numbers, the window, and who may join meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Time

from audiosocket.apps.bridge import COME_BACK_SECONDS, Bridge
from audiosocket.calls.call import Call
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.registry import RECONNECT_SECONDS
from audiosocket.errors import InvalidNumber, ReturnTaken, ReturnUnavailable, UnknownCall
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, AppFactory
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.service import NUMBERS_MOST, ReturnCalls
from audiosocket.wire import HANGUP_FRAME
from tests.support.in_memory import (
    CALL,
    FRAME,
    OTHER_CALL,
    OTHER_EXTENSION,
    AsteriskConnection,
    InMemoryServer,
    RecordingApp,
    ReturnEnded,
)
from tests.support.logged_failures import LoggedFailures

BUSY, ANSWERED = AttemptResult(AttemptEnd.BUSY, "busy"), AttemptResult(AttemptEnd.ANSWERED)


class Telephones:
    """An originator by hand: every request waits until the test says how it ends."""

    def __init__(self) -> None:
        self.requests: list[ReturnRequest] = []
        self.ringing: list[Deferred[AttemptResult]] = []
        #: What was stopped although nobody followed it.
        self.stopped_ids: list[str] = []
        self.stopped = 0
        self.state = ("up", "")
        self.at_once: AttemptResult | None = None

    def place(self, request: ReturnRequest) -> Deferred[AttemptResult]:
        self.requests.append(request)
        ringing: Deferred[AttemptResult] = Deferred(self._stop)
        self.ringing.append(ringing)
        if self.at_once is not None:
            ringing.callback(self.at_once)
        return ringing

    def stop(self, request: ReturnRequest) -> None:
        self.stopped_ids.append(request.attempt_id)

    def _stop(self, ringing: Deferred[AttemptResult]) -> None:
        self.stopped += 1
        ringing.callback(AttemptResult(AttemptEnd.CANCELLED, "stopped"))

    @property
    def rung(self) -> list[str]:
        return [request.number for request in self.requests]


class World:
    """A visitor in a call, and telephones."""

    def __init__(self, app: App | AppFactory | None = None, **options: Any) -> None:
        self.telephones = Telephones()

        def make_returns(time: Time, ended: ReturnEnded) -> ReturnCalls:
            return ReturnCalls(
                self.telephones, time, ended=ended, ring_seconds=20, window_seconds=10, caller_id="Gate"
            )

        self.exchange = InMemoryServer(app or RecordingApp(), make_returns=make_returns, **options)
        assert self.exchange.switchboard.returns is not None
        self.returns = self.exchange.switchboard.returns
        self.visitor = self.exchange.join()

    @property
    def call(self) -> Call:
        call = self.exchange.registry.get(CALL)
        assert call is not None
        return call

    def place(self, *numbers: str) -> None:
        self.returns.place(self.call, numbers)

    def ends(self, result: AttemptResult) -> None:
        """What rings last ends like that."""
        self.telephones.ringing[-1].callback(result)

    def resident(self) -> AsteriskConnection:
        return self.exchange.join(role=Role.RESIDENT)

    @property
    def shown(self) -> Any:
        return self.call.to_json(self.exchange.now)["return"]

    @property
    def tried(self) -> list[tuple[str, str | None]]:
        return [(attempt["number"], attempt["end"]) for attempt in self.shown["attempts"]]

    def events(self) -> list[str]:
        return [name for name in self.exchange.event_names() if name.startswith("return.")]


@pytest.fixture
def world() -> World:
    return World()


def let_in(line: AsteriskConnection) -> bool:
    return not any(data == HANGUP_FRAME for _, data in line.writes) and not line.half_closed


def test_the_resident_is_rung_and_joins(world: World) -> None:
    assert world.shown is None
    world.place("1234")
    (request,) = world.telephones.requests
    extension = world.call.extension
    row = {"ramal": extension.number, "condominio": str(extension.condominium_id)}
    assert request == ReturnRequest(CALL, "1234", extension.return_number, 20, "Gate", row=row)
    world.exchange.run(3_000, world.visitor)
    assert world.shown == {
        "state": "ringing",
        "reason": "",
        "attempts": [{"number": "1234", "end": None, "reason": "", "seconds": 3.0}],
    }
    world.ends(ANSWERED)
    assert world.shown["state"] == "answered"
    assert let_in(world.resident())
    assert world.shown["state"] == "connected"
    assert world.tried == [("1234", "answered")]
    assert world.events() == ["return.started", "return.attempt", "return.ended"]
    told = next(record for record in world.exchange.events if record["event"] == "return.attempt")
    assert (told["end"], told["seconds"], "1234" in str(world.exchange.events)) == ("answered", 3.0, False)


def test_the_leg_may_be_faster_than_the_news_of_the_answer(world: World) -> None:
    world.place("1234")
    assert let_in(world.resident())
    assert (world.shown["state"], world.tried) == ("connected", [("1234", "answered")])
    world.ends(AttemptResult(AttemptEnd.FAILED, "AMI was lost"))
    assert (world.shown["state"], world.tried) == ("connected", [("1234", "answered")])
    assert world.telephones.stopped == 0, "that would hang the resident up"


@pytest.mark.parametrize("end", [AttemptEnd.BUSY, AttemptEnd.NO_ANSWER, AttemptEnd.REFUSED, AttemptEnd.FAILED])
def test_the_next_number_only_when_the_one_before_has_ended(world: World, end: AttemptEnd) -> None:
    world.place("101", "102")
    assert world.telephones.rung == ["101"]
    world.ends(AttemptResult(end, "that is why"))
    assert world.telephones.rung == ["101", "102"]
    world.ends(BUSY)
    assert world.tried == [("101", end.value), ("102", "busy")]
    assert (world.shown["state"], world.shown["reason"]) == ("failed", "busy")
    assert world.shown["attempts"][0]["reason"] == "that is why"
    assert world.events() == ["return.started", "return.attempt", "return.attempt", "return.ended"]


def test_nobody_is_rung_after_an_answer(world: World) -> None:
    world.place("101", "102")
    world.ends(ANSWERED)
    world.exchange.run(20_000, world.visitor)
    assert world.telephones.rung == ["101"]


def test_numbers_that_fail_at_once_are_all_tried(world: World) -> None:
    world.telephones.at_once = BUSY
    world.place("101", "102", "103")
    assert world.telephones.rung == ["101", "102", "103"]
    assert world.shown["state"] == "failed"
    world.place("104")  # and another return call may follow
    assert world.tried == [("104", "busy")]


def test_a_leg_that_does_not_come_within_the_window(world: World) -> None:
    world.place("101")
    world.ends(ANSWERED)
    world.exchange.run(9_900, world.visitor)
    assert world.shown["state"] == "answered"
    world.exchange.run(200, world.visitor)
    assert world.shown["state"] == "failed"
    assert "no leg arrived on return port" in world.shown["reason"]
    assert not let_in(world.resident()), "too late"
    assert world.telephones.stopped_ids == [world.telephones.requests[0].attempt_id]


def test_the_visitor_leaves_while_it_rings(world: World) -> None:
    world.place("101", "102")
    world.visitor.hang_up()
    assert world.telephones.stopped == 1
    assert world.telephones.rung == ["101"]
    assert (world.shown["state"], world.shown["reason"]) == ("cancelled", "the visitor left")
    assert world.tried == [("101", "cancelled")]
    names = world.exchange.event_names()
    assert names.index("return.ended") < names.index("call.ended")


def test_the_visitor_leaves_between_answer_and_leg(world: World) -> None:
    world.place("101")
    world.ends(ANSWERED)
    world.visitor.hang_up()
    assert world.shown["state"] == "cancelled"
    assert world.telephones.stopped_ids == [], "it is about to knock, and then it is turned away"
    assert world.tried == [("101", "answered")]
    assert not let_in(world.resident())
    world.exchange.run(11_000)
    assert world.events().count("return.ended") == 1


def test_somebody_cancels(world: World) -> None:
    with pytest.raises(ReturnTaken, match="no return call"):
        world.returns.cancel(world.call)
    world.place("101")
    world.returns.cancel(world.call)
    assert (world.telephones.stopped, world.shown["state"]) == (1, "cancelled")
    assert not let_in(world.resident())


def test_everything_stops_with_the_server(world: World) -> None:
    world.place("101")
    world.returns.close()
    assert (world.telephones.stopped, world.shown["state"]) == (1, "cancelled")


def test_the_backend_stops_it_by_itself(world: World) -> None:
    world.place("101", "102")
    world.ends(AttemptResult(AttemptEnd.CANCELLED, "closed"))
    assert (world.telephones.rung, world.shown["state"]) == (["101"], "cancelled")


def test_a_backend_with_a_bug_costs_one_attempt(world: World, logged_failures: LoggedFailures) -> None:
    world.place("101", "102")
    world.telephones.ringing[-1].errback(ZeroDivisionError())
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert world.tried == [("101", "failed"), ("102", None)]


def test_what_cannot_be_placed(world: World) -> None:
    for numbers in ([], ["101"] * (NUMBERS_MOST + 1), ["101", "1&2"], ["a/b"], [""]):
        with pytest.raises(InvalidNumber):
            world.place(*numbers)
    world.place("101")
    with pytest.raises(ReturnTaken, match="under way"):
        world.place("102")
    world.resident()
    with pytest.raises(ReturnTaken, match="resident"):
        world.place("102")
    world.visitor.hang_up()
    call = world.call
    world.exchange.switchboard.hang_up(CALL, Role.RESIDENT, call.legs[Role.VISITOR].outcome)  # type: ignore[arg-type]
    with pytest.raises(UnknownCall):
        world.place("102")
    assert world.telephones.rung == ["101"]


def test_without_a_visitor_nobody_is_rung(world: World) -> None:
    world.place("101")
    world.resident()
    world.visitor.hang_up()
    assert world.shown["state"] == "connected", "the resident is there already"
    world.call.legs[Role.RESIDENT].outcome = world.call.legs[Role.VISITOR].outcome
    with pytest.raises(ReturnTaken, match="no visitor"):
        world.place("101")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_backend_that_is_down_is_an_attempt_that_failed(world: World, at_once: bool) -> None:
    away = AttemptResult(AttemptEnd.FAILED, "login refused", unavailable=True)
    world.telephones.state = ("down", "login refused")
    world.telephones.at_once = away if at_once else None
    world.place("101", "102", "103")
    if not at_once:
        assert world.shown["state"] == "ringing", "it may be back in a moment"
        world.ends(away)
    assert world.telephones.rung == ["101"], "the others would end the same"
    assert [attempt["reason"] for attempt in world.shown["attempts"]] == ["login refused"]
    assert world.tried == [("101", "failed")]
    assert (world.shown["state"], world.shown["reason"]) == ("failed", "login refused; 2 numbers were not tried")
    assert world.events() == ["return.started", "return.attempt", "return.ended"]
    world.visitor.hang_up()
    ended = next(record for record in world.exchange.events if record["event"] == "call.ended")
    assert ended["return"]["attempts"][0]["end"] == "failed"


def test_a_backend_that_goes_away_before_the_last_number(world: World) -> None:
    world.place("101", "102")
    world.ends(BUSY)
    world.ends(AttemptResult(AttemptEnd.FAILED, "no connection", unavailable=True))
    assert world.tried == [("101", "busy"), ("102", "failed")]
    assert (world.shown["state"], world.shown["reason"]) == ("failed", "no connection")


def test_without_a_backend_only_what_could_be_placed_is_said_to_be_unavailable(world: World) -> None:
    world.returns.originator = None
    with pytest.raises(ReturnUnavailable, match="AMI_HOST, ARI_URL or WEBHOOK_URL"):
        world.place("101")
    with pytest.raises(InvalidNumber):
        world.place("1&2")
    assert world.shown is None


# who may join


def test_a_resident_without_a_return_call_is_refused(world: World) -> None:
    assert not let_in(world.resident())
    refusal = next(record for record in world.exchange.events if record["event"] == "leg.refused")
    assert refusal["reason"] == "no return call is waiting for a resident"


def test_one_return_call_lets_one_resident_in(world: World) -> None:
    world.place("101")
    first = world.resident()
    first.hang_up()
    assert not let_in(world.resident())
    world.place("101")
    assert let_in(world.resident())


def test_a_return_call_is_for_its_own_call(world: World) -> None:
    world.exchange.join(call_id=OTHER_CALL)
    world.place("101")
    assert not let_in(world.exchange.join(call_id=OTHER_CALL, role=Role.RESIDENT))
    assert not let_in(world.exchange.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    assert let_in(world.resident())


def test_a_resident_who_was_hung_up_stays_out_until_the_next_return_call(world: World) -> None:
    world.place("101")
    world.resident()
    world.exchange.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    assert not let_in(world.resident())
    world.exchange.run(70_000, world.visitor)
    assert not let_in(world.resident())
    world.place("101")
    assert let_in(world.resident())


def test_without_a_backend_a_resident_who_was_hung_up_stays_out_for_a_while() -> None:
    world = World()
    world.returns.originator = None
    world.resident()
    world.exchange.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    for _ in range(3):
        world.exchange.run(200, world.visitor)
        assert not let_in(world.resident())


def test_a_resident_who_is_in_may_resume(world: World) -> None:
    world.place("101")
    world.resident()
    world.exchange.run(1_500, world.visitor)
    assert let_in(world.resident())
    assert world.call.legs[Role.RESIDENT].resumes == 1


def test_a_resident_whose_connection_broke_talks_on() -> None:
    """The shipped dialplan is back with the same UUID within half a second."""
    world = World(Bridge)
    world.place("101")
    world.resident().reset()
    world.exchange.run(500, world.visitor)
    resident = world.resident()
    world.exchange.run(COME_BACK_SECONDS * 1000, world.visitor, resident)
    assert let_in(resident)
    assert let_in(world.visitor)
    assert (FRAME[3:] in resident.pcm(), FRAME[3:] in world.visitor.pcm()) == (True, True)
    assert world.call.legs[Role.RESIDENT].resumes == 1
    assert world.telephones.rung == ["101"]
    resident.hang_up()
    assert not let_in(world.resident())


def test_a_resident_whose_connection_broke_is_let_in_once_and_for_a_while(world: World) -> None:
    world.place("101")
    world.resident().reset()
    assert not let_in(world.exchange.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    back = world.resident()
    assert let_in(back)
    assert not let_in(world.resident())
    back.reset()
    world.exchange.run(RECONNECT_SECONDS * 1000 + 20, world.visitor)
    assert not let_in(world.resident())


def test_the_setting_and_no_backend_let_any_resident_in() -> None:
    unexpected = World(accept_unexpected_resident=True)
    assert let_in(unexpected.resident())
    without = World()
    without.returns.originator = None
    assert let_in(without.resident())
