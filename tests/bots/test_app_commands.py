"""The commands of a bot: what it may do with its call, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audiosocket.bots.commands import ALIASES, TOOLS
from audiosocket.control_interface import COMMAND_NAMES
from audiosocket.errors import ReturnUnavailable, TelephonyUnavailable
from audiosocket.interfaces import CallPolicy, ReturnOutcome
from tests.support.bot_leg import ALL_NUMBERS, CALLER, VOICE, FakeTelephony, Fixture

# commands


def test_a_bot_hangs_up_when_what_it_said_has_been_heard() -> None:
    one = Fixture()
    one.media(VOICE * 25)
    assert one.command("hangup")["ok"]
    one.run(480)
    assert one.leg.outcome is None
    one.run(100)
    assert one.leg.outcome == "server_hangup"


def test_a_bot_hangs_up_at_once_if_it_says_so() -> None:
    one = Fixture()
    one.media(VOICE * 25)
    one.socket.say({"event": "x-command", "id": "1", "command": "hangup", "drain": False})
    assert one.leg.outcome == "server_hangup"


def test_a_bot_rings_the_numbers_of_its_entry_only() -> None:
    assert "bot_may_dial" in Fixture().command("dial", to="302")["error"]
    one = Fixture(policy=CallPolicy(bot_may_dial=("_3XX",)))
    for numbers in ("402", "3021", ["302", "0900"], "302 "):
        assert "bot_may_dial" in one.command("dial", to=numbers)["error"]
    assert one.leg.called_numbers == []
    assert one.command("dial", to=["302", "303"])["ok"]
    assert one.leg.called_numbers == [["302", "303"]]


def test_a_bot_rings_residents_and_hears_how_that_ended() -> None:
    one = Fixture(policy=ALL_NUMBERS)
    assert one.command("dial", to="302")["ok"]
    assert one.leg.called_numbers == [["302"]]
    assert not one.command("dial", to="303")["ok"], "one at a time"
    assert one.command("cancel")["ok"]
    assert not one.command("cancel")["ok"]
    one.leg.end_return_call(ReturnOutcome("failed", "busy"))
    (notice,) = one.socket.texts("x-leg")
    assert (notice["leg"], notice["state"], notice["reason"]) == ("resident", "failed", "busy")


def test_without_a_backend_ringing_is_refused_with_the_reason() -> None:
    one = Fixture(policy=ALL_NUMBERS)
    one.leg.call_error = ReturnUnavailable("RETURN_BACKEND is none")
    assert one.command("dial", to="302")["error"] == "RETURN_BACKEND is none"


def test_legs_are_connected_and_separated() -> None:
    one = Fixture()
    assert not one.command("bridge")["ok"]
    one.leg.has_other = True
    assert one.command("bridge")["ok"]
    assert one.leg.connected
    assert one.command("unbridge")["ok"]
    assert not one.leg.connected


def test_a_transfer_needs_the_operators_context_the_channel_and_ami() -> None:
    telephony = FakeTelephony()
    one = Fixture(telephony=telephony)
    one.leg.identify(CALLER)
    assert "transfer_context" in one.command("transfer", to="0")["error"]
    no_list = Fixture(telephony=telephony, policy=CallPolicy(transfer_context="desk"))
    no_list.leg.identify(CALLER)
    assert "bot_may_transfer_to" in no_list.command("transfer", to="0")["error"]
    assert telephony.done == []
    policy = CallPolicy(transfer_context="desk", bot_may_transfer_to=("0", "_."))
    allowed = Fixture(telephony=telephony, policy=policy)
    assert "channel" in allowed.command("transfer", to="0")["error"]
    allowed.leg.identify(CALLER)
    assert allowed.command("transfer", to="0")["ok"]
    assert telephony.done == [("redirect", "PJSIP/door-1", "desk", "0")]
    assert "AMI_HOST" in Fixture(policy=policy).command("transfer", to="0")["error"]
    for exten in ("h", "0,1", "a b", "", 5, "x" * 41):
        assert not allowed.command("transfer", to=exten)["ok"]
    telephony.problem = TelephonyUnavailable("Redirect: not connected")
    assert allowed.command("transfer", to="0")["error"] == "Redirect: not connected"


def test_digits_are_played_on_the_callers_channel() -> None:
    telephony = FakeTelephony()
    one = Fixture(telephony=telephony)
    one.leg.identify(CALLER)
    assert one.command("digits", digits="12#")["ok"]
    assert telephony.done == [("digits", "PJSIP/door-1", "12#")]
    assert not one.command("digits", digits="12,")["ok"]


def test_a_bot_does_not_authorise_unless_the_operator_allows_it() -> None:
    one = Fixture()
    assert "bot_may_authorise" in one.command("outcome", outcome="authorised")["error"]
    assert one.leg.decided is None
    assert one.command("outcome", outcome="denied")["ok"]
    assert one.leg.decided == "denied"
    assert not one.command("outcome", outcome="no_answer")["ok"], "the first outcome stays"
    allowed = Fixture(policy=CallPolicy(bot_may_authorise=True))
    assert allowed.command("outcome", outcome="authorised")["ok"]
    assert allowed.leg.decided == "authorised"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("open_gate", {}),
        ("", {}),
        ("hangup", {"now": True}),
        ("hangup", {"drain": "yes"}),
        ("dial", {}),
        ("dial", {"to": []}),
        ("dial", {"to": [1]}),
        ("dial", {"to": ["1"] * 11}),
        ("outcome", {"outcome": "Authorised"}),
        ("outcome", {"outcome": "authorised "}),
        ("outcome", {}),
        ("note", {"text": ""}),
        ("note", {"text": "x" * 501}),
        ("digits", {"digits": ""}),
    ],
)
def test_what_is_not_a_command_is_refused(name: str, arguments: dict[str, Any]) -> None:
    one = Fixture(policy=replace(ALL_NUMBERS, bot_may_authorise=True, transfer_context="desk"))
    answer = one.command(name, **arguments)
    assert not answer["ok"]
    assert answer["error"]
    assert (one.leg.outcome, one.leg.decided, one.leg.called_numbers) == (None, None, [])


def test_commands_are_limited_in_their_number() -> None:
    one = Fixture()
    answers = [one.command("note", text="x") for _ in range(21)]
    assert [answer["ok"] for answer in answers] == [True] * 20 + [False]
    one.run(10_040)
    assert one.command("note", text="x")["ok"]


def test_the_api_has_the_same_commands() -> None:
    assert (*TOOLS, *ALIASES) == COMMAND_NAMES
