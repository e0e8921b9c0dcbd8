"""A leg without a network: the real playout, a clock moved by hand, and a note of all that happens.

It does what ``audiosocket.calls.leg.Leg`` does for its apps, in the same order: taps first, apps in turn, marks
with the frame that reaches them, nothing after the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from audiosocket.calls.async_hooks import AsyncHooks
from audiosocket.errors import ReturnTaken
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension, Role
from audiosocket.interfaces import (
    App,
    AppContext,
    AppFactory,
    CallerInfo,
    CallPolicy,
    HookResult,
    Leg,
    ReturnOutcome,
    SoundSource,
    Tap,
)
from audiosocket.media.playout import MAX_PASSED_MS, Playout
from audiosocket.media.playout_queue import Frame
from audiosocket.media.resample import StreamConverter
from audiosocket.media.sound_cache import SoundCache
from audiosocket.settings import Settings

CALL = UUID("0b1c2d3e-4f50-4162-8384-95a6b7c8d9e0")


class LegDouble:
    """Implements `interfaces.Leg`; the rest is for tests."""

    def __init__(self, clock: Clock, *apps: App, role: Role = Role.VISITOR, call_id: UUID = CALL) -> None:
        self.call_id = call_id
        self.role = role
        self.extension: Extension = DEFAULT_EXTENSION
        self.caller: CallerInfo | None = None
        #: What was written to the caller, with the time in milliseconds.
        self.sent: list[tuple[float, Frame]] = []
        #: What apps put into the timeline.
        self.notes: list[tuple[str, dict[str, Any]]] = []
        #: The call's outcome as an app named it.
        self.decided: str | None = None
        #: The outcome in case the call ends before one is decided.
        self.presumed: str | None = None
        #: What apps keep for after a restart.
        self.remembered: list[tuple[App, Any]] = []
        #: The numbers that apps had rung, a list for each return call.
        self.called_numbers: list[list[str]] = []
        #: A return call is under way.
        self.ringing = False
        #: What the next return call meets instead of being placed.
        self.call_error: Exception | None = None
        #: The apps that gave the leg up, to which others and why; these are not made here.
        self.handed_over: list[tuple[App, str, str]] = []
        #: The call has another leg; whether both legs' audio is passed on to each other.
        self.has_other = False
        self.connected = False
        #: Why the leg is over, None while it is not.
        self.outcome: str | None = None
        #: Whether an app asked for every frame to go back.
        self.looping = False
        #: What the API would show of the leg's app.
        self.figures: Mapping[str, object] = {}
        #: What hooks that are coroutines raised; of a plain hook it is raised where the test calls.
        self.failures: list[Failure] = []
        self._clock = clock
        self._apps = apps
        self._hooks: dict[App, AsyncHooks] = {}
        self._taps: list[Tap] = []
        self._playout = Playout(StreamConverter)

    # what apps see

    @property
    def rate(self) -> int:
        return self._playout.rate

    @property
    def now_ms(self) -> float:
        return self._clock.seconds() * 1000

    @property
    def queued_ms(self) -> int:
        return self._playout.queued_ms

    @property
    def dropped(self) -> int:
        """Passed frames that were not sent."""
        return self._playout.dropped

    @property
    def heard_ms(self) -> int:
        return self._playout.heard_ms

    @property
    def ahead_ms(self) -> float:
        return self._playout.ahead_ms(self.now_ms)

    def play(self, pcm: bytes, rate: int | None = None, *, live: bool = False) -> bool:
        taken = self._playout.play(pcm, rate or self.rate)
        if live:
            for frame in self._playout.take_live(self.now_ms):
                self._send(frame)
        return taken

    def pause(self, paused: bool) -> None:
        self._playout.pause(paused)

    def pass_on(self, pcm: bytes, rate: int, *, at_most_ms: float = MAX_PASSED_MS) -> None:
        if self._playout.pass_on(self.now_ms, pcm, rate, at_most_ms):
            self._send(Frame(rate, pcm, "passed"))

    def _loop_back(self) -> None:
        self.looping = True

    def mark(self, name: str) -> None:
        self._playout.mark(name)

    def clear(self) -> int:
        return self._playout.clear()

    def hand_over(self, app: App, to: str, reason: str) -> None:
        if self.outcome is not None or app not in self._apps:
            return
        self.clear()
        self.handed_over.append((app, to, reason))
        self._apps = tuple(one for one in self._apps if one is not app)

    def connect_other(self, connected: bool) -> bool:
        was, self.connected = self.connected, connected and self.has_other
        return self.connected if connected else was

    def hang_up(self) -> None:
        self.end("server_hangup")

    def note(self, event: str, /, **fields: Any) -> None:
        self.notes.append((event, fields))

    def decide(self, outcome: str) -> bool:
        if self.decided is not None:
            return False
        self.decided = outcome
        return True

    def presume(self, outcome: str) -> None:
        self.presumed = outcome

    def remember(self, app: App, state: Any) -> None:
        self.remembered.append((app, state))

    def show(self, figures: Mapping[str, object]) -> None:
        self.figures = figures

    def tap(self, listener: Tap) -> None:
        self._taps.append(listener)

    def call_resident(self, numbers: str | Sequence[str], *, wait: bool = False) -> None:
        if self.call_error is not None:
            raise self.call_error
        if self.ringing:
            raise ReturnTaken("one return call at a time")
        self.called_numbers.append([numbers] if isinstance(numbers, str) else list(numbers))
        self.ringing = True

    def cancel_resident(self) -> bool:
        was, self.ringing = self.ringing, False
        return was

    # what tests do

    def end_return_call(self, outcome: ReturnOutcome) -> None:
        """The return call is over."""
        self.ringing = False
        self._tell(lambda app: app.return_ended(self, outcome))

    def join(self) -> None:
        """The first connection is there."""
        self._playout.start(self.now_ms)
        self._tick()
        self._tell(lambda app: app.joined(self))

    def identify(self, caller: CallerInfo) -> None:
        """It is known who is calling."""
        self.caller = caller
        self._tell(lambda app: app.identified(self, caller))

    def resume(self) -> None:
        """The leg came back over a new connection."""
        self._playout.start(self.now_ms)
        self._tell(lambda app: app.resumed(self))

    def resume_after_restart(self, state: Any = None) -> None:
        """The leg came back after a restart of the server, to apps that are new."""
        self._playout.start(self.now_ms)
        self._tick()
        self._tell(lambda app: app.restored(self, state))
        self._tell(lambda app: app.resumed(self))

    def end_other_leg(self, outcome: str) -> None:
        """The other side, which a restart cut off, is over."""
        self._tell(lambda app: app.other_gone(self, outcome))

    def receive(self, pcm: bytes, rate: int = 8000) -> None:
        """A frame comes from the caller."""
        self._playout.set_rate(rate)
        for tap in self._taps:
            tap.received(self.now_ms, pcm, rate)
        self._tell(lambda app: app.audio(self, pcm, rate))

    def press(self, digit: str) -> None:
        """The caller presses a key."""
        self._tell(lambda app: app.digit(self, digit))

    def run(self, ms: float, hearing: Callable[[int], bytes] | None = None, rate: int = 8000) -> None:
        """Let time pass in turns of 20 ms, with the frame ``hearing(turn)`` arriving in each."""
        for turn in range(int(ms / 20)):
            self._clock.advance(0.02)
            if hearing is not None and self.outcome is None:
                self.receive(hearing(turn), rate)
            self._tick()

    def stall(self, ms: float) -> None:
        """Let time pass without a turn of the clock, then give it one."""
        self._clock.advance(ms / 1000)
        self._tick()

    def end(self, outcome: str = "caller_hangup") -> None:
        """End the leg."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self._playout.clear()
        self._taps.clear()
        for hooks in self._hooks.values():
            hooks.cancel()
        for app in self._apps:
            self._run(app, app.left(self, outcome))

    def sent_pcm(self, source: str = "spoken") -> bytes:
        """All audio sent so far that came from ``source``."""
        return b"".join(frame.pcm for _, frame in self.sent if frame.source == source)

    def sources(self) -> list[str]:
        """Where each frame sent so far came from."""
        return [frame.source for _, frame in self.sent]

    def _tell(self, what: Callable[[App], HookResult]) -> None:
        for app in self._apps:
            if self.outcome is None:
                self._run(app, what(app))

    def _run(self, app: App, result: HookResult) -> None:
        if result is not None:
            self._hooks.setdefault(app, AsyncHooks(self._failed)).add(result)

    def _failed(self, failure: Failure) -> None:
        """A coroutine raised: its leg ends, and the test can look at it."""
        self.failures.append(failure)
        self.end("app_failed")

    def _tick(self) -> None:
        if self.outcome is not None:
            return
        for item in self._playout.tick(self.now_ms):
            if self.outcome is not None:
                return
            if isinstance(item, Frame):
                self._send(item)
            else:
                reached = item
                self._tell(lambda app: app.marked(self, reached.name, reached.heard_ms))  # noqa: B023

    def _send(self, frame: Frame) -> None:
        self.sent.append((self.now_ms, frame))
        for tap in self._taps:
            tap.sent(self.now_ms, frame.pcm, frame.rate)


def leg_for(
    *factories: AppFactory,
    role: Role = Role.VISITOR,
    settings: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    policy: CallPolicy | None = None,
) -> LegDouble:
    """Return a leg that runs these apps, in order, and has joined them.

    ``settings`` are as in a ``.env``, ``parameters`` is the table of the first app that parses one. Raises
    `InvalidParameter` and whatever a factory raises.
    """
    clock = Clock()
    made = []
    for factory in factories:
        parse = getattr(factory, "parse_parameters", None)
        parsed = None if parse is None else parse(dict(parameters or {}), Path())
        context = replace(app_context(clock, settings), parameters=parsed, policy=policy or CallPolicy())
        app = factory(context)
        if not isinstance(app, App):
            raise TypeError(f"{factory!r} returned {app!r}, which is no App")
        made.append(app)
    leg = LegDouble(clock, *made, role=role)
    leg.join()
    return leg


def as_leg(leg: LegDouble) -> Leg:
    """Return the double as the type checker sees a leg: complete."""
    return leg


class ManualThread:
    """A worker thread without a thread: runs jobs in order, at once or, when held, on `run`."""

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.jobs: deque[tuple[Deferred[Any], Callable[[], Any]]] = deque()

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self.held and not self.jobs:
            return maybeDeferred(function, *args, **kwargs)
        waiting: Deferred[Any] = Deferred()
        self.jobs.append((waiting, lambda: function(*args, **kwargs)))
        return waiting

    def run(self, most: int = 1_000) -> int:
        """Do up to ``most`` of the jobs that wait; returns how many there were."""
        done = 0
        while self.jobs and done < most:
            waiting, job = self.jobs.popleft()
            try:
                result = job()
            except Exception:  # noqa: BLE001 - a real thread hands everything over, too
                waiting.errback(Failure())
            else:
                waiting.callback(result)
            done += 1
        return done


def app_context(
    clock: Clock,
    values: Mapping[str, str] | None = None,
    *,
    sounds: SoundSource | None = None,
    thread: ManualThread | None = None,
) -> AppContext:
    """What an app may use, with settings as in a ``.env``."""
    return AppContext(
        settings=Settings.parse(values or {}),
        sounds=sounds or SoundCache(ManualThread()),
        in_file_thread=thread or ManualThread(),
        call_later=clock.callLater,
    )
