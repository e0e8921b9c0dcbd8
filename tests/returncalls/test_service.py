"""Return calls in memory: the order of numbers, the window, and which residents may join."""

from __future__ import annotations

import pytest

from audiosocket.apps import bridge
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.registry import RECONNECT_SECONDS
from audiosocket.errors import InvalidNumber, ReturnTaken, ReturnUnavailable, UnknownCall
from audiosocket.extensions.model import Role
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.returncalls.service import MAX_NUMBERS
from tests.support.in_memory import CALL, FRAME, OTHER_CALL, OTHER_EXTENSION
from tests.support.logged_failures import LoggedFailures
from tests.support.return_calls import ANSWERED, BUSY, ReturnCallFixture, accepted


@pytest.fixture
def calls() -> ReturnCallFixture:
    return ReturnCallFixture()


def test_the_resident_is_rung_and_joins(calls: ReturnCallFixture) -> None:
    assert calls.call.to_json(calls.server.now)["return"] is None
    calls.place("1234")
    (request,) = calls.originator.requests
    extension = calls.call.extension
    row = {"ramal": extension.number, "condominio": str(extension.condominium_id)}
    assert request == ReturnRequest(CALL, "1234", extension.return_number, 20, "Gate", row=row)
    calls.server.run(3_000, calls.visitor)
    assert calls.shown == {
        "state": "ringing",
        "reason": "",
        "attempts": [{"number": "1234", "end": None, "reason": "", "seconds": 3.0}],
    }
    calls.end_attempt(ANSWERED)
    assert calls.shown["state"] == "answered"
    assert accepted(calls.join_resident())
    assert calls.shown["state"] == "connected"
    assert calls.tried == [("1234", "answered")]
    assert calls.events() == ["return.started", "return.attempt", "return.ended"]
    record = next(event for event in calls.server.events if event["event"] == "return.attempt")
    assert (record["end"], record["seconds"], "1234" in str(calls.server.events)) == ("answered", 3.0, False)


def test_the_leg_may_arrive_before_the_backend_reports_the_answer(calls: ReturnCallFixture) -> None:
    calls.place("1234")
    assert accepted(calls.join_resident())
    assert (calls.shown["state"], calls.tried) == ("connected", [("1234", "answered")])
    calls.end_attempt(AttemptResult(AttemptEnd.FAILED, "AMI was lost"))
    assert (calls.shown["state"], calls.tried) == ("connected", [("1234", "answered")])
    assert calls.originator.cancelled == 0, "cancelling would hang the resident up"


@pytest.mark.parametrize("end", [AttemptEnd.BUSY, AttemptEnd.NO_ANSWER, AttemptEnd.REFUSED, AttemptEnd.FAILED])
def test_the_next_number_is_rung_when_the_attempt_has_ended(calls: ReturnCallFixture, end: AttemptEnd) -> None:
    calls.place("101", "102")
    assert calls.originator.rung == ["101"]
    calls.end_attempt(AttemptResult(end, "a reason"))
    assert calls.originator.rung == ["101", "102"]
    calls.end_attempt(BUSY)
    assert calls.tried == [("101", end.value), ("102", "busy")]
    assert (calls.shown["state"], calls.shown["reason"]) == ("failed", "busy")
    assert calls.shown["attempts"][0]["reason"] == "a reason"
    assert calls.events() == ["return.started", "return.attempt", "return.attempt", "return.ended"]


def test_no_number_is_rung_after_an_answer(calls: ReturnCallFixture) -> None:
    calls.place("101", "102")
    calls.end_attempt(ANSWERED)
    calls.server.run(20_000, calls.visitor)
    assert calls.originator.rung == ["101"]


def test_numbers_that_fail_immediate_are_all_tried(calls: ReturnCallFixture) -> None:
    calls.originator.immediate = BUSY
    calls.place("101", "102", "103")
    assert calls.originator.rung == ["101", "102", "103"]
    assert calls.shown["state"] == "failed"
    calls.place("104")  # and another return call may follow
    assert calls.tried == [("104", "busy")]


def test_a_leg_that_does_not_arrive_within_the_window(calls: ReturnCallFixture) -> None:
    calls.place("101")
    calls.end_attempt(ANSWERED)
    calls.server.run(9_900, calls.visitor)
    assert calls.shown["state"] == "answered"
    calls.server.run(200, calls.visitor)
    assert calls.shown["state"] == "failed"
    assert "no leg arrived on return port" in calls.shown["reason"]
    assert not accepted(calls.join_resident()), "too late"
    assert calls.originator.stopped_ids == [calls.originator.requests[0].attempt_id]


def test_the_visitor_leaves_while_it_rings(calls: ReturnCallFixture) -> None:
    calls.place("101", "102")
    calls.visitor.hang_up()
    assert calls.originator.cancelled == 1
    assert calls.originator.rung == ["101"]
    assert (calls.shown["state"], calls.shown["reason"]) == ("cancelled", "the visitor left")
    assert calls.tried == [("101", "cancelled")]
    names = calls.server.event_names()
    assert names.index("return.ended") < names.index("call.ended")


def test_the_visitor_leaves_between_answer_and_leg(calls: ReturnCallFixture) -> None:
    calls.place("101")
    calls.end_attempt(ANSWERED)
    calls.visitor.hang_up()
    assert calls.shown["state"] == "cancelled"
    assert calls.originator.stopped_ids == [], "its leg is about to connect, and is refused then"
    assert calls.tried == [("101", "answered")]
    assert not accepted(calls.join_resident())
    calls.server.run(11_000)
    assert calls.events().count("return.ended") == 1


def test_a_return_call_can_be_cancelled(calls: ReturnCallFixture) -> None:
    with pytest.raises(ReturnTaken, match="no return call"):
        calls.returns.cancel(calls.call)
    calls.place("101")
    calls.returns.cancel(calls.call)
    assert (calls.originator.cancelled, calls.shown["state"]) == (1, "cancelled")
    assert not accepted(calls.join_resident())


def test_closing_stops_the_ringing(calls: ReturnCallFixture) -> None:
    calls.place("101")
    calls.returns.close()
    assert (calls.originator.cancelled, calls.shown["state"]) == (1, "cancelled")


def test_a_backend_that_cancels_ends_the_return_call(calls: ReturnCallFixture) -> None:
    calls.place("101", "102")
    calls.end_attempt(AttemptResult(AttemptEnd.CANCELLED, "closed"))
    assert (calls.originator.rung, calls.shown["state"]) == (["101"], "cancelled")


def test_a_backend_with_a_bug_costs_one_attempt(calls: ReturnCallFixture, logged_failures: LoggedFailures) -> None:
    calls.place("101", "102")
    calls.originator.ringing[-1].errback(ZeroDivisionError())
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert calls.tried == [("101", "failed"), ("102", None)]


def test_what_cannot_be_placed(calls: ReturnCallFixture) -> None:
    for numbers in ([], ["101"] * (MAX_NUMBERS + 1), ["101", "1&2"], ["a/b"], [""]):
        with pytest.raises(InvalidNumber):
            calls.place(*numbers)
    calls.place("101")
    with pytest.raises(ReturnTaken, match="under way"):
        calls.place("102")
    calls.join_resident()
    with pytest.raises(ReturnTaken, match="resident"):
        calls.place("102")
    calls.visitor.hang_up()
    call = calls.call
    calls.server.switchboard.hang_up(CALL, Role.RESIDENT, call.legs[Role.VISITOR].outcome)  # type: ignore[arg-type]
    with pytest.raises(UnknownCall):
        calls.place("102")
    assert calls.originator.rung == ["101"]


def test_without_a_visitor_no_number_is_rung(calls: ReturnCallFixture) -> None:
    calls.place("101")
    calls.join_resident()
    calls.visitor.hang_up()
    assert calls.shown["state"] == "connected", "the resident is there already"
    calls.call.legs[Role.RESIDENT].outcome = calls.call.legs[Role.VISITOR].outcome
    with pytest.raises(ReturnTaken, match="no visitor"):
        calls.place("101")


@pytest.mark.parametrize("immediate", [True, False])
def test_a_backend_that_is_down_is_an_attempt_that_failed(calls: ReturnCallFixture, immediate: bool) -> None:
    down = AttemptResult(AttemptEnd.FAILED, "login refused", unavailable=True)
    calls.originator.state = ("down", "login refused")
    calls.originator.immediate = down if immediate else None
    calls.place("101", "102", "103")
    if not immediate:
        assert calls.shown["state"] == "ringing", "it may be up again in a moment"
        calls.end_attempt(down)
    assert calls.originator.rung == ["101"], "the others would fail, too"
    assert [attempt["reason"] for attempt in calls.shown["attempts"]] == ["login refused"]
    assert calls.tried == [("101", "failed")]
    assert (calls.shown["state"], calls.shown["reason"]) == ("failed", "login refused; 2 numbers were not tried")
    assert calls.events() == ["return.started", "return.attempt", "return.ended"]
    calls.visitor.hang_up()
    ended = next(record for record in calls.server.events if record["event"] == "call.ended")
    assert ended["return"]["attempts"][0]["end"] == "failed"


def test_a_backend_that_fails_before_the_last_number(calls: ReturnCallFixture) -> None:
    calls.place("101", "102")
    calls.end_attempt(BUSY)
    calls.end_attempt(AttemptResult(AttemptEnd.FAILED, "no connection", unavailable=True))
    assert calls.tried == [("101", "busy"), ("102", "failed")]
    assert (calls.shown["state"], calls.shown["reason"]) == ("failed", "no connection")


def test_without_a_backend_valid_numbers_are_unavailable_and_others_invalid() -> None:
    calls = ReturnCallFixture(backend=False)
    with pytest.raises(ReturnUnavailable, match="AMI_HOST, ARI_URL or WEBHOOK_URL"):
        calls.place("101")
    with pytest.raises(InvalidNumber):
        calls.place("1&2")
    assert calls.shown is None


# which residents may join


def test_a_resident_without_a_return_call_is_refused(calls: ReturnCallFixture) -> None:
    assert not accepted(calls.join_resident())
    refusal = next(record for record in calls.server.events if record["event"] == "leg.refused")
    assert refusal["reason"] == "no return call is waiting for a resident"


def test_a_return_call_admits_one_resident(calls: ReturnCallFixture) -> None:
    calls.place("101")
    first = calls.join_resident()
    first.hang_up()
    assert not accepted(calls.join_resident())
    calls.place("101")
    assert accepted(calls.join_resident())


def test_a_return_call_is_for_its_own_call(calls: ReturnCallFixture) -> None:
    calls.server.join(call_id=OTHER_CALL)
    calls.place("101")
    assert not accepted(calls.server.join(call_id=OTHER_CALL, role=Role.RESIDENT))
    assert not accepted(calls.server.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    assert accepted(calls.join_resident())


def test_a_resident_that_was_hung_up_is_refused_until_the_next_return_call(calls: ReturnCallFixture) -> None:
    calls.place("101")
    calls.join_resident()
    calls.server.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    assert not accepted(calls.join_resident())
    calls.server.run(70_000, calls.visitor)
    assert not accepted(calls.join_resident())
    calls.place("101")
    assert accepted(calls.join_resident())


def test_without_a_backend_a_resident_that_was_hung_up_is_refused_for_a_while() -> None:
    calls = ReturnCallFixture(backend=False)
    calls.join_resident()
    calls.server.switchboard.hang_up(CALL, Role.RESIDENT, LegOutcome.ADMIN_HANGUP)
    for _ in range(3):
        calls.server.run(200, calls.visitor)
        assert not accepted(calls.join_resident())


def test_a_live_resident_may_resume(calls: ReturnCallFixture) -> None:
    calls.place("101")
    calls.join_resident()
    calls.server.run(1_500, calls.visitor)
    assert accepted(calls.join_resident())
    assert calls.call.legs[Role.RESIDENT].resumes == 1


def test_a_resident_whose_connection_broke_resumes_in_the_bridge() -> None:
    """The shipped dialplan presents the same UUID again within half a second."""
    calls = ReturnCallFixture(bridge.Bridge)
    calls.place("101")
    calls.join_resident().reset()
    calls.server.run(500, calls.visitor)
    resident = calls.join_resident()
    calls.server.run(bridge.RECONNECT_SECONDS * 1000, calls.visitor, resident)
    assert accepted(resident)
    assert accepted(calls.visitor)
    assert (FRAME[3:] in resident.pcm(), FRAME[3:] in calls.visitor.pcm()) == (True, True)
    assert calls.call.legs[Role.RESIDENT].resumes == 1
    assert calls.originator.rung == ["101"]
    resident.hang_up()
    assert not accepted(calls.join_resident())


def test_a_resident_whose_connection_broke_is_admitted_once_and_for_a_while(calls: ReturnCallFixture) -> None:
    calls.place("101")
    calls.join_resident().reset()
    assert not accepted(calls.server.join(role=Role.RESIDENT, extension=OTHER_EXTENSION))
    again = calls.join_resident()
    assert accepted(again)
    assert not accepted(calls.join_resident())
    again.reset()
    calls.server.run(RECONNECT_SECONDS * 1000 + 20, calls.visitor)
    assert not accepted(calls.join_resident())


def test_any_resident_is_admitted_with_the_setting_or_without_a_backend() -> None:
    unexpected = ReturnCallFixture(accept_unexpected_resident=True)
    assert accepted(unexpected.join_resident())
    without = ReturnCallFixture(backend=False)
    assert accepted(without.join_resident())
