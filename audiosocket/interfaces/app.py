"""An app, the behaviour of a call, and its legs as it sees them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from twisted.internet.defer import Deferred

from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces.context import AppContext
from audiosocket.interfaces.values import CallerInfo, ReturnOutcome

#: What a hook returns: nothing, the coroutine of an ``async def``, or a Deferred.
HookResult: TypeAlias = Coroutine[Any, Any, None] | Deferred[Any] | None


class Tap(Protocol):
    """Receives both directions of a leg, for recordings. ``now_ms`` is steady time in milliseconds."""

    def received(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """Take a frame that came from the caller."""

    def sent(self, now_ms: float, pcm: bytes, rate: int) -> None:
        """Take a frame that was sent to the caller, silence included."""


class Leg(Protocol):
    """One side of a call, as apps see it. All audio is signed 16-bit little-endian mono."""

    @property
    def call_id(self) -> UUID:
        """The UUID of the call."""

    @property
    def role(self) -> Role:
        """Visitor or resident."""

    @property
    def extension(self) -> Extension:
        """The extension that the call arrived on, as it was then."""

    @property
    def caller(self) -> CallerInfo | None:
        """The telephone; None until `App.identified`."""

    @property
    def rate(self) -> int:
        """Samples per second of the caller's frames; 8000 until the first one."""

    @property
    def now_ms(self) -> float:
        """Steady time in milliseconds, as in `Tap`."""

    @property
    def queued_ms(self) -> int:
        """Milliseconds of audio queued."""

    @property
    def heard_ms(self) -> int:
        """Milliseconds of played audio sent to the caller, without silence."""

    @property
    def ahead_ms(self) -> float:
        """Milliseconds of audio sent ahead of real time: at most 45 for live audio."""

    def play(self, pcm: bytes, rate: int | None = None, *, live: bool = False) -> bool:
        """Append audio of any length; another ``rate`` than the leg's is converted.

        With ``live`` (audio that is being generated now) the first frames are sent at once instead of at their
        tick, if nothing is queued before them. Return false, and append nothing, when 15 minutes are queued
        already.
        """

    def pause(self, paused: bool) -> None:
        """Send silence and keep the audio queued, or continue."""

    def pass_on(self, pcm: bytes, rate: int, *, at_most_ms: float = 2_000) -> None:
        """Send one frame unchanged, at once if that is not ahead of real time; it is dropped while audio is
        queued.

        A frame that cannot be sent at once waits; beyond ``at_most_ms`` milliseconds the oldest is dropped. An
        empty frame is ignored. Raises `LocalProtocolError` for a rate or length that AudioSocket cannot carry.
        """

    def mark(self, name: str) -> None:
        """Call `App.marked` when everything appended so far has been sent."""

    def clear(self) -> int:
        """Drop all queued audio (barge-in), to be silent within 40 ms; return the milliseconds dropped."""

    def hand_over(self, app: App, to: str, reason: str) -> None:
        """Replace ``app`` on this leg by the apps named in ``to``, from now on and after a restart.

        Queued audio is dropped. No method of ``app`` is called any more; `App.joined` of the others is. An app
        that has handed over this leg before does not get it back: the leg is then hung up. ``reason`` is written
        into the event.
        """

    def connect_other(self, connected: bool) -> bool:
        """Pass each leg's audio on to the other leg of the call, or stop; return false when there is no other leg.

        The apps continue: what they play is sent instead of the audio of the other side.
        """

    def hang_up(self) -> None:
        """End this leg now with a hangup frame; to finish the audio first, hang up in `App.marked`."""

    def note(self, event: str, /, **fields: Any) -> None:
        """Write an event of ``calls.events.EVENTS`` into the call's timeline."""

    def decide(self, outcome: str) -> bool:
        """Set the call's outcome; return false when it has one already."""

    def presume(self, outcome: str) -> None:
        """Name the call's outcome in case the call ends before `decide`; until then it may be named anew."""

    def remember(self, app: App, state: Any) -> None:
        """Keep ``state`` for `App.restored`, in case the server restarts during the call.

        It replaces the earlier state of ``app``. It may be called for every change of a conversation's state,
        but is too expensive for every frame. Raises TypeError or ValueError for what JSON cannot represent, or
        more than 16,384 characters of it.
        """

    def show(self, figures: Mapping[str, object]) -> None:
        """Show these figures of an app under ``app`` of this leg in the API, in place of those before."""

    def tap(self, listener: Tap) -> None:
        """Pass both directions to ``listener`` until the leg ends."""

    def call_resident(self, numbers: str | Sequence[str], *, wait: bool = False) -> None:
        """Ring these numbers, one after the other, and let the resident who answers join this call.

        Returns at once; `App.return_ended` reports the outcome. The resident's leg runs the apps of
        ``RESIDENT_APP``. With ``wait`` no backend is needed: where none is configured nobody is rung, and whoever
        brings the resident's leg within the ring time of a number is let in. Raises `InvalidNumber`, `ReturnTaken`
        (a return call is in progress, or the resident has joined) and `ReturnUnavailable` (no backend is
        configured); an app that does not catch them ends its call.
        """

    def cancel_resident(self) -> bool:
        """Stop the return call; return false when there is none."""


class App:
    """The behaviour of a call; one instance per call and app name, for one leg or both.

    Every method does nothing unless overridden, by a plain function or a coroutine (``async def``). The coroutines
    of an app run one after another on each leg, plain functions at once; `left` cancels those still running. None
    may block: an app that waits for a disk, a name server or a model does so in a Deferred or a thread. An app
    that raises ends its own call only.
    """

    #: True for an app that passes one leg's frames on to another: both are read as soon as data arrives. Other
    #: legs are read on the clock's ticks, at most 5 ms late and at half the cost, until they pass on a frame.
    passes_on = False

    def __init__(self, context: AppContext | None = None) -> None:
        #: What the server provides; None only for an app that is made by hand, as in a test.
        self.context = context

    def joined(self, leg: Leg) -> HookResult:
        """Handle a new leg of the call; audio may be played at once."""

    def resumed(self, leg: Leg) -> HookResult:
        """Handle a leg that resumes on a new connection; its queued audio continues."""

    def restored(self, leg: Leg, state: Any) -> HookResult:
        """Handle a leg that resumes after a restart of the server, in a new app; `resumed` follows.

        ``state`` is what the previous app gave to `Leg.remember`, or None. Queued audio is lost. Calls `joined`
        unless overridden.
        """
        return self.joined(leg)

    def handed_over(self, leg: Leg) -> Any:
        """Return what this app needs in the next process, at an upgrade during the call; as for `Leg.remember`.

        The call goes on there without a break: connection, queued audio and marks are taken along, and
        `taken_over` of the new app gets what this returns. None, which is returned unless overridden, says that
        this app cannot go on like that: then the queued audio of the leg is dropped, and `restored` and `resumed`
        of all its apps are called, as after a restart. The upgrade may still fail, and this app go on.
        """
        return None

    def taken_over(self, leg: Leg, state: Any) -> HookResult:
        """Handle a leg of the previous process whose queued audio goes on; ``state`` is that of `handed_over`.

        Nothing of what is queued may be played again. Calls `joined` unless overridden.
        """
        return self.joined(leg)

    def other_gone(self, leg: Leg, outcome: str) -> HookResult:
        """Handle the loss of the other leg of the call, which had joined before a restart of the server.

        This app may never have seen that ``leg``; ``outcome`` is as in `left`: "lost" when it did not resume.
        Called when that is certain, after `restored` and `resumed` of the leg that has resumed, unless the next
        resident is being rung.
        """

    def identified(self, leg: Leg, caller: CallerInfo) -> HookResult:
        """Handle the identification of the caller, from now on also in ``leg.caller``; called after `joined`, and
        again when a transfer puts another telephone in the caller's place.

        Usually it follows at once; if AMI has to be queried, it takes a second or two. It is never called
        without ``AMI_HOST``, nor for a telephone of another Asterisk. It is called again when the leg joins
        again and after a restart.
        """

    def audio(self, leg: Leg, pcm: bytes, rate: int) -> HookResult:
        """Handle a frame from the caller, usually 20 ms, never empty, possibly of odd length."""

    def digit(self, leg: Leg, digit: str) -> HookResult:
        """Handle a DTMF digit, one of ``0-9 * # A-D``."""

    def marked(self, leg: Leg, name: str, heard_ms: int) -> HookResult:
        """Handle a mark whose audio has been sent; ``heard_ms`` counts played audio since the leg began."""

    def return_ended(self, leg: Leg, outcome: ReturnOutcome) -> HookResult:
        """Handle the end of a return call for this visitor's ``leg``, placed by an app or through the API.

        When it is connected, `joined` has already been called in the apps of the resident's leg. It is not called
        for a visitor who has left.
        """

    def left(self, leg: Leg, outcome: str) -> HookResult:
        """Handle the end of the leg; ``outcome`` is a value of `calls.outcomes.LegOutcome`."""


AppFactory = Callable[[AppContext], App]
