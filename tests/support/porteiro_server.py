"""The app porteiro on a server in memory: real registry, legs, journal and gate, a clock that the test moves."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from audiosocket.apps.porteiro.app import Porteiro
from audiosocket.calls.call import Call
from audiosocket.calls.journal import CallJournal
from audiosocket.extensions.model import Role
from audiosocket.interfaces import ApartmentMatch, App, AppContext
from audiosocket.media.pcm import tone
from audiosocket.media.soundfile import read_wav
from audiosocket.prompts.library import SHIPPED
from audiosocket.returncalls.service import ReturnCalls
from audiosocket.settings import Settings
from audiosocket.wire import audio_frame, digit_frame, uuid_frame
from tests.support.gates import FakeWay, GateProcess
from tests.support.in_memory import CALL, AsteriskConnection, InMemoryServer, ReturnEnded

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT
RING_SECONDS = 5.0
#: Seconds after which legs that a restart cut off are given up.
RESUME_SECONDS = 60.0
#: How long prompts are, in milliseconds; those not in here are short.
LONG = {"resident_greeting": 1_500}
SHORT_MS = 60
SILENT = audio_frame(8_000, bytes(320))


class Sounds:
    """Prompts of known length: each is a tone of its own; none of an operator's."""

    def get(self, path: Path, rate: int) -> Deferred[bytes]:
        """Implement `interfaces.SoundSource`."""
        return succeed(tone(rate, 300 + sum(path.stem.encode()) % 500, LONG.get(path.stem, SHORT_MS)))


class Apartments:
    """101 has one number, 102 two."""

    def find(self, condominium_id: int, apartment: str, block: str = "") -> ApartmentMatch:
        """Implement `interfaces.Apartments`."""
        return ApartmentMatch({"101": ("1001",), "102": ("1021", "1022")}.get(apartment, ()))


class PorteiroServer:
    """One server after the other in ``directory``; implements `porteiro_variations.Driver`."""

    def __init__(self, directory: Path, concierge: str = "", way: FakeWay | None = None) -> None:
        self.directory = directory
        self.way = way or FakeWay()
        self.way.ready = None
        self._settings = Settings.parse(
            {"PORTEIRO_CONCIERGE": concierge, "RETURN_RING_SECONDS": "5", "DATA_DIR": str(directory)}
        )
        self.lines: dict[Role, AsteriskConnection] = {}
        self.apps: list[Porteiro] = []
        #: What the apps were made with.
        self.contexts: list[AppContext] = []
        self._wall = 1_000_000.0
        self._start()

    def _start(self) -> None:
        clock = Clock()
        self.gate = GateProcess(self.directory, self.way, clock=clock)
        self.journal = CallJournal(self.directory / "calls.journal", self.gate.thread, wall=lambda: self._wall)

        def make_returns(time: Clock, ended: ReturnEnded) -> ReturnCalls:
            return ReturnCalls(None, time, ended=ended, ring_seconds=RING_SECONDS, window_seconds=2.0)

        self.server = InMemoryServer(self._make, journal=self.journal, time=clock, make_returns=make_returns)
        self.server.switchboard.restore(self.journal.open())
        self.gate.start()
        self._given_up_at = self.server.now + RESUME_SECONDS

    def _make(self, context: AppContext) -> App:
        context = replace(
            context,
            settings=self._settings,
            sounds=Sounds(),
            gate=self.gate.opener,
            apartments=Apartments(),
        )
        app = Porteiro(context)
        self.apps.append(app)
        self.contexts.append(context)
        return app

    # what happens

    def join(self, role: Role) -> None:
        old = self.lines.get(role)
        if old is not None and not old.ended_by_server:
            return
        line = self.server.connect(role)
        self.lines[role] = line
        line.send(uuid_frame(CALL))
        self.wait(0.06)
        if role is VISITOR:
            self.wait(0.6)  # the greeting, short as it is, and the tone

    def leave(self, role: Role, *, broken: bool = False) -> None:
        line = self.lines.pop(role, None)
        if line is not None and not line.ended_by_server:
            if broken:
                line.reset()
            else:
                line.hang_up()
        self.wait(0.02)

    def press(self, role: Role, keys: str) -> None:
        for key in keys:
            line = self.lines.get(role)
            if line is not None and not line.ended_by_server:
                line.send(digit_frame(key))
            self.wait(0.04)

    def speak(self, role: Role, sound: str) -> None:
        for frame in _frames(sound):
            line = self.lines.get(role)
            if line is not None and not line.ended_by_server:
                line.send(frame)
            self.wait(0.02, quiet=True)

    def hear_menu(self) -> None:
        self.wait(LONG["resident_greeting"] / 1000 + 0.4)

    def ring_out(self) -> None:
        self.wait(RING_SECONDS + 0.1)

    def wait(self, seconds: float, *, quiet: bool = False) -> None:
        """Let time pass; all who are there send silence, unless they are ``quiet``."""
        self._wall += seconds
        steps = max(1, round(seconds / 0.02))
        for _ in range(steps):
            self.server.time.advance(0.02)
            for line in [] if quiet else list(self.lines.values()):
                if not line.ended_by_server:
                    line.send(SILENT)
        if self.server.now >= self._given_up_at:
            self._given_up_at = float("inf")
            self.server.switchboard.expire()

    def answer_gate(self, *, opened: bool) -> None:
        self.way.answer(ok=opened, detail="said")
        self.wait(0.1)

    def kill(self, *back: Role) -> None:
        self.journal.close()
        were, self.lines = self.lines, {}
        self._start()
        for role in back:
            if role in were and not were[role].ended_by_server:
                self.join(role)

    def finish(self) -> None:
        """Let the visit come to its end by itself."""
        for _ in range(40):
            if self.call.ended is not None:
                return
            self.wait(5)

    # what is seen

    @property
    def call(self) -> Call:
        call = self.server.registry.get(CALL)
        assert call is not None
        return call

    @property
    def states(self) -> list[str]:
        """The stages so far."""
        return [str(entry["state"]) for entry in self.call.timeline if entry.get("app") == "porteiro"]


@lru_cache
def _frames(sound: str) -> tuple[bytes, ...]:
    """A second of it, as frames of 8 kHz."""
    if sound == "speech":
        pcm = read_wav(SHIPPED / "pt_BR" / "authorised.wav", 8_000)[:16_000]
    elif sound == "noise":
        generator = random.Random(1)
        pcm = array("h", (generator.randint(-12_000, 12_000) for _ in range(8_000))).tobytes()
    else:
        pcm = tone(8_000, 697, 1_000, -6.0)  # the lower of the two tones of key 1
    return tuple(audio_frame(8_000, pcm[at : at + 320]) for at in range(0, len(pcm) // 320 * 320, 320))


#: For type checkers: what a test may give to `PorteiroServer`.
MakeWay = Callable[[], FakeWay]
