"""Return calls through AMI: every end that Asterisk reports, in every order of its events; what is never sent.

The sequences of events are those that Asterisk 22 sent in the same cases (``tests/real_asterisk/test_ami.py``).
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


class OriginatorFixture(AMIFixture):
    """An AMI client with an originator; the nth channel id ends in n."""

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
        """Let the channel appear, as it does after a moment."""
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
def ami() -> Iterator[OriginatorFixture]:
    ami = OriginatorFixture()
    ami.start()
    yield ami
    ami.finish()


def test_the_request_to_asterisk(ami: OriginatorFixture) -> None:
    ami.place()
    (action,) = ami.asterisk.actions_named("Originate")
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
    assert ami.results == []
    ami.answered()
    assert ami.results == [AttemptResult(AttemptEnd.ANSWERED)]
    assert ami.originator.state == ("up", "")


def test_the_call_id_cannot_be_replaced_by_a_variable(ami: OriginatorFixture) -> None:
    ami.place(ReturnRequest(CALL, "2001", "1001", RING, variables={"AUDIOSOCKET_CALL_ID": "another"}))
    assert ami.asterisk.actions_named("Originate")[0].values_of("Variable") == [f"AUDIOSOCKET_CALL_ID={CALL}"]
    ami.answered()


def test_templates() -> None:
    ami = OriginatorFixture(Route("Local/{number}@from-internal/n", "return-2"))
    ami.start()
    ami.place()
    assert ami.asterisk.actions_named("Originate")[0]["Channel"] == "Local/2001@from-internal/n"
    assert ami.asterisk.actions_named("Originate")[0]["Context"] == "return-2"
    ami.answered()
    ami.finish()


ROW = {"ramal": "1000", "condominio": "7"}


def test_templates_may_have_more_than_the_number() -> None:
    ami = OriginatorFixture(Route("Local/{number}@cond-{condominio}/n", "return-{ramal}"))
    ami.start()
    ami.place(ReturnRequest(CALL, "2001", "1001", RING, '"Gate {ramal}" <{retorno}>', row=ROW))
    (action,) = ami.asterisk.actions_named("Originate")
    assert action["Channel"] == "Local/2001@cond-7/n"
    assert (action["Context"], action["CallerID"]) == ("return-1000", '"Gate 1000" <1001>')
    ami.answered()
    ami.finish()


@pytest.mark.parametrize("ramal", ["", "10@00", "1\r\nAction: Command", "1000/n"])
def test_a_row_that_cannot_be_put_into_a_template_fails_the_attempt(ramal: str) -> None:
    ami = OriginatorFixture()
    ami.start()
    ami.place(ReturnRequest(CALL, "2001", "1001", RING, "Gate <{ramal}>", row={**ROW, "ramal": ramal}))
    assert ami.ends == [AttemptEnd.FAILED]
    assert "{ramal}" in ami.results[0].reason
    assert ami.asterisk.actions_named("Originate") == []
    ami.finish()


@pytest.mark.parametrize("number", ["2001", "+5511999990000", "*97", "#1", "101A", "11.22-33", "0"])
def test_numbers_that_are_called(ami: OriginatorFixture, number: str) -> None:
    ami.place(ReturnRequest(CALL, number, "1001", RING))
    assert ami.asterisk.actions_named("Originate")[0]["Channel"] == f"PJSIP/{number}"
    ami.answered()


@pytest.mark.parametrize(
    "number",
    [
        "", " 2001", "2001 ", "2001\n", "2001\r\nAction: Command", "2001&PJSIP/3", "2001/x", "2001@evil",
        "sip:1@x", "2001,30", "${X}", "2001)", "-1", ".", "_X.", "1" * 41, "٢", "{number}", "apt 12",
    ],
)  # fmt: skip
def test_numbers_that_never_reach_asterisk(ami: OriginatorFixture, number: str) -> None:
    ami.place(ReturnRequest(CALL, number, "1001", RING))
    assert ami.ends == [AttemptEnd.FAILED]
    assert "number" in ami.results[0].reason
    assert ami.asterisk.actions_named("Originate") == []


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
def test_other_things_that_never_reach_asterisk(ami: OriginatorFixture, request_: ReturnRequest) -> None:
    ami.place(request_)
    assert ami.ends == [AttemptEnd.FAILED]
    assert ami.asterisk.actions_named("Originate") == []


def test_a_stricter_pattern_for_numbers() -> None:
    ami = OriginatorFixture(Route(number=re.compile("[0-9]{4}")))
    ami.start()
    ami.place(ReturnRequest(CALL, "+55", "1001", RING))
    assert ami.ends == [AttemptEnd.FAILED]
    ami.finish()


# What Asterisk 22 reported for each: response of Originate, hangup cause, and the end of the dialling, if any.
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
def test_every_end_in_every_order(ami: OriginatorFixture, case: str, order: str) -> None:
    reason, cause, status, end = ENDS[case]
    ami.place()
    if order == "response before everything":  # it overtakes the events of channels
        ami.failed(reason)
        ami.rings()
    else:
        ami.rings()
    if status:
        ami.dial_ended(status)
    if order == "hangup first":
        ami.hung_up(cause)
        assert ami.results == []
        ami.failed(reason)
    else:
        if order == "response first":
            ami.failed(reason)
        assert ami.results == []
        ami.hung_up(cause)
    ami.run(1.1 if cause in ("0", "16", "x") else 0)  # such a cause may be bettered by a later event
    assert ami.ends == [end]
    assert ami.results[0].reason
    ami.run(RING + 10, step=1)
    assert ami.ends == [end]
    assert ami.hangups() == []


@pytest.mark.parametrize("own", ["34", "16", "0"])
@pytest.mark.parametrize("first", [True, False])
def test_the_cause_is_known_through_a_dialplan(ami: OriginatorFixture, own: str, first: bool) -> None:
    """``Local/…`` into a dialplan that dials: its own cause is 34, that of the telephone 21, in either order."""
    telephone = "1795376502.10"
    ami.place()
    ami.rings()
    if first:
        ami.hung_up("21", telephone, linked=ID)
    ami.hung_up(own, f"{ID};2", linked=ID)
    ami.failed()
    ami.hung_up(own)
    if not first:
        assert ami.results == []
        ami.hung_up("21", telephone, linked=ID)
    assert ami.ends == [AttemptEnd.REFUSED]


def test_one_of_two_telephones_declines_and_the_other_rings_on(ami: OriginatorFixture) -> None:
    ami.place()
    ami.rings()
    ami.hung_up("21", "1795376502.10", linked=ID)
    ami.failed("3")
    ami.hung_up("19")
    assert ami.ends == [AttemptEnd.NO_ANSWER]


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
    ami: OriginatorFixture, cause: str, rang: bool, end: AttemptEnd
) -> None:
    """``Local/2999@…`` of an extension that is not there: both halves end with cause 0, and nothing rang."""
    ami.place()
    if rang:
        ami.rings()
    else:
        ami.channel()
    ami.hung_up(cause, f"{ID};2", linked=ID)
    ami.hung_up(cause)
    ami.failed("0")
    ami.run(1.1)
    assert ami.ends == [end]
    if end is AttemptEnd.FAILED:
        assert (
            ami.results[0].reason == "it never rang: the dialplan does not have the number, or rings no telephone"
        )


def test_a_telephone_that_does_not_exist_has_no_channel(ami: OriginatorFixture) -> None:
    ami.place()
    ami.failed("0")
    ami.run(1.1)
    assert ami.ends == [AttemptEnd.FAILED]


def test_answered_and_hung_up_at_once_is_answered(ami: OriginatorFixture) -> None:
    ami.place()
    ami.rings()
    ami.event("Newstate", ChannelState="6", Uniqueid=ID)
    ami.hung_up("16")
    ami.answered()
    assert ami.ends == [AttemptEnd.ANSWERED]


def test_an_answer_that_comes_after_the_hangup_but_no_response_at_all(ami: OriginatorFixture) -> None:
    ami.place()
    ami.rings()
    ami.hung_up("17")
    ami.run(1.1)
    assert ami.ends == [AttemptEnd.BUSY]


@pytest.mark.parametrize("words", ["Extension does not exist.", "Permission denied", "Channel not specified"])
def test_asterisk_refuses_at_once(ami: OriginatorFixture, words: str) -> None:
    ami.asterisk.replies["Originate"] = lambda connection, action: connection.error(action, words)
    ami.place()
    assert ami.ends == [AttemptEnd.FAILED]
    assert words in ami.results[0].reason


def test_two_calls_at_once_are_not_mixed_up(ami: OriginatorFixture) -> None:
    ami.place()
    ami.place(ReturnRequest(CALL, "2002", "2001", RING))
    assert [action["Channel"] for action in ami.asterisk.actions_named("Originate")] == [
        "PJSIP/2001",
        "PJSIP/2002",
    ]
    ami.hung_up("17", f"{CHANNEL_ID_PREFIX}stranger")
    ami.answered("1795376501.7")
    assert ami.results == []
    ami.answered(f"{CHANNEL_ID_PREFIX}2")
    assert ami.ends == [AttemptEnd.ANSWERED]
    ami.failed()
    ami.hung_up("17")
    assert ami.ends == [AttemptEnd.ANSWERED, AttemptEnd.BUSY]


def test_an_attempt_without_any_event_ends_within_the_promised_time(ami: OriginatorFixture) -> None:
    ami.place()
    ami.channel()
    ami.run(RING + 4.4, step=0.2)
    assert ami.results == []
    ami.run(0.5)
    assert ami.ends == [AttemptEnd.FAILED]
    assert "read = call" in ami.results[0].reason
    assert ami.hangups() == [ID]


@pytest.mark.parametrize("told_later", [False, True])
def test_the_residents_leg_is_an_answer_and_is_never_hung_up(ami: OriginatorFixture, told_later: bool) -> None:
    """An account without ``read = call`` receives no answer; the leg itself is one."""
    ami.place()
    ami.channel()
    assert not ami.made.answered(UUID(int=1))
    assert ami.made.answered(CALL)
    assert ami.results == [AttemptResult(AttemptEnd.ANSWERED)]
    assert not ami.made.answered(CALL)
    if told_later:
        ami.answered()
    ami.lose_connection()
    ami.run(RING + 10, step=0.5)
    assert ami.results == [AttemptResult(AttemptEnd.ANSWERED)]
    assert ami.hangups() == []


def test_an_originate_without_response_is_hung_up_when_it_appears(ami: OriginatorFixture) -> None:
    ami.asterisk.replies["Originate"] = lambda connection, action: None
    ami.place()
    ami.run(5.1)
    assert ami.ends == [AttemptEnd.FAILED]
    ami.channel()
    assert ami.hangups() == [ID, ID]


def test_cancelling_stops_the_ringing(ami: OriginatorFixture) -> None:
    placed = ami.place()
    ami.rings()
    placed.cancel()
    assert ami.ends == [AttemptEnd.CANCELLED]
    ami.flush()
    assert ami.hangups() == [ID]
    ami.hung_up("16")
    ami.failed()
    placed.cancel()
    assert ami.ends == [AttemptEnd.CANCELLED]


def test_cancelling_before_there_is_a_channel(ami: OriginatorFixture) -> None:
    placed = ami.place()
    placed.cancel()
    ami.flush()
    assert ami.ends == [AttemptEnd.CANCELLED]
    assert ami.hangups() == [ID]  # "No such channel"
    ami.channel()
    assert ami.hangups() == [ID, ID]
    ami.hung_up("0")
    ami.channel()  # the id is free again
    assert ami.hangups() == [ID, ID]


def test_cancelling_while_the_resident_answers(ami: OriginatorFixture) -> None:
    placed = ami.place()
    ami.rings()
    placed.cancel()
    ami.answered()
    assert ami.ends == [AttemptEnd.CANCELLED]
    assert ami.hangups() == [ID, ID]


def test_an_attempt_of_another_process_is_stopped_by_its_id(ami: OriginatorFixture) -> None:
    request = ReturnRequest(CALL, "2001", "1001", RING, attempt_id="1")
    ami.place(request)
    assert ami.asterisk.actions_named("Originate")[0]["ChannelId"] == ID
    ami.answered()
    ami.made.stop(request)
    ami.flush()
    assert ami.hangups() == [ID]
    ami.hung_up("16")
    ami.made.stop(request)
    ami.channel()  # it was only about to appear
    assert ami.hangups() == [ID, ID, ID]


def test_a_cancelled_call_is_not_remembered_for_ever(ami: OriginatorFixture) -> None:
    ami.place().cancel()
    ami.run(60, step=1)
    ami.channel()
    assert ami.hangups() == [ID]


@pytest.mark.parametrize("answered_meanwhile", [False, True])
def test_ami_lost_in_the_middle(ami: OriginatorFixture, answered_meanwhile: bool) -> None:
    ami.place()
    ami.rings()
    ami.lose_connection()
    assert ami.ends == [AttemptEnd.FAILED]
    assert "lost" in ami.results[0].reason
    ami.asterisk.channels[ID]["CHANNEL(state)"] = "Up" if answered_meanwhile else "Ringing"
    ami.run(1)
    assert ami.originator.state == ("up", "")
    assert ami.hangups() == ([] if answered_meanwhile else [ID])


def test_cancelled_while_ami_is_down(ami: OriginatorFixture) -> None:
    ami.endpoint.problem = connection_refused()
    placed = ami.place()
    ami.rings()
    placed.cancel()
    ami.asterisk.frozen = True
    ami.lose_connection()
    ami.asterisk.frozen = False
    ami.endpoint.problem = None
    ami.run(1)
    assert ami.ends == [AttemptEnd.CANCELLED]
    assert set(ami.hangups()) == {ID}


def test_ami_down_fails_at_once_with_the_reason() -> None:
    ami = OriginatorFixture()
    ami.endpoint.problem = connection_refused()
    ami.start()
    ami.place()
    why = "AMI is not available: connection refused: does Asterisk run, with AMI enabled?"
    assert ami.results == [AttemptResult(AttemptEnd.FAILED, why, unavailable=True)]
    assert ami.originator.state[0] == "down"
    ami.run(30)
    ami.endpoint.problem = None
    ami.place()  # AMI is back: no need to wait for the next attempt
    assert len(ami.asterisk.actions_named("Originate")) == 1
    ami.answered(f"{CHANNEL_ID_PREFIX}2")
    ami.finish()


def test_wrong_secret_fails_at_once_with_the_reason() -> None:
    ami = OriginatorFixture(secret="not the secret")
    ami.start()
    ami.place()
    assert ami.ends == [AttemptEnd.FAILED]
    assert "login refused" in ami.results[0].reason
    assert ami.results[0].unavailable
    assert "not the secret" not in ami.results[0].reason
    ami.finish()


def test_a_corrected_secret_is_used_by_the_next_call() -> None:
    ami = OriginatorFixture(secret="not the secret")
    ami.start()
    ami.run(35)  # the login was refused at 0, 10 and 30; the next attempt would be at 70
    ami.asterisk.secret = "not the secret"
    ami.place()
    assert ami.ends == [AttemptEnd.FAILED], "five seconds after a refusal nobody tries again"
    ami.run(6)
    ami.place()
    assert len(ami.asterisk.actions_named("Originate")) == 1
    ami.answered(f"{CHANNEL_ID_PREFIX}2")
    ami.finish()


def test_an_ami_that_does_not_answer_delays_no_longer_than_the_ring_time() -> None:
    ami = OriginatorFixture()
    ami.endpoint.silent = True
    ami.start()
    ami.place(ReturnRequest(CALL, "2001", "1001", 1))
    ami.run(0.9)
    assert ami.results == []
    ami.run(0.2)
    assert [(result.end, result.unavailable) for result in ami.results] == [(AttemptEnd.FAILED, True)]
    ami.finish()


@pytest.mark.parametrize("cancel", [False, True])
def test_an_ami_that_does_not_come_up(cancel: bool) -> None:
    ami = OriginatorFixture()
    ami.endpoint.silent = True
    ami.start()
    placed = ami.place()
    if cancel:
        placed.cancel()
        assert ami.ends == [AttemptEnd.CANCELLED]
    ami.run(3.1)
    assert ami.ends == [AttemptEnd.CANCELLED if cancel else AttemptEnd.FAILED]
    ami.endpoint.silent = False
    ami.run(5)
    assert ami.asterisk.actions_named("Originate") == []
    ami.finish()


def test_not_started_fails(ami: OriginatorFixture) -> None:
    other = OriginatorFixture()
    other.place()
    assert other.ends == [AttemptEnd.FAILED]


def test_close_cancels_what_rings() -> None:
    ami = OriginatorFixture()
    ami.start()
    ami.place()
    ami.rings()
    ami.made.close()
    ami.flush()
    assert ami.ends == [AttemptEnd.CANCELLED]
    assert ami.hangups() == [ID]
    ami.finish()


def test_many_attempts_leave_nothing_behind(ami: OriginatorFixture) -> None:
    for _ in range(100):
        ami.place()
    for number in range(1, 101):
        channel_id = f"{CHANNEL_ID_PREFIX}{number}"
        ami.hung_up("17", channel_id)
        ami.event("OriginateResponse", Response="Failure", Reason="0", Uniqueid=channel_id)
    assert ami.ends == [AttemptEnd.BUSY] * 100


def test_a_reaction_in_the_same_turn(ami: OriginatorFixture) -> None:
    """The response may arrive in the same turn in which the action was written."""

    def at_once(connection: FakeAMIConnection, action: Action) -> None:
        connection.send(("Event", "OriginateResponse"), ("Response", "Success"), ("Uniqueid", action["ChannelId"]))
        connection.answer(action)

    ami.asterisk.replies["Originate"] = at_once
    ami.place()
    assert ami.ends == [AttemptEnd.ANSWERED]
