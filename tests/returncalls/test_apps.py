"""Return calls that apps place, and what apps receive at their ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.errors import InvalidNumber, ReturnTaken, ReturnUnavailable
from audiosocket.extensions.model import Role
from audiosocket.interfaces import Leg, ReturnAttempt, ReturnOutcome
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult
from audiosocket.returncalls.service import MAX_RETURNS
from audiosocket.wire import digit_frame
from tests.support.in_memory import CALL, OTHER_CALL, InMemoryServer, RecordingApp
from tests.support.logged_failures import LoggedFailures
from tests.support.return_calls import ANSWERED, BUSY, CallingApp, ReturnCallFixture, accepted


class AppFixture(ReturnCallFixture):
    """A visitor in a call with a `CallingApp`."""

    def __init__(self, numbers: str | list[str] = "101", then: Callable[[Leg], object] | None = None) -> None:
        self.app = CallingApp(numbers, then)
        super().__init__(self.app)

    def press(self, digit: str) -> None:
        self.visitor.send(digit_frame(digit))

    def turn(self) -> None:
        self.server.time.advance(0)


def test_an_app_places_a_return_call_and_receives_its_end_when_the_leg_has_joined() -> None:
    calls = AppFixture(["1234", "1235"])
    calls.press("1")
    assert calls.originator.rung == ["1234"]
    calls.end_attempt(BUSY)
    calls.end_attempt(ANSWERED)
    calls.turn()
    assert calls.app.outcomes == []
    assert accepted(calls.join_resident())
    calls.turn()
    assert calls.app.methods == ["joined", "joined", "return_ended"]
    event = calls.app.events[-1]
    assert (event.leg.role, event.leg.call_id) == (Role.VISITOR, CALL)
    attempts = (ReturnAttempt("1234", "busy", "busy"), ReturnAttempt("1235", "answered"))
    assert event.value == ReturnOutcome("connected", "", attempts)
    assert "1234" not in repr(event.value)


def test_an_app_receives_a_failure_and_may_place_another_return_call() -> None:
    calls = AppFixture(then=lambda leg: leg.call_resident(["102"]) if len(calls.originator.rung) == 1 else None)
    calls.press("1")
    calls.end_attempt(BUSY)
    assert calls.app.outcomes == [], "not from inside of the app's own call"
    calls.turn()
    assert calls.app.outcomes == [ReturnOutcome("failed", "busy", (ReturnAttempt("101", "busy", "busy"),))]
    assert calls.originator.rung == ["101", "102"]
    assert [one["attempts"][0]["end"] for one in calls.call.to_json(0)["earlier_returns"]] == ["busy"]
    assert calls.shown["attempts"][0]["end"] is None


def test_an_app_stops_the_ringing() -> None:
    calls = AppFixture()
    calls.press("2")
    calls.press("1")
    calls.press("2")
    calls.press("2")
    assert calls.app.cancelled == [False, True, False]
    assert calls.originator.cancelled == 1
    calls.turn()
    assert [(end.state, end.attempts[0].end) for end in calls.app.outcomes] == [("cancelled", "cancelled")]


def test_an_app_receives_the_end_of_a_return_call_placed_through_the_api() -> None:
    calls = AppFixture()
    calls.place("7")
    calls.end_attempt(BUSY)
    calls.turn()
    assert [end.state for end in calls.app.outcomes] == ["failed"]


def test_an_app_receives_no_end_after_its_visitor_has_left() -> None:
    calls = AppFixture()
    calls.press("1")
    calls.visitor.hang_up()
    calls.turn()
    assert calls.app.methods == ["joined", "left"]
    assert calls.originator.cancelled == 1
    assert calls.server.idle


def test_an_app_that_raises_in_return_ended_ends_its_own_call_only(logged_failures: LoggedFailures) -> None:
    def fail(leg: Leg) -> None:
        raise ZeroDivisionError

    calls = AppFixture(then=fail)
    other = calls.server.join(call_id=OTHER_CALL)
    calls.press("1")
    resident = calls.join_resident()
    calls.turn()
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert calls.visitor.ended_by_server
    assert resident.ended_by_server
    assert calls.call.outcome == "app_failed"
    assert not other.ended_by_server


@pytest.mark.parametrize(
    ("numbers", "refused"),
    [("1&2", InvalidNumber), ([], InvalidNumber), (["101", "a/b"], InvalidNumber)],
)
def test_an_error_that_an_app_does_not_catch_ends_its_own_call_only(
    numbers: str | list[str], refused: type[Exception], logged_failures: LoggedFailures
) -> None:
    calls = AppFixture(numbers)
    other = calls.server.join(call_id=OTHER_CALL)
    calls.press("1")
    assert len(logged_failures.flush(refused)) == 1
    assert (calls.originator.rung, calls.call.outcome, other.ended_by_server) == ([], "app_failed", False)


def test_an_app_may_catch_the_errors_of_call_resident() -> None:
    refused: list[Exception] = []

    class Careful(CallingApp):
        def digit(self, leg: Leg, digit: str) -> None:
            try:
                super().digit(leg, digit)
            except (ReturnTaken, ReturnUnavailable) as problem:
                refused.append(problem)

    calls = ReturnCallFixture(Careful("101"))
    for _ in range(2):
        calls.visitor.send(digit_frame("1"))
    without = ReturnCallFixture(Careful("101"), backend=False)
    without.visitor.send(digit_frame("1"))
    taken, unavailable = refused
    assert "under way" in str(taken)
    assert "not configured" in str(unavailable)
    assert not calls.visitor.ended_by_server
    assert not without.visitor.ended_by_server


def test_an_app_receives_a_backend_that_is_down_as_a_failed_attempt() -> None:
    calls = AppFixture("101")
    calls.originator.state = ("down", "login refused")
    calls.originator.immediate = AttemptResult(AttemptEnd.FAILED, "login refused", unavailable=True)
    calls.press("1")
    calls.turn()
    (outcome,) = calls.app.outcomes
    assert (outcome.state, [(one.number, one.end) for one in outcome.attempts]) == ("failed", [("101", "failed")])
    assert calls.call.outcome is None, "its call goes on"


def test_a_server_without_return_calls_raises() -> None:
    refused: list[str] = []

    def ring(leg: Leg) -> None:
        with pytest.raises(ReturnUnavailable) as caught:
            leg.call_resident("101")
        refused.append(str(caught.value))
        assert leg.cancel_resident() is False

    InMemoryServer(RecordingApp(joined=ring)).join()
    assert refused == ["this server places no return calls"]


def test_the_return_calls_of_one_call_are_limited(logged_failures: LoggedFailures) -> None:
    calls = AppFixture(then=lambda leg: leg.call_resident("101"))
    calls.originator.immediate = BUSY
    calls.press("1")
    for _ in range(MAX_RETURNS + 5):
        calls.turn()
    assert len(calls.originator.rung) == MAX_RETURNS
    assert len(logged_failures.flush(ReturnTaken)) == 1
    assert calls.call.outcome == "app_failed"


# the outcome carries the attempts


def masked(shown: dict[str, Any]) -> dict[str, Any]:
    attempts = [{**attempt, "number": f"**{attempt['number'][-2:]}"} for attempt in shown["attempts"]]
    return {**shown, "attempts": attempts}


def test_the_end_of_a_call_carries_every_attempt() -> None:
    calls = ReturnCallFixture()
    calls.place("101", "102")
    calls.end_attempt(BUSY)
    calls.end_attempt(BUSY)
    calls.place("103")
    assert accepted(calls.join_resident())
    calls.server.switchboard.end_call(CALL, LegOutcome.ADMIN_HANGUP)
    (ended,) = [record for record in calls.server.events if record["event"] == "call.ended"]
    shown: Any = calls.call.to_json(calls.server.now, timeline=True)
    assert (shown["outcome"], ended["outcome"]) == ("admin_hangup", "admin_hangup")
    assert shown["timeline"][-1]["return"] == ended["return"]
    assert ended["earlier_returns"] == [masked(one) for one in shown["earlier_returns"]]
    assert ended["return"] == masked(shown["return"]), "many people read logs"
    assert (shown["return"]["state"], shown["return"]["attempts"][0]["end"]) == ("connected", "answered")
    (earlier,) = shown["earlier_returns"]
    assert (earlier["state"], earlier["reason"]) == ("failed", "busy")
    assert [(one["number"], one["end"]) for one in earlier["attempts"]] == [("101", "busy"), ("102", "busy")]


def test_an_attempt_that_the_visitor_cancels_by_leaving_is_in_the_event() -> None:
    calls = ReturnCallFixture()
    calls.place("101")
    calls.visitor.hang_up()
    ended = calls.server.events[-1]
    assert (ended["event"], ended["return"]["state"]) == ("call.ended", "cancelled")
    assert [(one["number"], one["end"]) for one in ended["return"]["attempts"]] == [("**01", "cancelled")]


def test_a_call_without_return_calls_has_none_in_its_last_event() -> None:
    calls = ReturnCallFixture()
    calls.visitor.hang_up()
    ended = calls.server.events[-1]
    assert "return" not in ended
    assert "earlier_returns" not in ended
