"""What the door-keeper's conversation is made of: stages, the events that go in, the actions that come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from audiosocket.extensions.model import Role

#: Items of `Say` that are no prompt: the tone after which a name is recorded, and the recording.
TONE, NAME = "@tone", "@name"


class Stage(str, Enum):
    """Where a visit stands."""

    NEW = "new"  #: the visitor's leg is not there yet, or not back after a restart
    NAME = "name"  #: the visitor is asked for a name
    RECORDING = "recording"  #: the visitor says it
    APARTMENT = "apartment"  #: the visitor types the apartment
    BLOCK = "block"  #: the visitor types the block
    CALLING = "calling"  #: the next number is announced; nobody is rung yet, and nobody may join
    RINGING = "ringing"  #: a number is rung
    MENU = "menu"  #: the resident hears who it is and chooses
    TALKING = "talking"  #: resident and visitor talk
    OPENING = "opening"  #: the resident has authorised, the gate has not answered
    TELLING = "telling"  #: it is decided, both are told
    OVER = "over"


class Outcome(str, Enum):
    """How a visit ends; a visitor who hangs up before that leaves the call's outcome to the leg."""

    AUTHORISED = "authorised"  #: the resident pressed 1 and the gate confirmed
    DENIED = "denied"
    NO_ANSWER = "no_answer"
    NO_CHOICE = "no_choice"
    UNKNOWN_APARTMENT = "unknown_apartment"
    FAILED = "failed"  #: nobody could be rung, or the gate did not confirm


# events


@dataclass(frozen=True)
class Joined:
    """A leg has joined; ``back``: it was there before a restart of the server."""

    role: Role
    back: bool = False


@dataclass(frozen=True)
class Left:
    """A leg is over; ``broken``: its connection broke, and it may be back within seconds."""

    role: Role
    broken: bool = False


@dataclass(frozen=True)
class Key:
    """A key was pressed on a leg."""

    role: Role
    digit: str


@dataclass(frozen=True)
class Began:
    """The first sound of the `Say` with this token is on its way."""

    role: Role
    token: int


@dataclass(frozen=True)
class Said:
    """All of the `Say` with this token has been sent, but for what repeats."""

    role: Role
    token: int


@dataclass(frozen=True)
class SpeechStarted:
    """The visitor, who is being recorded, speaks."""


@dataclass(frozen=True)
class SpeechEnded:
    """The visitor has said something and has been quiet for long enough."""


@dataclass(frozen=True)
class Found:
    """The answer to `LookUp`: the numbers to ring; several blocks have the apartment; neither: unknown."""

    numbers: tuple[str, ...] = ()
    blocks: bool = False


@dataclass(frozen=True)
class RingEnded:
    """Ringing ``number`` has ended without a leg; ``rang`` is false when it could not even be rung."""

    number: str
    rang: bool


@dataclass(frozen=True)
class GateAnswered:
    """What came of `Open`."""

    opened: bool


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event: TypeAlias = (
    Joined | Left | Key | Began | Said | SpeechStarted | SpeechEnded | Found | RingEnded | GateAnswered | Tick
)

# actions


@dataclass(frozen=True)
class Say:
    """Stop what the leg hears and play these prompts; then, with ``hold``, ring-back until the next `Say`.

    Without prompts and ``hold`` it only stops. ``token`` comes back in `Began` and `Said`.
    """

    role: Role
    prompts: tuple[str, ...]
    token: int
    hold: bool = False


@dataclass(frozen=True)
class Record:
    """Record the visitor from now on, and say when speech starts and ends."""


@dataclass(frozen=True)
class StopRecording:
    """Keep what was recorded."""


@dataclass(frozen=True)
class LookUp:
    """Look up the numbers of an apartment; `Found` follows."""

    apartment: str
    block: str


@dataclass(frozen=True)
class Ring:
    """Ring this number."""

    number: str


@dataclass(frozen=True)
class StopRinging:
    """Stop what rings."""


@dataclass(frozen=True)
class Connect:
    """From now on both hear each other, or no longer (``on`` false)."""

    on: bool


@dataclass(frozen=True)
class Open:
    """Open the gate, once in a visit however often it is asked; `GateAnswered` follows."""

    apartment: str
    block: str
    number: str
    concierge: bool
    key: str


@dataclass(frozen=True)
class Presume:
    """The call's outcome, should it end before `Decide`."""

    outcome: Outcome


@dataclass(frozen=True)
class Decide:
    """The call's outcome."""

    outcome: Outcome


@dataclass(frozen=True)
class HangUp:
    """End this leg."""

    role: Role


@dataclass(frozen=True)
class Note:
    """Something for the call's timeline."""

    what: str


Action: TypeAlias = (
    Say | Record | StopRecording | LookUp | Ring | StopRinging | Connect | Open | Presume | Decide | HangUp | Note
)
