"""The AMI wire: any split of any bytes gives the same messages, and no value can become another line."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket.asterisk.ami.wire import (
    GREETING,
    MAX_GREETING_BYTES,
    MAX_LINE_BYTES,
    MAX_LINES,
    MAX_MESSAGE_BYTES,
    Greeted,
    Message,
    Parser,
    Skipped,
    Violation,
    action,
    variable,
)
from audiosocket.errors import LocalProtocolError

BANNER = b"Asterisk Call Manager/9.0.0\r\n"
RESPONSE = b"Response: Success\r\nActionID: a-1\r\nMessage: Authentication accepted"
ORIGINATED = b"Event: OriginateResponse\r\nPrivilege: call,all\r\nActionID: a-2\r\nResponse: Failure\r\nReason: 3"
EVENT = "Event: Hangup\r\nUniqueid: x\r\nCause: 17\r\nCause-txt: User busy\r\nCallerIDName: João: 2".encode()
TOO_LONG = b"Event: VarSet\r\nValue: " + b"x" * MAX_MESSAGE_BYTES
STREAM = BANNER + b"".join(m + b"\r\n\r\n" for m in (RESPONSE, TOO_LONG, ORIGINATED, b"", EVENT))
DECODED = [
    Greeted("Asterisk Call Manager/9.0.0"),
    Message(RESPONSE),
    Skipped(len(TOO_LONG)),
    Message(ORIGINATED),
    Message(EVENT),
]


def decode(pieces: list[bytes]) -> list[Any]:
    parser = Parser()
    events: list[Any] = []
    for piece in pieces:
        events += parser.receive(piece)
        assert parser.pending <= MAX_MESSAGE_BYTES + 3
    return events


def test_whole_stream() -> None:
    assert decode([STREAM]) == DECODED


def test_byte_by_byte() -> None:
    short = STREAM.replace(TOO_LONG + b"\r\n\r\n", b"")
    assert decode([bytes([byte]) for byte in short]) == [e for e in DECODED if not isinstance(e, Skipped)]


@pytest.mark.parametrize("size", [7, 100, 1448, 65_536, 65_540])
def test_pieces_of_one_size(size: int) -> None:
    assert decode([STREAM[at : at + size] for at in range(0, len(STREAM), size)]) == DECODED


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_split(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert decode([STREAM[a:b] for a, b in itertools.pairwise(edges)]) == DECODED


@pytest.mark.parametrize("surplus", [0, 1])
@pytest.mark.parametrize("last", [0, 1, 3, 4, 5, 100])
def test_the_limit_is_the_same_for_every_split(surplus: int, last: int) -> None:
    message = b"Event: X\r\nA: ".ljust(MAX_MESSAGE_BYTES + surplus, b"x")
    wanted = [Skipped(len(message))] if surplus else [Message(message)]
    stream = BANNER + message + b"\r\n\r\n"
    assert decode([stream[: len(stream) - last], stream[len(stream) - last :]])[1:] == wanted


def test_fields() -> None:
    message = Message(EVENT + b"\r\nOutput: one\r\noutput: two\r\nno colon here\r\nEmpty:\r\nTight:x")
    assert message.get("Cause-TXT") == "User busy"
    assert message.get("CallerIDName") == "João: 2"
    assert message.every("Output") == ["one", "two"]
    assert message.get("Output") == "one"
    assert (message.get("Empty", "default"), message.get("Tight"), message.get("None", "default")) == (
        "",
        "x",
        "default",
    )
    assert message.every("None") == []


def test_an_event_with_a_response_key_is_an_event() -> None:
    message = Message(ORIGINATED)
    assert (message.event, message.response) == ("OriginateResponse", "")
    assert message.get("Response") == "Failure"
    assert (Message(RESPONSE).event, Message(RESPONSE).response) == ("", "Success")


def test_a_name_in_latin_1_is_read_beside_one_in_utf_8() -> None:
    raw = b"Event: Newchannel\r\nCallerIDName: Jo\xe3o Concei\xe7\xe3o\r\nConnectedLineName: Jos\xc3\xa9"
    message = Message(raw)
    assert message.event == "Newchannel"
    assert message.get("CallerIDName") == "Jo\u00e3o Concei\u00e7\u00e3o"
    assert message.get("ConnectedLineName") == "Jos\u00e9"


def test_a_first_line_in_latin_1_is_read() -> None:
    assert Message(b"Event: \xe3").event == "\u00e3"


@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-OpenSSH\r\n", b"\r\n\r\n", b"\0", b"asterisk call manager/1\r\n"],
)
def test_another_protocol_is_a_violation_at_its_first_byte(garbage: bytes) -> None:
    parser = Parser()
    (violation,) = parser.receive(garbage[:1]) or parser.receive(garbage[1:])
    assert isinstance(violation, Violation)
    assert parser.receive(STREAM) == []
    assert parser.pending == 0


def test_a_greeting_without_end_is_a_violation() -> None:
    parser = Parser()
    assert parser.receive(GREETING) == []
    (violation,) = parser.receive(b"x" * MAX_GREETING_BYTES)
    assert isinstance(violation, Violation)


def test_action_keeps_order_and_repeated_keys() -> None:
    assert action("Originate", [("ActionID", "7"), ("Variable", "A=1"), ("Variable", "B=é")]) == (
        b"Action: Originate\r\nActionID: 7\r\nVariable: A=1\r\nVariable: B=\xc3\xa9\r\n\r\n"
    )


@pytest.mark.parametrize("bad", ["a\r\nAction: Command", "a\nb", "a\rb", "a\0b", "\n", "\ud800"])
def test_a_value_with_a_line_break_is_refused(bad: str) -> None:
    for make in (lambda: action("Ping", [("ActionID", bad)]), lambda: action(bad, [])):
        with pytest.raises(LocalProtocolError) as problem:
            make()
        assert bad not in str(problem.value)
        assert "Command" not in str(problem.value)


@pytest.mark.parametrize("bad", ["", "A:", "A\r\nB", "A B", "É", "1A", "A:B"])
def test_an_invalid_key_is_refused(bad: str) -> None:
    with pytest.raises(LocalProtocolError):
        action("Ping", [(bad, "x")])


def test_more_than_asterisk_reads_is_refused() -> None:
    fits = "x" * (MAX_LINE_BYTES - len("Variable: \r\n"))
    assert len(action("Ping", [("Variable", fits)]).split(b"\r\n")[1]) + 2 == MAX_LINE_BYTES
    for value in (fits + "x", fits[:-1] + "é"):
        with pytest.raises(LocalProtocolError, match="too long"):
            action("Ping", [("Variable", value)])
    action("Ping", [("Variable", "x")] * (MAX_LINES - 1))
    with pytest.raises(LocalProtocolError, match="lines"):
        action("Ping", [("Variable", "x")] * MAX_LINES)


def test_an_error_never_has_the_secret() -> None:
    for secret in ("hunter2\n", "hunter2" * 200):
        with pytest.raises(LocalProtocolError) as problem:
            action("Login", [("Secret", secret)])
        assert "hunter2" not in str(problem.value)


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ("plain-1 é;${X}", "plain-1 é;${X}"),
        ("a,B=evil", r"a\,B=evil"),
        (r'q"u(o)t\e[d]', r"q\"u\(o\)t\\e\[d\]"),  # this one was sent to Asterisk 22 and arrived as it is here
    ],
)
def test_variable_escapes_what_asterisk_splits_at(value: str, wire: str) -> None:
    assert variable("_NAME", value) == f"_NAME={wire}"


@pytest.mark.parametrize("name", ["", "SHELL(id)", "A,B", "A=B", "A B", "1A", "___A", "A\n", "É"])
def test_only_plain_variables_can_be_set(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        variable(name, "x")
