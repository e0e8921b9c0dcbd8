"""What the server does for apps: sounds, files, the gate, apartments, Asterisk's manager interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred

from audiosocket.extensions.model import Extension

T = TypeVar("T")


class SoundSource(Protocol):
    """Sounds that are read and converted in a thread, and shared by all calls."""

    def get(self, path: Path, rate: int) -> Awaitable[bytes]:
        """Return the sound as 16-bit mono at ``rate``; raises `InvalidSound`."""


class InFileThread(Protocol):
    """Runs a blocking function in the one thread that writes files; the result arrives in the reactor's thread."""

    def __call__(self, function: Callable[..., T], /, *arguments: Any) -> Awaitable[T]:
        """Return what ``function`` returns, or fail with what it raises."""


class Telephony(Protocol):
    """What Asterisk's manager interface does with a caller's channel; each fails with `TelephonyUnavailable`."""

    def redirect(self, channel: str, context: str, exten: str) -> Deferred[None]:
        """Send a channel to an extension of the dialplan."""

    def play_digits(self, channel: str, digits: str) -> Deferred[None]:
        """Play DTMF on a channel, one digit after the other."""


@dataclass(frozen=True)
class Authorisation:
    """A resident's decision to let a visitor in.

    ``visit`` tells visits with the same UUID apart, ``number`` is the one that answered, ``channel`` the visitor's
    where AMI has told it.
    """

    call_id: UUID
    visit: str
    extension: Extension
    apartment: str
    block: str
    number: str
    concierge: bool
    key: str
    channel: str = ""


@dataclass(frozen=True)
class GateAnswer:
    """What the gate answered; ``reason`` is for people and empty when it opened."""

    opened: bool
    reason: str = ""


class Gate(Protocol):
    """What opens the gate: once for each visit, also over restarts."""

    def open(self, authorisation: Authorisation) -> Awaitable[GateAnswer]:
        """Open it, unless that has been done for this visit; the answer is the same whoever asks again."""


@dataclass(frozen=True)
class ApartmentMatch:
    """The numbers of an apartment, in order; none and ``ask_block``: several blocks have it."""

    numbers: tuple[str, ...] = ()
    ask_block: bool = False


class Apartments(Protocol):
    """The directory of apartments."""

    def find(self, condominium_id: int, apartment: str, block: str = "") -> ApartmentMatch:
        """Return the apartment as typed on a telephone; never one of another condominium."""
