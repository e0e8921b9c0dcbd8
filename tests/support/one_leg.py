"""One leg in memory: its call, clock, connection and owner, without a server around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.task import Clock as Time

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.events import EventLog, Record
from audiosocket.calls.leg import Leg
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.interfaces import App
from audiosocket.interfaces import Leg as LegForApps
from audiosocket.media.resample import StreamConverter
from audiosocket.transport.clock import MediaClock
from audiosocket.transport.ticker import TICK_MS, TimerTicker
from audiosocket.wire import Audio, Event, Parser
from tests.support.in_memory import CALL, START

SILENCE = bytes(320)
VOICE = b"\x21\x43" * 160
STEP_MS = 20


class FakeConnection:
    """A connection that reads everything unless it is full."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.finished = 0
        self.full = False
        #: Each choice between the clock's ticks and immediately.
        self.on_tick: list[bool] = []

    def read_on_tick(self, on_tick: bool) -> None:
        self.on_tick.append(on_tick)

    def send_frames(self, frames: bytes) -> bool:
        assert not self.finished, "audio after the hangup frame"
        if self.full:
            return False
        events = Parser(expect_identity=False).receive(frames)
        self.sent += [(event.rate, event.pcm) for event in events if isinstance(event, Audio)]
        return True

    def finish(self, *, goodbye: bool = True) -> None:
        self.finished += 1


class RecordingTap:
    """A tap that notes both directions."""

    def __init__(self) -> None:
        self.received_frames: list[tuple[float, bytes, int]] = []
        self.sent_frames: list[tuple[float, bytes, int]] = []

    def received(self, now_ms: float, pcm: bytes, rate: int) -> None:
        self.received_frames.append((now_ms, pcm, rate))

    def sent(self, now_ms: float, pcm: bytes, rate: int) -> None:
        self.sent_frames.append((now_ms, pcm, rate))


def loop_back(leg: LegForApps) -> None:
    """Do what the app ``loopback`` does."""
    cast("Any", leg)._loop_back()


class LegFixture:
    """One leg with its call, clock and connection, and what it reports."""

    def __init__(self, *apps: App) -> None:
        self.time = Time()
        self.time.advance(START)
        self.clock = MediaClock(TimerTicker(self.time, self.time.seconds), self.time.seconds)
        self.events: list[Record] = []
        self.call = Call(CALL, DEFAULT_EXTENSION, START, "then", EventLog([self.events.append]))
        self.record = LegState(Role.VISITOR, "127.0.0.1:5000", 8080, START, START)
        self.call.legs[Role.VISITOR] = self.record
        self.over: list[LegOutcome] = []
        self.failed = 0
        self.codecs: list[str] = []
        #: Apps that can be found by name.
        self.known: dict[str, App] = {}
        self.connection = FakeConnection()
        self.leg = Leg(
            self.call,
            self.record,
            [(f"app{n}", app) for n, app in enumerate(apps)],
            clock=self.clock,
            make_converter=StreamConverter,
            owner=self,
        )

    def leg_over(self, leg: Leg, outcome: LegOutcome) -> None:
        self.over.append(outcome)

    def app_failed(self, leg: Leg) -> None:
        self.failed += 1
        leg.end(LegOutcome.APP_FAILED)

    def leg_suspended(self, leg: Leg) -> None:
        raise AssertionError("no connection here comes through a proxy")

    def tells_end(self, leg: Leg) -> bool:
        raise AssertionError("no connection here comes through a proxy")

    def mislabelled(self, leg: Leg, codec: str) -> None:
        self.codecs.append(codec)

    def replacement(self, leg: Leg, names: str) -> list[tuple[str, App]]:
        return [(name, self.known[name]) for name in names.split("+")]

    def other_leg(self, leg: Leg) -> Leg | None:
        return None

    def start(self) -> LegFixture:
        self.leg.start(self.connection)
        return self

    def run(self, ms: float) -> None:
        for _ in range(round(ms / 5)):
            self.time.advance(0.005)

    def hear(self, *events: Event) -> None:
        for event in events:
            self.leg.message_received(event)

    @property
    def idle(self) -> bool:
        """No timer is left, one tick later: the clock stops in its own turn."""
        self.time.advance(TICK_MS / 1000)
        return not self.time.getDelayedCalls()


def raising(error: Exception) -> Callable[[LegForApps], None]:
    def fail(_: LegForApps) -> None:
        raise error

    return fail
