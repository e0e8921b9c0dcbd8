"""Return calls that apps place, and what apps are told of their ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.errors import InvalidNumber, ReturnTaken, ReturnUnavailable
from audiosocket.extensions.model import Role
from audiosocket.interfaces import Leg, ReturnAttempt, ReturnOutcome
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult
from audiosocket.returncalls.service import RETURNS_MOST
from audiosocket.wire import digit_frame
from tests.returncalls.test_service import ANSWERED, BUSY, World, let_in
from tests.support.in_memory import CALL, OTHER_CALL, InMemoryServer, RecordingApp
from tests.support.logged_failures import LoggedFailures


class Concierge(RecordingApp):
    """Rings for the key 1 and stops ringing for the key 2; ``then`` is what it does when told of the end."""

    def __init__(self, numbers: str | list[str], then: Callable[[Leg], object] | None = None) -> None:
        super().__init__()
        self.numbers = numbers
        self.answers: list[bool] = []
        self.ends: list[ReturnOutcome] = []
        self._when_ended = then

    def digit(self, leg: Leg, digit: str) -> None:
        if digit == "1":
            leg.call_resident(self.numbers)
        else:
            self.answers.append(leg.cancel_resident())

    def return_ended(self, leg: Leg, outcome: ReturnOutcome) -> None:
        self._note("return_ended", leg, outcome)
        self.ends.append(outcome)
        if self._when_ended is not None:
            self._when_ended(leg)


class Desk(World):
    """A visitor in a call with a `Concierge`."""

    def __init__(
        self, numbers: str | list[str] = "101", then: Callable[[Leg], object] | None = None, **options: bool
    ) -> None:
        self.concierge = Concierge(numbers, then)
        super().__init__(self.concierge, **options)

    def press(self, digit: str) -> None:
        self.visitor.send(digit_frame(digit))

    def turn(self) -> None:
        self.exchange.time.advance(0)


def test_an_app_rings_the_resident_and_is_told_when_the_leg_is_there() -> None:
    desk = Desk(["1234", "1235"])
    desk.press("1")
    assert desk.telephones.rung == ["1234"]
    desk.ends(BUSY)
    desk.ends(ANSWERED)
    desk.turn()
    assert desk.concierge.ends == []
    assert let_in(desk.resident())
    desk.turn()
    assert desk.concierge.methods == ["joined", "joined", "return_ended"]
    told = desk.concierge.events[-1]
    assert (told.leg.role, told.leg.call_id) == (Role.VISITOR, CALL)
    attempts = (ReturnAttempt("1234", "busy", "busy"), ReturnAttempt("1235", "answered"))
    assert told.value == ReturnOutcome("connected", "", attempts)
    assert "1234" not in repr(told.value)


def test_an_app_is_told_when_nobody_was_reached_and_may_try_again() -> None:
    desk = Desk(then=lambda leg: leg.call_resident(["102"]) if len(desk.telephones.rung) == 1 else None)
    desk.press("1")
    desk.ends(BUSY)
    assert desk.concierge.ends == [], "not from inside of what it does itself"
    desk.turn()
    assert desk.concierge.ends == [ReturnOutcome("failed", "busy", (ReturnAttempt("101", "busy", "busy"),))]
    assert desk.telephones.rung == ["101", "102"]
    assert [one["attempts"][0]["end"] for one in desk.call.to_json(0)["earlier_returns"]] == ["busy"]
    assert desk.shown["attempts"][0]["end"] is None


def test_an_app_stops_the_ringing() -> None:
    desk = Desk()
    desk.press("2")
    desk.press("1")
    desk.press("2")
    desk.press("2")
    assert desk.concierge.answers == [False, True, False]
    assert desk.telephones.stopped == 1
    desk.turn()
    assert [(end.state, end.attempts[0].end) for end in desk.concierge.ends] == [("cancelled", "cancelled")]


def test_an_app_is_told_of_return_calls_that_others_place() -> None:
    desk = Desk()
    desk.place("7")
    desk.ends(BUSY)
    desk.turn()
    assert [end.state for end in desk.concierge.ends] == ["failed"]


def test_a_visitor_who_has_left_is_told_nothing() -> None:
    desk = Desk()
    desk.press("1")
    desk.visitor.hang_up()
    desk.turn()
    assert desk.concierge.methods == ["joined", "left"]
    assert desk.telephones.stopped == 1
    assert desk.exchange.idle


def test_an_app_that_raises_when_told_costs_its_own_call_only(logged_failures: LoggedFailures) -> None:
    def oops(leg: Leg) -> None:
        raise ZeroDivisionError

    desk = Desk(then=oops)
    other = desk.exchange.join(call_id=OTHER_CALL)
    desk.press("1")
    resident = desk.resident()
    desk.turn()
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert desk.visitor.ended_by_server
    assert resident.ended_by_server
    assert desk.call.outcome == "app_failed"
    assert not other.ended_by_server


@pytest.mark.parametrize(
    ("numbers", "refused"),
    [("1&2", InvalidNumber), ([], InvalidNumber), (["101", "a/b"], InvalidNumber)],
)
def test_a_refusal_that_an_app_does_not_catch_costs_its_own_call_only(
    numbers: str | list[str], refused: type[Exception], logged_failures: LoggedFailures
) -> None:
    desk = Desk(numbers)
    other = desk.exchange.join(call_id=OTHER_CALL)
    desk.press("1")
    assert len(logged_failures.flush(refused)) == 1
    assert (desk.telephones.rung, desk.call.outcome, other.ended_by_server) == ([], "app_failed", False)


def test_an_app_may_catch_what_cannot_be_placed() -> None:
    refused: list[Exception] = []

    class Careful(Concierge):
        def digit(self, leg: Leg, digit: str) -> None:
            try:
                super().digit(leg, digit)
            except (ReturnTaken, ReturnUnavailable) as problem:
                refused.append(problem)

    careful = Careful("101")
    world = World(careful)
    for _ in range(2):
        world.visitor.send(digit_frame("1"))
    assert "under way" in str(refused.pop())
    world.returns.cancel(world.call)
    world.returns.originator = None
    world.visitor.send(digit_frame("1"))
    assert "not configured" in str(refused.pop())
    assert not world.visitor.ended_by_server


def test_an_app_is_told_of_a_backend_that_is_down_as_of_any_other_end() -> None:
    desk = Desk("101")
    desk.telephones.state = ("down", "login refused")
    desk.telephones.at_once = AttemptResult(AttemptEnd.FAILED, "login refused", unavailable=True)
    desk.press("1")
    desk.turn()
    (outcome,) = desk.concierge.ends
    assert (outcome.state, [(one.number, one.end) for one in outcome.attempts]) == ("failed", [("101", "failed")])
    assert desk.call.outcome is None, "its call goes on"


def test_a_server_without_return_calls_says_so() -> None:
    refused: list[str] = []

    def ring(leg: Leg) -> None:
        with pytest.raises(ReturnUnavailable) as caught:
            leg.call_resident("101")
        refused.append(str(caught.value))
        assert leg.cancel_resident() is False

    InMemoryServer(RecordingApp(joined=ring)).join()
    assert refused == ["this server places no return calls"]


def test_an_app_that_never_gives_up_comes_to_an_end(logged_failures: LoggedFailures) -> None:
    desk = Desk(then=lambda leg: leg.call_resident("101"))
    desk.telephones.at_once = BUSY
    desk.press("1")
    for _ in range(RETURNS_MOST + 5):
        desk.turn()
    assert len(desk.telephones.rung) == RETURNS_MOST
    assert len(logged_failures.flush(ReturnTaken)) == 1
    assert desk.call.outcome == "app_failed"


# the outcome carries the attempts


def masked(shown: dict[str, Any]) -> dict[str, Any]:
    attempts = [{**attempt, "number": f"**{attempt['number'][-2:]}"} for attempt in shown["attempts"]]
    return {**shown, "attempts": attempts}


def test_the_end_of_a_call_carries_every_attempt() -> None:
    world = World()
    world.place("101", "102")
    world.ends(BUSY)
    world.ends(BUSY)
    world.place("103")
    assert let_in(world.resident())
    world.exchange.switchboard.end_call(CALL, LegOutcome.ADMIN_HANGUP)
    (ended,) = [record for record in world.exchange.events if record["event"] == "call.ended"]
    shown = world.call.to_json(world.exchange.now, timeline=True)
    assert (shown["outcome"], ended["outcome"]) == ("admin_hangup", "admin_hangup")
    assert shown["timeline"][-1]["return"] == ended["return"]
    assert ended["earlier_returns"] == [masked(one) for one in shown["earlier_returns"]]
    assert ended["return"] == masked(shown["return"]), "logs are read by many, the API by few"
    assert (shown["return"]["state"], shown["return"]["attempts"][0]["end"]) == ("connected", "answered")
    (earlier,) = shown["earlier_returns"]
    assert (earlier["state"], earlier["reason"]) == ("failed", "busy")
    assert [(one["number"], one["end"]) for one in earlier["attempts"]] == [("101", "busy"), ("102", "busy")]


def test_the_attempt_that_the_visitors_leaving_cancels_is_in_the_outcome() -> None:
    world = World()
    world.place("101")
    world.visitor.hang_up()
    ended = world.exchange.events[-1]
    assert (ended["event"], ended["return"]["state"]) == ("call.ended", "cancelled")
    assert [(one["number"], one["end"]) for one in ended["return"]["attempts"]] == [("**01", "cancelled")]


def test_a_call_without_return_calls_says_nothing_of_them_at_its_end() -> None:
    world = World()
    world.visitor.hang_up()
    ended = world.exchange.events[-1]
    assert "return" not in ended
    assert "earlier_returns" not in ended
