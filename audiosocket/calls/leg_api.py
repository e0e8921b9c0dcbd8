"""The side of a leg that apps see: what they can ask of it and have it do.

What happens to a leg by itself, on the wire, in the clock's turns and in the books, is in ``legs.py``.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol
from uuid import UUID

from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.errors import ReturnTaken, ReturnUnavailable
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import App, CallerInfo, Tap
from audiosocket.media.playout import MAX_PASSED_MS, Playout
from audiosocket.transport.clock import MediaClock
from audiosocket.wire import audio_header

#: What an app may keep for after a restart, as JSON, in characters.
STATE_MOST = 16_384


class Connection(Protocol):
    """What a leg needs of the wire: `protocol.AudioSocketProtocol`."""

    def send_frames(self, frames: bytes) -> bool:
        """Write whole frames, headers and all, in one piece; false when the peer takes nothing more."""

    def finish(self) -> None:
        """Say goodbye as Asterisk wants it."""

    def read_on_tick(self, on_tick: bool) -> None:
        """Read on the ticks of the clock, or as soon as something has arrived."""


class Residents(Protocol):
    """Who rings residents: `returncall.ReturnCalls`."""

    def place(self, call: Call, numbers: Sequence[str]) -> None:
        """Ring these numbers in their order."""

    def cancel(self, call: Call) -> None:
        """Stop the ringing; raises `ReturnTaken` when there is none."""


class LegBase(ABC):
    """Implements `interfaces.Leg`; `legs.Leg` completes it."""

    __slots__ = (
        "_apps",
        "_clears",
        "_clock",
        "_connection",
        "_looping",
        "_on_tick",
        "_playout",
        "_residents",
        "_seconds",
        "_taps",
        "call",
        "due_ms",
        "record",
    )
    _log = Logger()

    def __init__(
        self,
        call: Call,
        record: LegState,
        apps: Sequence[tuple[str, App]],
        playout: Playout,
        clock: MediaClock,
        residents: Residents | None,
    ) -> None:
        self.call = call
        self.record = record
        self._apps = apps
        self._playout = playout
        self._clock = clock
        self._seconds = clock.seconds
        self._residents = residents
        self._connection: Connection | None = None
        self._taps: tuple[Tap, ...] = ()
        #: How often the queue was cleared.
        self._clears = 0
        #: Whether frames go back as they come, without the clock.
        self._looping = False
        #: Whether the connection is read on the clock's ticks: until the first frame is passed on.
        self._on_tick = False
        #: `transport.clock.ClockMember`: no turn is wanted before this.
        self.due_ms = -inf

    def __repr__(self) -> str:
        return f"<{self.role.value} leg of {self.call_id}>"

    @property
    def call_id(self) -> UUID:
        return self.call.call_id

    @property
    def role(self) -> Role:
        return self.record.role

    @property
    def extension(self) -> Extension:
        return self.call.extension

    @property
    def caller(self) -> CallerInfo | None:
        return self.record.caller

    @property
    def rate(self) -> int:
        return self._playout.rate

    @property
    def now_ms(self) -> float:
        return self._clock.now_ms()

    @property
    def queued_ms(self) -> int:
        return self._playout.queued_ms

    @property
    def heard_ms(self) -> int:
        return self._playout.heard_ms

    @property
    def ahead_ms(self) -> float:
        return self._playout.ahead_ms(self._clock.now_ms())

    def play(self, pcm: bytes, rate: int | None = None, *, live: bool = False) -> bool:
        taken = self._playout.play(pcm, rate or self._playout.rate)
        if live:
            self._send_live()
        return taken

    def _send_live(self) -> None:
        """Write the frames that may leave before their tick."""
        now = self._seconds() * 1000
        for rate, pcm, _ in self._playout.take_live(now):
            connection = self._connection
            if connection is not None and connection.send_frames(audio_header(rate, len(pcm)) + pcm):
                self._said(now, pcm, rate)
        self.due_ms = self._playout.due_ms

    def pause(self, paused: bool) -> None:
        self._playout.pause(paused)

    def pass_on(self, pcm: bytes, rate: int, *, at_most_ms: float = MAX_PASSED_MS) -> None:
        if not pcm:
            return
        header = audio_header(rate, len(pcm))  # fails here, in its app, and not when its turn has come
        if self._on_tick and not self._playout.speaking:
            self._read_on_tick(False)
        now = self._seconds() * 1000
        if self._playout.pass_on(now, pcm, rate, at_most_ms):
            connection = self._connection
            if connection is not None and connection.send_frames(header + pcm):
                self._said(now, pcm, rate)
        self.due_ms = self._playout.due_ms

    def _loop_back(self) -> None:
        """Return every frame as it comes, without clock or limit: for the benchmark app ``loopback`` only."""
        self._looping = True
        if self._on_tick:
            self._read_on_tick(False)
        self._clock.discard(self)

    def mark(self, name: str) -> None:
        self._playout.mark(name)
        self.due_ms = -inf

    def clear(self) -> int:
        self._clears += 1
        return self._playout.clear()

    def hang_up(self) -> None:
        self.end(LegOutcome.SERVER_HANGUP)

    def note(self, event: str, /, **fields: Any) -> None:
        self.call.note(event, self._clock.now_ms() / 1000, **{**fields, "role": self.role.value})

    def decide(self, outcome: str) -> bool:
        return self.call.decide(outcome)

    def remember(self, app: App, state: Any) -> None:
        name = next((name for name, known in self._apps if known is app), None)
        if name is None:
            raise ValueError(f"{app!r} is no app of this leg")
        text = json.dumps(state)
        if len(text) > STATE_MOST:
            raise ValueError(f"a state of {len(text)} characters is more than {STATE_MOST}")
        self.call.remember(self.role, name, json.loads(text))

    def tap(self, listener: Tap) -> None:
        self._taps += (listener,)

    def call_resident(self, numbers: str | Sequence[str]) -> None:
        if self._residents is None:
            raise ReturnUnavailable("this server places no return calls")
        self._residents.place(self.call, [numbers] if isinstance(numbers, str) else numbers)

    def cancel_resident(self) -> bool:
        if self._residents is None:
            return False
        try:
            self._residents.cancel(self.call)
        except ReturnTaken:
            return False
        return True

    # beneath it

    @abstractmethod
    def end(self, ending: LegOutcome) -> None:
        """The leg is over, for this first reason."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Send what is due at ``now`` (milliseconds)."""

    @abstractmethod
    def _app_failed(self, name: str, failure: Failure | None = None) -> None:
        """An app raised: that ends its call."""

    def _read_on_tick(self, on_tick: bool) -> None:
        self._on_tick = on_tick
        if self._connection is not None:
            self._connection.read_on_tick(on_tick)

    def _said(self, now: float, pcm: bytes, rate: int) -> None:
        self.record.frames_out += 1
        if self._taps:
            for tap in self._taps:
                self._call(type(tap).__name__, tap.sent, now, pcm, rate)

    def _call(self, name: str, method: Callable[..., Any], *arguments: object) -> None:
        try:
            result = method(*arguments)
            if result is not None:
                self._run_hook(name, result)
        except Exception:  # noqa: BLE001 - an app's fault costs its own call
            self._app_failed(name)

    @abstractmethod
    def _run_hook(self, name: str, result: object) -> None:
        """Run a coroutine that a hook returned."""
