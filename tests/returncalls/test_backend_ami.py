"""Return calls through AMI: every end Asterisk can tell, in every order of its events, and what is never sent.

The sequences of events are those Asterisk 22 sent for the same thing (``tests/asterisk/test_ami.py``).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred

from audiosocket.asterisk.channel_names import CHANNEL_ID_PREFIX
from audiosocket.returncalls.backends.ami import AMIOriginator
from audiosocket.returncalls.dial_string import Route
from audiosocket.returncalls.originator import AttemptEnd, AttemptResult, Originator, ReturnRequest
from tests.support.fake_ami import Action, AMIFixture, FakeAMIConnection, connection_refused

CALL = UUID("0b1c2d3e-4f50-4162-8384-95a6b7c8d9e0")
RING = 20.0
REQUEST = ReturnRequest(CALL, "2001", "1001", RING, caller_id="Gate <1000>", variables={"FLAT": "a,b"})
ID = f"{CHANNEL_ID_PREFIX}1"


class Placing(AMIFixture):
    """A world in which return calls are placed; the nth channel id ends in n."""

    def __init__(self, route: Route | None = None, **client: Any) -> None:
        super().__init__(**client)
        numbers = itertools.count(1)
        self.made = AMIOriginator(self.ami, self.clock, route, lambda: str(next(numbers)))
        self.originator: Originator = self.made
        self.results: list[AttemptResult] = []

    def place(self, request: ReturnRequest = REQUEST) -> Deferred[Any]:
        placed = self.originator.place(request)
        placed.addCallback(self.results.append)
        self.flush()
        return placed

    def channel(self, name: str = ID) -> None:
        """The channel appears, as after a moment it does."""
        self.asterisk.channels[name] = {"Channel": "PJSIP/2001-00000000", "Uniqueid": name}
        self.event("Newchannel", Channel="PJSIP/2001-00000000", ChannelState="0", Uniqueid=name)

    def rings(self) -> None:
        self.channel()
        self.event("DialBegin", DestUniqueid=ID)
        self.event("Newstate", ChannelState="5", Uniqueid=ID)

    def failed(self, reason: str = "0") -> None:
        self.event("OriginateResponse", ActionID="x", Response="Failure", Reason=reason, Uniqueid=ID)

    def answered(self, name: str = ID) -> None:
        self.event("OriginateResponse", ActionID="x", Response="Success", Reason="4", Uniqueid=name)

    def hung_up(self, cause: str, name: str = ID, linked: str = "") -> None:
        self.asterisk.channels.pop(name, None)
        self.event("Hangup", Uniqueid=name, Linkedid=linked or name, Cause=cause, Cause_txt="…")

    def dial_ended(self, status: str) -> None:
        self.event("DialEnd", DestUniqueid=ID, DialStatus=status)

    @property
    def ends(self) -> list[AttemptEnd]:
        return [result.end for result in self.results]

    def hangups(self) -> list[str]:
        return [action["Channel"] for action in self.asterisk.actions_named("Hangup")]

    def finish(self) -> None:
        assert self.made.ringing == 0
        self.made.close()
        super().finish()


@pytest.fixture
def world() -> Iterator[Placing]:
    world = Placing()
    world.start()
    yield world
    world.finish()


def test_the_request_to_asterisk(world: Placing) -> None:
    world.place()
    (action,) = world.asterisk.actions_named("Originate")
    del action["ActionID"], action["Variable"], action["Action"]
    assert action == {
        "Channel": "PJSIP/2001",
        "ChannelId": ID,
        "Context": "audiosocket-return",
        "Exten": "1001",
        "Priority": "1",
        "Timeout": "20000",
        "Async": "true",
        "CallerID": "Gate <1000>",
    }
    assert action.values_of("Variable") == [r"FLAT=a\,b", f"AUDIOSOCKET_CALL_ID={CALL}"]
    assert world.results == []
    world.answered()
    assert world.results == [AttemptResult(AttemptEnd.ANSWERED)]
    assert world.originator.state == ("up", "")


def test_the_call_id_cannot_be_replaced_by_a_variable(world: Placing) -> None:
    world.place(ReturnRequest(CALL, "2001", "1001", RING, variables={"AUDIOSOCKET_CALL_ID": "another"}))
    assert world.asterisk.actions_named("Originate")[0].values_of("Variable") == [f"AUDIOSOCKET_CALL_ID={CALL}"]
    world.answered()


def test_templates() -> None:
    world = Placing(Route("Local/{number}@from-internal/n", "return-2"))
    world.start()
    world.place()
    assert world.asterisk.actions_named("Originate")[0]["Channel"] == "Local/2001@from-internal/n"
    assert world.asterisk.actions_named("Originate")[0]["Context"] == "return-2"
    world.answered()
    world.finish()


ROW = {"ramal": "1000", "condominio": "7"}


def test_templates_may_have_more_than_the_number() -> None:
    world = Placing(Route("Local/{number}@cond-{condominio}/n", "return-{ramal}"))
    world.start()
    world.place(ReturnRequest(CALL, "2001", "1001", RING, '"Gate {ramal}" <{retorno}>', row=ROW))
    (action,) = world.asterisk.actions_named("Originate")
    assert action["Channel"] == "Local/2001@cond-7/n"
    assert (action["Context"], action["CallerID"]) == ("return-1000", '"Gate 1000" <1001>')
    world.answered()
    world.finish()


@pytest.mark.parametrize("ramal", ["", "10@00", "1\r\nAction: Command", "1000/n"])
def test_a_row_that_cannot_be_put_into_a_template_fails_the_attempt(ramal: str) -> None:
    world = Placing()
    world.start()
    world.place(ReturnRequest(CALL, "2001", "1001", RING, "Gate <{ramal}>", row={**ROW, "ramal": ramal}))
    assert world.ends == [AttemptEnd.FAILED]
    assert "{ramal}" in world.results[0].reason
    assert world.asterisk.actions_named("Originate") == []
    world.finish()


@pytest.mark.parametrize("number", ["2001", "+5511999990000", "*97", "#1", "101A", "11.22-33", "0"])
def test_numbers_that_are_called(world: Placing, number: str) -> None:
    world.place(ReturnRequest(CALL, number, "1001", RING))
    assert world.asterisk.actions_named("Originate")[0]["Channel"] == f"PJSIP/{number}"
    world.answered()


@pytest.mark.parametrize(
    "number",
    [
        "", " 2001", "2001 ", "2001\n", "2001\r\nAction: Command", "2001&PJSIP/3", "2001/x", "2001@evil",
        "sip:1@x", "2001,30", "${X}", "2001)", "-1", ".", "_X.", "1" * 41, "٢", "{number}", "apt 12",
    ],
)  # fmt: skip
def test_numbers_that_never_reach_asterisk(world: Placing, number: str) -> None:
    world.place(ReturnRequest(CALL, number, "1001", RING))
    assert world.ends == [AttemptEnd.FAILED]
    assert "number" in world.results[0].reason
    assert world.asterisk.actions_named("Originate") == []


@pytest.mark.parametrize(
    "request_",
    [
        ReturnRequest(CALL, "2001", "", RING),
        ReturnRequest(CALL, "2001", "1001\r\nX: y", RING),
        ReturnRequest(CALL, "2001", "1001", RING, caller_id="x\r\nAction: Command"),
        ReturnRequest(CALL, "2001", "1001", RING, variables={"A": "x\nVariable: B=c"}),
        ReturnRequest(CALL, "2001", "1001", RING, variables={"SHELL(reboot)": "x"}),
        ReturnRequest(CALL, "2001", "1001", RING, variables={"A": "x" * 2000}),
        ReturnRequest(CALL, "2001", "1001", 0),
        ReturnRequest(CALL, "2001", "1001", math.nan),
        ReturnRequest(CALL, "2001", "1001", math.inf),
    ],
)
def test_other_things_that_never_reach_asterisk(world: Placing, request_: ReturnRequest) -> None:
    world.place(request_)
    assert world.ends == [AttemptEnd.FAILED]
    assert world.asterisk.actions_named("Originate") == []


def test_a_stricter_pattern_for_numbers() -> None:
    world = Placing(Route(number=re.compile("[0-9]{4}")))
    world.start()
    world.place(ReturnRequest(CALL, "+55", "1001", RING))
    assert world.ends == [AttemptEnd.FAILED]
    world.finish()


# What Asterisk 22 told for each: the response of Originate, the hangup cause, and the end of the dialling, if any.
ENDS = {
    "busy (486)": ("0", "17", "BUSY", AttemptEnd.BUSY),
    "declined (603)": ("0", "21", "NOANSWER", AttemptEnd.REFUSED),
    "not found (404)": ("0", "1", "NOANSWER", AttemptEnd.FAILED),
    "unavailable (480)": ("0", "19", "NOANSWER", AttemptEnd.NO_ANSWER),
    "server error (500)": ("0", "38", "NOANSWER", AttemptEnd.FAILED),
    "rang too long": ("3", "19", "", AttemptEnd.NO_ANSWER),
    "rang too long, cause unknown": ("3", "0", "", AttemptEnd.NO_ANSWER),
    "busy, cause unknown": ("0", "16", "BUSY", AttemptEnd.BUSY),
    "busy by an old channel driver": ("5", "0", "", AttemptEnd.BUSY),
    "congestion": ("8", "0", "CONGESTION", AttemptEnd.FAILED),
    "ended by the dialplan": ("0", "16", "NOANSWER", AttemptEnd.REFUSED),
    "a cause not in our list": ("0", "111", "", AttemptEnd.FAILED),
    "a cause that is none": ("0", "x", "", AttemptEnd.REFUSED),
}


@pytest.mark.parametrize("case", ENDS)
@pytest.mark.parametrize("order", ["response first", "hangup first", "response before everything"])
def test_every_end_in_every_order(world: Placing, case: str, order: str) -> None:
    reason, cause, status, end = ENDS[case]
    world.place()
    if order == "response before everything":  # it overtakes the events of channels
        world.failed(reason)
        world.rings()
    else:
        world.rings()
    if status:
        world.dial_ended(status)
    if order == "hangup first":
        world.hung_up(cause)
        assert world.results == []
        world.failed(reason)
    else:
        if order == "response first":
            world.failed(reason)
        assert world.results == []
        world.hung_up(cause)
    world.run(1.1 if cause in ("0", "16", "x") else 0)  # such a cause may be bettered by a later event
    assert world.ends == [end]
    assert world.results[0].reason
    world.run(RING + 10, step=1)
    assert world.ends == [end]
    assert world.hangups() == []


@pytest.mark.parametrize("own", ["34", "16", "0"])
@pytest.mark.parametrize("first", [True, False])
def test_the_cause_is_known_through_a_dialplan(world: Placing, own: str, first: bool) -> None:
    """``Local/…`` into a dialplan that dials: its own end says 34, the telephone's says 21, in either order."""
    telephone = "1795376502.10"
    world.place()
    world.rings()
    if first:
        world.hung_up("21", telephone, linked=ID)
    world.hung_up(own, f"{ID};2", linked=ID)
    world.failed()
    world.hung_up(own)
    if not first:
        assert world.results == []
        world.hung_up("21", telephone, linked=ID)
    assert world.ends == [AttemptEnd.REFUSED]


def test_one_of_two_telephones_declines_and_the_other_rings_on(world: Placing) -> None:
    world.place()
    world.rings()
    world.hung_up("21", "1795376502.10", linked=ID)
    world.failed("3")
    world.hung_up("19")
    assert world.ends == [AttemptEnd.NO_ANSWER]


@pytest.mark.parametrize(
    ("cause", "rang", "end"),
    [
        ("0", False, AttemptEnd.FAILED),
        ("0", True, AttemptEnd.REFUSED),
        ("16", False, AttemptEnd.REFUSED),
        ("21", False, AttemptEnd.REFUSED),
    ],
)
def test_a_number_that_the_dialplan_does_not_know_failed(
    world: Placing, cause: str, rang: bool, end: AttemptEnd
) -> None:
    """``Local/2999@…`` of an extension that is not there: both halves end with cause 0, and nothing rang."""
    world.place()
    if rang:
        world.rings()
    else:
        world.channel()
    world.hung_up(cause, f"{ID};2", linked=ID)
    world.hung_up(cause)
    world.failed("0")
    world.run(1.1)
    assert world.ends == [end]
    if end is AttemptEnd.FAILED:
        assert (
            world.results[0].reason
            == "it never rang: the dialplan does not have the number, or rings no telephone"
        )


def test_a_telephone_that_does_not_exist_has_no_channel(world: Placing) -> None:
    world.place()
    world.failed("0")
    world.run(1.1)
    assert world.ends == [AttemptEnd.FAILED]


def test_answered_and_hung_up_at_once_is_answered(world: Placing) -> None:
    world.place()
    world.rings()
    world.event("Newstate", ChannelState="6", Uniqueid=ID)
    world.hung_up("16")
    world.answered()
    assert world.ends == [AttemptEnd.ANSWERED]


def test_an_answer_that_comes_after_the_hangup_but_no_response_at_all(world: Placing) -> None:
    world.place()
    world.rings()
    world.hung_up("17")
    world.run(1.1)
    assert world.ends == [AttemptEnd.BUSY]


@pytest.mark.parametrize("words", ["Extension does not exist.", "Permission denied", "Channel not specified"])
def test_asterisk_refuses_at_once(world: Placing, words: str) -> None:
    world.asterisk.replies["Originate"] = lambda connection, action: connection.error(action, words)
    world.place()
    assert world.ends == [AttemptEnd.FAILED]
    assert words in world.results[0].reason


def test_two_calls_at_once_are_not_mixed_up(world: Placing) -> None:
    world.place()
    world.place(ReturnRequest(CALL, "2002", "2001", RING))
    assert [action["Channel"] for action in world.asterisk.actions_named("Originate")] == [
        "PJSIP/2001",
        "PJSIP/2002",
    ]
    world.hung_up("17", f"{CHANNEL_ID_PREFIX}stranger")
    world.answered("1795376501.7")
    assert world.results == []
    world.answered(f"{CHANNEL_ID_PREFIX}2")
    assert world.ends == [AttemptEnd.ANSWERED]
    world.failed()
    world.hung_up("17")
    assert world.ends == [AttemptEnd.ANSWERED, AttemptEnd.BUSY]


def test_an_attempt_without_any_event_ends_within_the_promised_time(world: Placing) -> None:
    world.place()
    world.channel()
    world.run(RING + 4.4, step=0.2)
    assert world.results == []
    world.run(0.5)
    assert world.ends == [AttemptEnd.FAILED]
    assert "read = call" in world.results[0].reason
    assert world.hangups() == [ID]


@pytest.mark.parametrize("told_later", [False, True])
def test_the_residents_leg_is_an_answer_and_is_never_hung_up(world: Placing, told_later: bool) -> None:
    """An account without ``read = call`` hears of no answer; the leg itself is one."""
    world.place()
    world.channel()
    assert not world.made.answered(UUID(int=1))
    assert world.made.answered(CALL)
    assert world.results == [AttemptResult(AttemptEnd.ANSWERED)]
    assert not world.made.answered(CALL)
    if told_later:
        world.answered()
    world.lose_connection()
    world.run(RING + 10, step=0.5)
    assert world.results == [AttemptResult(AttemptEnd.ANSWERED)]
    assert world.hangups() == []


def test_an_originate_without_response_is_hung_up_when_it_appears(world: Placing) -> None:
    world.asterisk.replies["Originate"] = lambda connection, action: None
    world.place()
    world.run(5.1)
    assert world.ends == [AttemptEnd.FAILED]
    world.channel()
    assert world.hangups() == [ID, ID]


def test_cancelling_stops_the_ringing(world: Placing) -> None:
    placed = world.place()
    world.rings()
    placed.cancel()
    assert world.ends == [AttemptEnd.CANCELLED]
    world.flush()
    assert world.hangups() == [ID]
    world.hung_up("16")
    world.failed()
    placed.cancel()
    assert world.ends == [AttemptEnd.CANCELLED]


def test_cancelling_before_there_is_a_channel(world: Placing) -> None:
    placed = world.place()
    placed.cancel()
    world.flush()
    assert world.ends == [AttemptEnd.CANCELLED]
    assert world.hangups() == [ID]  # "No such channel"
    world.channel()
    assert world.hangups() == [ID, ID]
    world.hung_up("0")
    world.channel()  # the id is free again
    assert world.hangups() == [ID, ID]


def test_cancelling_while_the_resident_answers(world: Placing) -> None:
    placed = world.place()
    world.rings()
    placed.cancel()
    world.answered()
    assert world.ends == [AttemptEnd.CANCELLED]
    assert world.hangups() == [ID, ID]


def test_an_attempt_of_another_process_is_stopped_by_its_id(world: Placing) -> None:
    request = ReturnRequest(CALL, "2001", "1001", RING, attempt_id="1")
    world.place(request)
    assert world.asterisk.actions_named("Originate")[0]["ChannelId"] == ID
    world.answered()
    world.made.stop(request)
    world.flush()
    assert world.hangups() == [ID]
    world.hung_up("16")
    world.made.stop(request)
    world.channel()  # it was only about to appear
    assert world.hangups() == [ID, ID, ID]


def test_a_cancelled_call_is_not_remembered_for_ever(world: Placing) -> None:
    world.place().cancel()
    world.run(60, step=1)
    world.channel()
    assert world.hangups() == [ID]


@pytest.mark.parametrize("answered_meanwhile", [False, True])
def test_ami_lost_in_the_middle(world: Placing, answered_meanwhile: bool) -> None:
    world.place()
    world.rings()
    world.lose_connection()
    assert world.ends == [AttemptEnd.FAILED]
    assert "lost" in world.results[0].reason
    world.asterisk.channels[ID]["CHANNEL(state)"] = "Up" if answered_meanwhile else "Ringing"
    world.run(1)
    assert world.originator.state == ("up", "")
    assert world.hangups() == ([] if answered_meanwhile else [ID])


def test_cancelled_while_ami_is_down(world: Placing) -> None:
    world.endpoint.problem = connection_refused()
    placed = world.place()
    world.rings()
    placed.cancel()
    world.asterisk.frozen = True
    world.lose_connection()
    world.asterisk.frozen = False
    world.endpoint.problem = None
    world.run(1)
    assert world.ends == [AttemptEnd.CANCELLED]
    assert set(world.hangups()) == {ID}


def test_ami_down_fails_at_once_with_the_reason() -> None:
    world = Placing()
    world.endpoint.problem = connection_refused()
    world.start()
    world.place()
    why = "AMI is not available: connection refused: does Asterisk run, with AMI enabled?"
    assert world.results == [AttemptResult(AttemptEnd.FAILED, why, unavailable=True)]
    assert world.originator.state[0] == "down"
    world.run(30)
    world.endpoint.problem = None
    world.place()  # AMI is back: no need to wait for the next attempt
    assert len(world.asterisk.actions_named("Originate")) == 1
    world.answered(f"{CHANNEL_ID_PREFIX}2")
    world.finish()


def test_wrong_secret_fails_at_once_with_the_reason() -> None:
    world = Placing(secret="not the secret")
    world.start()
    world.place()
    assert world.ends == [AttemptEnd.FAILED]
    assert "login refused" in world.results[0].reason
    assert world.results[0].unavailable
    assert "not the secret" not in world.results[0].reason
    world.finish()


def test_a_corrected_secret_is_used_by_the_next_call() -> None:
    world = Placing(secret="not the secret")
    world.start()
    world.run(35)  # the login was refused at 0, 10 and 30; the next attempt would be at 70
    world.asterisk.secret = "not the secret"
    world.place()
    assert world.ends == [AttemptEnd.FAILED], "five seconds after a refusal nobody tries again"
    world.run(6)
    world.place()
    assert len(world.asterisk.actions_named("Originate")) == 1
    world.answered(f"{CHANNEL_ID_PREFIX}2")
    world.finish()


def test_an_ami_that_does_not_answer_delays_no_longer_than_the_ring_time() -> None:
    world = Placing()
    world.endpoint.silent = True
    world.start()
    world.place(ReturnRequest(CALL, "2001", "1001", 1))
    world.run(0.9)
    assert world.results == []
    world.run(0.2)
    assert [(result.end, result.unavailable) for result in world.results] == [(AttemptEnd.FAILED, True)]
    world.finish()


@pytest.mark.parametrize("cancel", [False, True])
def test_an_ami_that_does_not_come_up(cancel: bool) -> None:
    world = Placing()
    world.endpoint.silent = True
    world.start()
    placed = world.place()
    if cancel:
        placed.cancel()
        assert world.ends == [AttemptEnd.CANCELLED]
    world.run(3.1)
    assert world.ends == [AttemptEnd.CANCELLED if cancel else AttemptEnd.FAILED]
    world.endpoint.silent = False
    world.run(5)
    assert world.asterisk.actions_named("Originate") == []
    world.finish()


def test_not_started_fails(world: Placing) -> None:
    other = Placing()
    other.place()
    assert other.ends == [AttemptEnd.FAILED]


def test_close_cancels_what_rings() -> None:
    world = Placing()
    world.start()
    world.place()
    world.rings()
    world.made.close()
    world.flush()
    assert world.ends == [AttemptEnd.CANCELLED]
    assert world.hangups() == [ID]
    world.finish()


def test_many_attempts_leave_nothing_behind(world: Placing) -> None:
    for _ in range(100):
        world.place()
    for number in range(1, 101):
        channel_id = f"{CHANNEL_ID_PREFIX}{number}"
        world.hung_up("17", channel_id)
        world.event("OriginateResponse", Response="Failure", Reason="0", Uniqueid=channel_id)
    assert world.ends == [AttemptEnd.BUSY] * 100


def test_a_reaction_in_the_same_turn(world: Placing) -> None:
    """The response may come back in the very turn the action was written."""

    def at_once(connection: FakeAMIConnection, action: Action) -> None:
        connection.send(("Event", "OriginateResponse"), ("Response", "Success"), ("Uniqueid", action["ChannelId"]))
        connection.answer(action)

    world.asterisk.replies["Originate"] = at_once
    world.place()
    assert world.ends == [AttemptEnd.ANSWERED]
