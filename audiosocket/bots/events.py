"""What a voice bot says to its leg, in one vocabulary for all dialects.

A codec turns one WebSocket message into a list of these values; `session.BotSession` acts on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

#: A WebSocket message: text or binary.
Message: TypeAlias = "str | bytes"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio is carried: ``encoding`` is "pcmu", "pcma" or "slin", ``rate`` in Hz."""

    encoding: str
    rate: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The bot takes the caller's audio from now on, in this format."""

    format: AudioFormat


class Speech(NamedTuple):
    """Audio to be played; ``item`` names the utterance where the dialect does.

    A tuple, as there are 50 of them a second, and it is made in a third of the time.
    """

    payload: bytes
    format: AudioFormat
    item: str = ""


@dataclass(frozen=True, slots=True)
class MarkRequested:
    """Report when all audio before this has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Drop all queued audio. With ``marks_returned`` every pending mark is reported at once."""

    marks_returned: bool


@dataclass(frozen=True, slots=True)
class BargeIn:
    """The bot heard the caller begin to speak: stop playing and report how much was heard."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop playing and keep what waits, or go on."""

    paused: bool


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Report once when nothing is queued any more."""


@dataclass(frozen=True, slots=True)
class StatusRequested:
    """Report how much audio is queued."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the leg after what is queued has been heard."""


@dataclass(frozen=True, slots=True)
class CommandRequested:
    """The bot wants something done with its call; ``command_id`` goes into the answer."""

    command_id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said; ``speaker`` is "caller" or "bot"."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A message that the dialect wants sent back, after what came before it was acted on."""

    message: Message


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that means nothing here; counted, the first one logged."""

    reason: str


BotEvent: TypeAlias = (
    "Ready | Speech | MarkRequested | Clear | BargeIn | Pause | DrainRequested | StatusRequested | HangUp | "
    "CommandRequested | Transcript | Reply | Ignored"
)


class Dialect(Protocol):
    """One connection's side of a dialect, sans-I/O. Audio is encoded as the last `Ready` said."""

    #: Whether `pressure` has anything to say.
    has_flow_control: bool

    def opening(self) -> list[Message]:
        """The messages that begin the conversation, in one piece."""

    def ready(self) -> Ready | None:
        """What holds directly after `opening`; None when the bot has to answer first."""

    def receive(self, message: Message) -> list[BotEvent]:
        """What one message of the bot means; never raises."""

    def audio(self, payload: bytes) -> Message:
        """A piece of the caller's audio."""

    def digit(self, digit: str) -> list[Message]:
        """The caller pressed a key."""

    def mark_played(self, name: str) -> list[Message]:
        """All audio before a mark has been played, or dropped by a `Clear` that returns marks."""

    def truncated(self, item: str, heard_ms: int) -> list[Message]:
        """Only ``heard_ms`` milliseconds of an utterance were heard before it was dropped."""

    def drained(self) -> list[Message]:
        """Nothing is queued any more, as `DrainRequested` asked."""

    def status(self, queued_ms: int, paused: bool) -> list[Message]:
        """The answer to `StatusRequested`."""

    def pressure(self, queued_ms: int) -> list[Message]:
        """Flow control: called when the amount of queued audio has changed."""

    def result(self, command_id: str, error: str, values: Mapping[str, Any]) -> list[Message]:
        """The answer to a `CommandRequested`; ``error`` is empty when it was carried out."""

    def closing(self) -> list[Message]:
        """The messages before our close 1000."""


#: Makes the codec of one connection; the argument is 0 for the first one of a leg, then counts up.
MakeDialect: TypeAlias = Callable[[int], Dialect]
