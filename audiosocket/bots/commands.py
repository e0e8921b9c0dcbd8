"""What a bot may ask to be done with its call, whichever way it asks: names, arguments, checks. Pure.

The same commands are ``x-command`` messages of the Twilio dialect, tools of OpenAI Realtime, and
``POST /api/calls/{uuid}/…`` with the call's own token. Whatever is not listed here, or has an argument that is
not, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from audiosocket.errors import InvalidCommand


@dataclass(frozen=True)
class HangUpLeg:
    """End the leg; with ``drain`` after what is queued has been heard."""

    drain: bool = True


@dataclass(frozen=True)
class Dial:
    """Place the call's return call to these numbers, in order."""

    numbers: tuple[str, ...]


@dataclass(frozen=True)
class CancelDial:
    """Stop the return call."""


@dataclass(frozen=True)
class Bridge:
    """Connect the two legs of the call, or separate them."""

    connected: bool


@dataclass(frozen=True)
class Transfer:
    """Send the caller to an extension of the dialplan."""

    exten: str


@dataclass(frozen=True)
class PlayDigits:
    """Send DTMF to the caller's channel."""

    digits: str


@dataclass(frozen=True)
class SetOutcome:
    """Name the call's outcome."""

    outcome: str


@dataclass(frozen=True)
class WriteNote:
    """Write a line into the call's timeline."""

    text: str


Command: TypeAlias = HangUpLeg | Dial | CancelDial | Bridge | Transfer | PlayDigits | SetOutcome | WriteNote

MAX_NUMBERS = 10
MAX_NOTE = 500
_EXTEN = re.compile(r"(?![A-Za-z]\Z)[0-9A-Za-z*#+][0-9A-Za-z*#._-]{0,39}")
_DIGITS = re.compile(r"[0-9*#A-Da-dwW]{1,40}")
_OUTCOME = re.compile(r"[a-z][a-z0-9_]{0,39}")
#: The outcome that opens the gate; a bot may set it only where the operator allows it.
AUTHORISED = "authorised"

#: Tools of OpenAI Realtime: what the model is told of each, and its arguments.
TOOLS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "hang_up": ("End the call after what was said has been heard.", {}),
        "call_resident": (
            "Ring a resident. The numbers are tried one after the other.",
            {
                "numbers": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Telephone numbers to ring.",
                }
            },
        ),
        "cancel_call": ("Stop ringing the resident.", {}),
        "bridge": ("Connect the visitor and the resident so that they can talk.", {}),
        "unbridge": ("Separate the visitor and the resident.", {}),
        "transfer": (
            "Send the caller to another extension of the telephone system.",
            {"extension": {"type": "string", "description": "The extension, such as 0."}},
        ),
        "send_digits": (
            "Play DTMF digits to the caller's telephone.",
            {"digits": {"type": "string", "description": "Digits, * and #."}},
        ),
        "set_outcome": (
            "Record how the call ended.",
            {"outcome": {"type": "string", "description": "One word in lower case, such as denied."}},
        ),
        "note": ("Write a note for the operator.", {"text": {"type": "string"}}),
    }
)

ALIASES = {
    "hangup": "hang_up",
    "dial": "call_resident",
    "cancel": "cancel_call",
    "digits": "send_digits",
    "outcome": "set_outcome",
}
#: Other names of arguments.
_ARGUMENTS = {"to": "numbers", "number": "numbers", "exten": "extension"}


def tool_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema function that a model is offered."""
    description, properties = TOOLS[name]
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": dict(properties), "required": list(properties)},
    }


def canonical_name(name: str) -> str:
    """Return the name of a command as in `TOOLS`, whatever a dialect calls it."""
    return ALIASES.get(name, name)


def parse_command(name: str, arguments: Mapping[str, Any]) -> Command:
    """Return the command; raises `InvalidCommand`."""
    known = canonical_name(name)
    if known not in TOOLS:
        raise InvalidCommand(f"there is no command {name[:40]!r}; there are {', '.join(TOOLS)}")
    given: dict[str, Any] = {}
    for key, value in arguments.items():
        known_key = _ARGUMENTS.get(key, key) if known != "transfer" or key != "to" else "extension"
        given[known_key] = value
    allowed = {*TOOLS[known][1], *({"drain"} if known == "hang_up" else ())}
    unknown = [key for key in given if key not in allowed]
    if unknown:
        raise InvalidCommand(f"{name} has no argument {unknown[0][:40]!r}")
    return _PARSERS[known](given)


def _hang_up(given: Mapping[str, Any]) -> Command:
    drain = given.get("drain", True)
    if not isinstance(drain, bool):
        raise InvalidCommand("drain must be true or false")
    return HangUpLeg(drain)


def _dial(given: Mapping[str, Any]) -> Command:
    numbers = given.get("numbers")
    listed: Sequence[Any] = numbers if isinstance(numbers, list) else [numbers]
    if not 1 <= len(listed) <= MAX_NUMBERS or not all(isinstance(one, str) and one for one in listed):
        raise InvalidCommand(f"1 to {MAX_NUMBERS} numbers are needed, as texts")
    return Dial(tuple(listed))


def _text(given: Mapping[str, Any], name: str, pattern: re.Pattern[str], what: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidCommand(f"{name} must be {what}")
    return value


def _note(given: Mapping[str, Any]) -> Command:
    text = given.get("text")
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_NOTE:
        raise InvalidCommand(f"text must be a text of 1 to {MAX_NOTE} characters")
    return WriteNote(text)


_PARSERS = {
    "hang_up": _hang_up,
    "call_resident": _dial,
    "cancel_call": lambda given: CancelDial(),
    "bridge": lambda given: Bridge(True),
    "unbridge": lambda given: Bridge(False),
    "transfer": lambda given: Transfer(_text(given, "extension", _EXTEN, "an extension of the dialplan")),
    "send_digits": lambda given: PlayDigits(_text(given, "digits", _DIGITS, "digits")),
    "set_outcome": lambda given: SetOutcome(_text(given, "outcome", _OUTCOME, "one word in lower case")),
    "note": _note,
}
