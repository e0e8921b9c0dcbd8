"""The AMI wire: bytes to messages and actions to bytes, without sockets, clocks or I/O.

Asterisk greets with one line, then sends messages: lines ``Key: value``, ended by CRLF, and an empty line.
A message that begins with ``Event`` is an event even if it has a ``Response`` key too, as ``OriginateResponse``.

Towards Asterisk (``manager.c`` of 22, measured): a line of more than 1022 bytes with its CRLF is refused, a
message has at most 128 lines, and ``Variable`` is split at commas outside of quotes and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from audiosocket.errors import LocalProtocolError

GREETING = b"Asterisk Call Manager"
MAX_GREETING_BYTES = 256
#: Longer messages from Asterisk are skipped; a variable may hold a whole web page.
MAX_MESSAGE_BYTES = 65_536
#: Bytes of one line towards Asterisk, CRLF included.
MAX_LINE_BYTES = 1022
MAX_LINES = 120

_END = b"\r\n\r\n"
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
VARIABLE_NAME = re.compile(r"_{0,2}[A-Za-z][A-Za-z0-9_]*")
_SPLITS_VARIABLES = re.compile(r'[\\",()\[\]]')


def decoded(line: bytes) -> str:
    """Return a line as text: UTF-8, or Latin-1 where it is none, in which old trunks write names of callers.

    Asterisk passes such names on as the bytes that they came in, so that one message may have lines of both.
    """
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


@dataclass(frozen=True)
class Greeted:
    """Asterisk's first line, e.g. ``Asterisk Call Manager/9.0.0``."""

    banner: str


@dataclass(frozen=True)
class Message:
    """An event or the response to an action. ``raw`` has no empty line at its end.

    Fields are decoded when they are first read: most events are not used.
    """

    raw: bytes

    @cached_property
    def _first(self) -> tuple[str, str]:
        key, _, value = decoded(self.raw.partition(b"\r\n")[0]).partition(":")
        return key.strip().lower(), value.strip()

    @property
    def event(self) -> str:
        """The event's name; empty for a response."""
        key, value = self._first
        return value if key == "event" else ""

    @property
    def response(self) -> str:
        """``Success``, ``Error`` or another result; empty for a message that is an event."""
        key, value = self._first
        return value if key == "response" else ""

    @cached_property
    def _fields(self) -> dict[str, list[str]]:
        fields: dict[str, list[str]] = {}
        for line in self.raw.split(b"\r\n"):
            key, colon, value = decoded(line).partition(":")
            if colon:
                fields.setdefault(key.strip().lower(), []).append(value.strip())
        return fields

    def get(self, key: str, default: str = "") -> str:
        """Return the first value of a key, in whatever case the key is written."""
        return self._fields.get(key.lower(), [default])[0]

    def every(self, key: str) -> list[str]:
        """Return all values of a repeated key, in order."""
        return list(self._fields.get(key.lower(), []))


@dataclass(frozen=True)
class Skipped:
    """A message that was too long to keep; ``length`` is in bytes."""

    length: int


@dataclass(frozen=True)
class Violation:
    """The peer does not speak AMI; nothing after it is decoded, and the connection is to be closed."""

    why: str


Event = Greeted | Message | Skipped | Violation


class Parser:
    """Decodes a stream into events, however it is cut into pieces.

    Keeps at most `MAX_MESSAGE_BYTES` of an unfinished message.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._skipped = 0
        self._greeted = False
        self._broken = False

    @property
    def pending(self) -> int:
        """Bytes of an unfinished message."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Event]:
        """Return the events completed by ``data``, in order; none follows a `Violation`."""
        if self._broken:
            return []
        self._buffer += data
        events: list[Event] = []
        if not self._greeted:
            events = self._greeting()
            if not self._greeted:
                return events
        return events + self._messages()

    def _greeting(self) -> list[Event]:
        line, newline, rest = self._buffer.partition(b"\r\n")
        if line[: len(GREETING)] != GREETING[: len(line)] or len(line) > MAX_GREETING_BYTES:
            self._broken = True
            self._buffer.clear()
            return [Violation("its first line is not the greeting of Asterisk's manager interface")]
        if not newline:
            return []
        self._greeted = True
        self._buffer = rest
        return [Greeted(decoded(bytes(line)))]

    def _messages(self) -> list[Event]:
        buffer, events, start = self._buffer, list[Event](), 0
        while (end := buffer.find(_END, max(start, self._searched))) >= 0:
            length = end - start + self._skipped
            if length > MAX_MESSAGE_BYTES:
                events.append(Skipped(length))
            else:
                raw = bytes(buffer[start:end]).lstrip(b"\r\n")
                if raw:
                    events.append(Message(raw))
            self._skipped, start = 0, end + len(_END)
        del buffer[:start]
        part = len(_END) - 1  # the last bytes may be the first ones of a separator
        if self._skipped or len(buffer) > MAX_MESSAGE_BYTES + part:
            surplus = max(0, len(buffer) - part)
            self._skipped += surplus
            del buffer[:surplus]
        self._searched = max(0, len(buffer) - part)
        return events


def action(name: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Return one action as bytes, with the keys in the order given.

    Raises `LocalProtocolError`, which names the key and never the value, for what would become another line or
    another action (CR, LF, NUL), for an invalid key, and for more than Asterisk reads.
    """
    lines = [_line(key, value) for key, value in (("Action", name), *fields)]
    if len(lines) > MAX_LINES:
        raise LocalProtocolError(f"an AMI action of {len(lines)} lines; Asterisk reads {MAX_LINES}")
    return b"".join(lines) + b"\r\n"


def _line(key: str, value: str) -> bytes:
    if not _KEY.fullmatch(key):
        raise LocalProtocolError(f"{key!r} is not a key of an AMI action")
    if any(forbidden in value for forbidden in "\r\n\0"):
        raise LocalProtocolError(f"the value of {key} contains a line break or NUL")
    try:
        line = f"{key}: {value}\r\n".encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"the value of {key} is not text") from None
    if len(line) > MAX_LINE_BYTES:
        raise LocalProtocolError(f"the value of {key} is too long for one line of AMI ({MAX_LINE_BYTES} bytes)")
    return line


def variable(name: str, value: str) -> str:
    """Return the value of a ``Variable`` key that sets a channel variable to ``value`` (outer blanks are lost).

    Raises `LocalProtocolError` for a name that is not a plain variable's: ``SHELL(…)`` would call a function.
    """
    if not VARIABLE_NAME.fullmatch(name):
        raise LocalProtocolError(f"{name!r} is not the name of a channel variable")
    return f"{name}={_SPLITS_VARIABLES.sub(lambda special: chr(92) + special[0], value)}"
