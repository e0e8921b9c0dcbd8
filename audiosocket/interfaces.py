"""What the parts may know of each other: the leg an app plays on, the app itself, and `Control`.

A voice bot is a subclass of `App`. It never sees a socket, a frame boundary or a clock::

    class Parrot(App):
        def audio(self, leg, pcm, rate):
            leg.play(pcm, rate)

Register it under the entry-point group ``audiosocket.apps`` and name it in ``VISITOR_APP``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from audiosocket.extensions.model import Extension, Role
from audiosocket.json_shapes import CallerJSON
from audiosocket.settings import Settings


class Tap(Protocol):
    """Hears both directions of a leg, for recordings. ``now_ms`` is steady time in milliseconds."""

    def heard(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """A frame came from the caller."""

    def said(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """A frame was written to the caller, silence included."""


@dataclass(frozen=True)
class CallerInfo:
    """The telephone behind a leg, in Asterisk's words; a text is empty where Asterisk does not know it.

    ``channel`` is the name of its channel and ``channel_id`` the Uniqueid, ``number`` and ``name`` are the caller
    id, ``dialled`` is what was dialled. Whoever calls may be free to choose the caller id: it proves nothing. Of a
    resident who was rung, ``channel`` is the telephone, and the caller id is the one that it was shown.
    """

    channel: str
    channel_id: str
    number: str
    name: str
    dialled: str

    def to_json(self) -> CallerJSON:
        """As shown by the API."""
        return {"channel": self.channel, "number": self.number, "name": self.name, "dialled": self.dialled}


@dataclass(frozen=True)
class ReturnAttempt:
    """One number that was rung; ``end`` is a value of ``originate.AttemptEnd``, ``reason`` is for people.

    After a restart of the server ``number`` is whole, too; it stays out of ``repr``, as logs are read by many.
    """

    number: str = field(repr=False)
    end: str
    reason: str = ""


@dataclass(frozen=True)
class ReturnOutcome:
    """How a return call ended: ``state`` is "connected" (the resident's leg is there), "failed" or "cancelled"."""

    state: str
    reason: str = ""
    attempts: tuple[ReturnAttempt, ...] = ()


class Leg(Protocol):
    """One side of a call as apps see it. All audio is signed 16-bit little-endian mono."""

    @property
    def call_id(self) -> UUID:
        """The call's UUID."""

    @property
    def role(self) -> Role:
        """Visitor or resident."""

    @property
    def extension(self) -> Extension:
        """The extension the call arrived on, as it was then."""

    @property
    def caller(self) -> CallerInfo | None:
        """Who is calling; None until `App.identified`."""

    @property
    def rate(self) -> int:
        """Samples per second of the caller's frames; 8000 until the first one."""

    @property
    def now_ms(self) -> float:
        """Steady time in milliseconds, the clock of `Tap` and timelines."""

    @property
    def queued_ms(self) -> int:
        """Milliseconds of audio that wait to be spoken."""

    @property
    def heard_ms(self) -> int:
        """Milliseconds of played audio the caller has been sent, silence not counted."""

    @property
    def ahead_ms(self) -> float:
        """Milliseconds of audio that were sent before their time: 40 for live audio at most."""

    def play(self, pcm: bytes, rate: int | None = None, *, live: bool = False) -> bool:
        """Append audio of any length; another ``rate`` than the leg's is converted.

        ``live`` audio is being made now: where nothing waits before it, its first frames leave at once and not at
        their tick. False when 15 minutes wait already and nothing was appended.
        """

    def pause(self, paused: bool) -> None:
        """Keep queued audio back and send silence instead, or go on."""

    def pass_on(self, pcm: bytes, rate: int, *, at_most_ms: float = 2_000) -> None:
        """Send one frame on as it is, at once if that is not ahead of real time; dropped while speaking.

        What cannot leave at once waits its turn; beyond ``at_most_ms`` milliseconds the oldest is dropped.
        Raises `LocalProtocolError` for a rate or length AudioSocket cannot carry; nothing is sent of nothing.
        """

    def mark(self, name: str) -> None:
        """Call `App.marked` when everything appended so far has been sent."""

    def clear(self) -> int:
        """Stop speaking within 40 ms (barge-in); returns the milliseconds thrown away."""

    def hand_over(self, app: App, to: str, reason: str) -> None:
        """Let the apps named in ``to`` take the place of ``app`` on this leg, from now on and after a restart.

        What is queued is dropped. ``app`` is told nothing more; the others `joined`. An app that handed this leg
        over before does not get it back: the leg is then hung up. ``reason`` goes into the event.
        """

    def connect_other(self, connected: bool) -> bool:
        """Pass each leg's audio on to the other leg of the call, or stop; false when there is no other leg.

        The apps go on: what they play is heard instead of the other side.
        """

    def hang_up(self) -> None:
        """End this leg now with a hangup frame; play, mark and hang up in `App.marked` to finish a sentence."""

    def note(self, event: str, /, **fields: Any) -> None:
        """Write an event of ``events.EVENTS`` into the call's timeline."""

    def decide(self, outcome: str) -> bool:
        """Name the call's outcome; false when it has one already."""

    def remember(self, app: App, state: Any) -> None:
        """Keep ``state`` for `App.restored`, should the server be restarted while this leg is up.

        Replaces what ``app`` remembered before. Cheap enough for every change of a conversation's state, not
        for every frame. Raises TypeError or ValueError for what JSON cannot carry or more than 16,384 characters.
        """

    def tap(self, listener: Tap) -> None:
        """Let ``listener`` hear both directions until the leg is over."""

    def call_resident(self, numbers: str | Sequence[str]) -> None:
        """Ring a resident, these numbers one after the other, and let the one who answers join this call.

        Returns at once; `App.return_ended` says how it went. The resident's leg runs the apps of
        ``RESIDENT_APP``. Raises `InvalidNumber`, `ReturnTaken` (a return call is under way, or the resident is
        there) and `ReturnUnavailable` (no backend is configured); an app that does not catch them ends its call.
        """

    def cancel_resident(self) -> bool:
        """Stop the ringing; false when nobody is being rung."""


#: What a hook returns: nothing, or the coroutine of an ``async def``.
HookResult: TypeAlias = Coroutine[Any, Any, None] | None


class App:
    """What a call does with its audio; one instance per call and app name, serving one leg or both.

    Every method is a no-op to override, a plain function or a coroutine (``async def``). The coroutines of an app
    run one after another on each leg, plain functions at once; `left` cancels what still runs. None may block:
    an app that waits for a disk, a name server or a model does so in a Deferred or a thread. An app that raises
    ends its own call only.
    """

    #: True for an app that passes one leg's frames on to another: both are read the moment something comes. Other
    #: legs are read in the clock's beats, at most 5 ms late and at half the price, until they pass a frame back.
    passes_on = False

    def __init__(self, context: AppContext | None = None) -> None:
        #: What the server offers; None only where an app is made by hand, as in a test.
        self.context = context

    def joined(self, leg: Leg) -> HookResult:
        """A leg of the call was accepted; it may play at once."""

    def resumed(self, leg: Leg) -> HookResult:
        """The same leg came back over a new connection; what was queued goes on."""

    def restored(self, leg: Leg, state: Any) -> HookResult:
        """The leg came back after a restart of the server, to an app that is new; `resumed` follows.

        ``state`` is what the app of old gave `Leg.remember`, or None. What was queued is lost. Unless
        overridden, the leg joins again.
        """
        return self.joined(leg)

    def other_gone(self, leg: Leg, outcome: str) -> HookResult:
        """The other side of the call, which was there before a restart of the server, is not any more.

        Its ``leg`` may never have been seen by this app; ``outcome`` is what `left` is told: "lost" when it
        did not come back. Called when that is certain, after `restored` and `resumed` of the leg that is back,
        unless the next resident is being rung.
        """

    def identified(self, leg: Leg, caller: CallerInfo) -> HookResult:
        """It is known who is on this leg, from here on also as ``leg.caller``; called once, after `joined`.

        Usually in the same moment; where AMI has to be asked it takes a second or two. Never without ``AMI_HOST``,
        nor for a telephone of another Asterisk. Called anew when the leg joins again or after a restart.
        """

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> HookResult:
        """A frame from the caller, usually 20 ms, never empty, possibly of odd length."""

    def digit(self, leg: Leg, digit: str) -> HookResult:
        """The caller pressed one of ``0-9 * # A-D``."""

    def marked(self, leg: Leg, name: str, heard_ms: int) -> HookResult:
        """The audio before a mark has been sent; ``heard_ms`` counts played audio since the leg began."""

    def return_ended(self, leg: Leg, outcome: ReturnOutcome) -> HookResult:
        """A return call that was placed for this visitor's ``leg``, by an app or through the API, has ended.

        When it is connected, the resident's leg has already `joined` its own apps. A visitor who has left is
        told nothing.
        """

    def left(self, leg: Leg, outcome: str) -> HookResult:
        """The leg is over; ``outcome`` is a value of ``calls.Ending``. Nothing can be played any more."""


class SoundSource(Protocol):
    """Sounds, read and converted off the reactor and shared by all calls."""

    def get(self, path: Path, rate: int) -> Awaitable[bytes]:
        """The sound as 16-bit mono at ``rate``; raises `InvalidSound`."""


@dataclass(frozen=True)
class CallPolicy:
    """What ``apps.toml`` decides for the calls of an extension, whichever apps run."""

    #: Record the legs, and write down what a bot's dialect reports as said.
    record: bool = False
    transcript: bool = False
    #: Days after which recordings and transcripts are removed.
    retention_days: int = 30
    #: A bot may set the outcome ``authorised`` by itself.
    bot_may_authorise: bool = False
    #: The dialplan context into which a bot may transfer its caller; empty: it may not.
    transfer_context: str = ""


@dataclass(frozen=True)
class AppContext:
    """What an app may use; handed to its factory, once per call."""

    settings: Settings
    sounds: SoundSource
    #: Runs a blocking function in the one file-writing thread; results come back in the reactor.
    in_file_thread: Callable[..., Awaitable[Any]]
    #: Calls back after seconds; returns an object with ``cancel()``.
    call_later: Callable[..., Any]
    #: What the app's ``parse_parameters`` made of its table in ``apps.toml``; None without that function.
    parameters: Any = None
    policy: CallPolicy = field(default_factory=CallPolicy)
    #: The apps of each role's legs, in order.
    chains: Mapping[Role, Sequence[str]] = field(default_factory=dict)


AppFactory = Callable[[AppContext], App]
