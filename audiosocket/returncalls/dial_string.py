"""Checks of what becomes part of a call to a resident: numbers, extensions, channels, contexts and variables.

What is refused could change the meaning of a dial string (``/ @ & ,``), begin another line, or call a dialplan
function.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from audiosocket.asterisk.ami.wire import VARIABLE_NAME
from audiosocket.errors import InvalidSetting, LocalProtocolError
from audiosocket.returncalls.templates import PLACES, check_template, filled

#: A number, or the name of a telephone, without ``/``, ``@`` and ``&``. Extensions of a single letter are
#: Asterisk's own: ``h`` would run what a dialplan does after a hangup.
NUMBER = re.compile(r"(?![A-Za-z]\Z)[0-9A-Za-z*#+][0-9A-Za-z*#._-]{0,39}")
_EXTEN = re.compile(r"[0-9A-Za-z*#+._-]{1,79}")
_CONTEXT = re.compile(r"[0-9A-Za-z._-]{1,79}")
_CHANNEL = re.compile(r"[A-Za-z]+/[\x21-\x7e]+")
#: A value in the wrong setting: a URL with an account, or a connection string.
_MAY_BE_SECRET = re.compile(r"://|=")
_EXAMPLE = dict.fromkeys(PLACES, "1")

NO_ROW: Mapping[str, str] = MappingProxyType({})

MAX_RING_SECONDS = 600.0
MAX_VARIABLES = 64
MAX_TEXT = 900


@dataclass(frozen=True)
class Route:
    """The channel that is dialled, and where it continues when answered; both are templates, see `templates`.

    ``channel`` is what Asterisk dials, with ``{number}`` in it: ``PJSIP/{number}``, ``PJSIP/{number}@trunk``,
    ``Local/{number}@from-internal/n``. ``context`` holds the return extensions. A number has to match
    ``number``. Raises `InvalidSetting`, naming the setting.
    """

    channel: str = "PJSIP/{number}"
    context: str = "audiosocket-return"
    number: re.Pattern[str] = NUMBER

    def __post_init__(self) -> None:
        check_template(self.channel, "RETURN_CHANNEL")
        check_template(self.context, "RETURN_CONTEXT")
        if "{number}" not in self.channel or "&" in self.channel or not _CHANNEL.fullmatch(self.channel):
            raise InvalidSetting(f"RETURN_CHANNEL: {shown(self.channel)} must look like PJSIP/{{number}}")
        if not _CONTEXT.fullmatch(filled(self.context, _EXAMPLE)):
            raise InvalidSetting(f"RETURN_CONTEXT: {shown(self.context)} is not the name of a dialplan context")

    def dialled(self, number: str, row: Mapping[str, str] = NO_ROW) -> str:
        """Return the channel that rings ``number``; raises `LocalProtocolError` for one that is no number.

        ``row`` has the values of the other places, see `templates.PLACES`.
        """
        return filled(self.channel, {**row, "number": checked_number(number, self.number)})

    def return_context(self, number: str, row: Mapping[str, str] = NO_ROW) -> str:
        """Return the context of the return extension; raises `LocalProtocolError` for one that is no context."""
        context = filled(self.context, {**row, "number": number})
        if not _CONTEXT.fullmatch(context):
            raise LocalProtocolError(f"{context[:100]!r} is not the name of a dialplan context")
        return context


def checked_number(number: str, pattern: re.Pattern[str] = NUMBER) -> str:
    """Return the number; raises `LocalProtocolError` when it cannot be called."""
    if not pattern.fullmatch(number):
        raise LocalProtocolError(f"{shown(number)} is not a number that can be called")
    return number


def shown(text: str) -> str:
    """Return a number, channel or context for an error; a URL or key=value, which may be a secret, is hidden."""
    return "(not shown)" if _MAY_BE_SECRET.search(text) else repr(text[:60])


def masked(number: str) -> str:
    """The number with all but its last two characters hidden."""
    return "*" * max(2, len(number) - 2) + number[-2:]


def check_landing(exten: str, ring_seconds: float, caller_id: str, variables: Mapping[str, str]) -> None:
    """Raise `LocalProtocolError` for what must not reach Asterisk; the text contains no variable's value.

    A variable's name is a plain one: ``SHELL(…)`` would call a function. Texts are one line.
    """
    if not _EXTEN.fullmatch(exten):
        raise LocalProtocolError(f"{exten[:60]!r} is not a return extension")
    if not 0 < ring_seconds <= MAX_RING_SECONDS:
        raise LocalProtocolError(f"a ring time of {ring_seconds} s (at most {MAX_RING_SECONDS:g})")
    if len(variables) > MAX_VARIABLES:
        raise LocalProtocolError(f"{len(variables)} channel variables (at most {MAX_VARIABLES})")
    _check_line(caller_id, "the caller id")
    for name, value in variables.items():
        if not VARIABLE_NAME.fullmatch(name):
            raise LocalProtocolError(f"{name[:60]!r} is not the name of a channel variable")
        _check_line(value, f"the variable {name[:60]}")


def _check_line(text: str, what: str) -> None:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise LocalProtocolError(f"{what} contains a line break or another control character")
    if len(text) > MAX_TEXT:
        raise LocalProtocolError(f"{what} has {len(text)} characters (at most {MAX_TEXT})")
