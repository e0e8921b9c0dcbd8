"""A leg: one side of a call, which outlives its connection.

It gives the apps what arrives on the connection, and the connection what the apps play. When Asterisk connects
again with the same UUID, only the connection is replaced.

Most of it is the interface of apps, a line or two for each method. The apps themselves are in ``leg_apps.py``,
what is sent and when in ``leg_output.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any
from uuid import UUID

from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.calls.call import CHANNEL, Call, LegState
from audiosocket.calls.leg_apps import LegApps
from audiosocket.calls.leg_interfaces import Connection, LegOwner, Residents
from audiosocket.calls.leg_output import LegOutput
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.calls.payload_decoder import PayloadDecoder
from audiosocket.calls.registry import RECONNECT_SECONDS
from audiosocket.calls.sound import SAMPLED_FRAMES
from audiosocket.calls.traffic import LATE_SECONDS
from audiosocket.errors import ReturnTaken, ReturnUnavailable
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import App, CallerInfo, HookResult, ReturnOutcome
from audiosocket.media import playout_state
from audiosocket.media.playout_queue import Converter, Frame, MarkReached
from audiosocket.transport.clock import MediaClock
from audiosocket.wire import HEADER_BYTES, Audio, Digit, Event, HungUp, Ignored, PeerError

#: The rate of kind 0x10, under which other codecs arrive when the dialplan lacks ``c(slin)``, in Hz.
G711_RATE = 8_000
#: Frames that may wait for their turn on the other leg, in milliseconds: two people notice more than that.
CONNECTED_WAIT_MS = 200
#: Changes of the sample rate that are noted for one leg; a peer may change it with every frame.
MAX_RATE_EVENTS = 20


class Leg(LegOutput):
    """One visitor or resident in one call; implements `interfaces.Leg`. ``apps`` are names and apps in order."""

    __slots__ = (
        "__weakref__",
        "_decoder",
        "_looping",
        "_other",
        "_owner",
        "_rate_changes",
        "_residents",
        "_slin",
    )
    _log = Logger()

    def __init__(
        self,
        call: Call,
        state: LegState,
        apps: Sequence[tuple[str, App]],
        *,
        clock: MediaClock,
        make_converter: Callable[[int, int], Converter],
        owner: LegOwner[Leg],
        residents: Residents | None = None,
    ) -> None:
        super().__init__(call, state, LegApps(apps), clock, make_converter)
        self._owner = owner
        self._residents = residents
        #: The other leg of the call while their audio is passed on to each other.
        self._other: Leg | None = None
        self._rate_changes = 0
        #: Decodes frames of kind 0x10 until `_slin` is true: they are known to be signed linear.
        self._decoder: PayloadDecoder | None = None
        self._slin = False
        #: Whether frames are returned as they come, without the clock.
        self._looping = False

    def __repr__(self) -> str:
        return f"<{self.role.value} leg of {self.call_id}>"

    # called by apps, see `interfaces.Leg`

    @property
    def call_id(self) -> UUID:
        return self.call.call_id

    @property
    def role(self) -> Role:
        return self.state.role

    @property
    def extension(self) -> Extension:
        return self.call.extension

    @property
    def caller(self) -> CallerInfo | None:
        return self.state.caller

    def hang_up(self) -> None:
        self.end(LegOutcome.SERVER_HANGUP)

    def note(self, event: str, /, **fields: Any) -> None:
        self.call.note(event, self._seconds(), **{**fields, "role": self.role.value})

    def decide(self, outcome: str) -> bool:
        return self.call.decide(outcome)

    def remember(self, app: App, state: Any) -> None:
        name = self._apps.name_of(app)
        if name is None:
            raise ValueError(f"{app!r} is no app of this leg")
        self.call.remember(self.role, name, state)

    def show(self, figures: Mapping[str, object]) -> None:
        self.state.app_figures = figures

    def presume(self, outcome: str) -> None:
        self.call.presumed = outcome

    def call_resident(self, numbers: str | Sequence[str], *, wait: bool = False) -> None:
        if self._residents is None:
            raise ReturnUnavailable("this server places no return calls")
        self._residents.place(self.call, [numbers] if isinstance(numbers, str) else numbers, wait=wait)

    def cancel_resident(self) -> bool:
        if self._residents is None:
            return False
        try:
            self._residents.cancel(self.call)
        except ReturnTaken:
            return False
        return True

    def hand_over(self, app: App, to: str, reason: str) -> None:
        self._apps.hand_over(self, app, to, reason)
        if self._on_tick and self._apps.passes_on:
            self._read_on_tick(False)

    def connect_other(self, connected: bool) -> bool:
        if not connected:
            was = self._other
            self._disconnect_other()
            return was is not None
        other = self._owner.other_leg(self)
        if other is None or other.over or self.over:
            return False
        if self._other is not other:
            self._other, other._other = other, self
            self.note("bridge.started")
        return True

    def _loop_back(self) -> None:
        """Return every frame as it comes, without clock or limit: for the benchmark app ``loopback`` only."""
        self._looping = True
        if self._on_tick:
            self._read_on_tick(False)
        self._clock.discard(self)

    # called by its apps' runner, see `leg_apps.HostLeg`

    @property
    def over(self) -> bool:
        return self._connection is None and not self.state.reconnecting

    def app_failed(self, name: str, failure: Failure | None = None) -> None:
        self._log.failure("{name} raised in {leg}; ending its call", failure, name=name, leg=self)
        self.note("app.failed", app=name)
        self._owner.app_failed(self)

    def replacement(self, names: str) -> Sequence[tuple[str, App]]:
        return self._owner.replacement(self, names)

    # called by the switchboard

    @property
    def connection(self) -> Connection | None:
        """The connection in use; None while the leg is suspended, and once it is over."""
        return self._connection

    def start(self, connection: Connection) -> None:
        """Take the first connection; audio is sent from now on, silence unless an app plays something."""
        self._connect(connection)
        self._apps.start(self)
        self._send_first()

    def restart(self, connection: Connection, states: Mapping[str, Any]) -> None:
        """Take the first connection after a restart of the server; ``states`` are those of the apps, by name."""
        self._connect(connection)
        self._apps.restart(self, states)
        self._send_first()

    def resume(self, connection: Connection) -> None:
        """Replace the connection; the old one is closed, the queue goes on."""
        old = self._connection
        self._clock.discard(self)
        self._clock.cancel_timeout(self)
        self.state.reconnecting = False
        self._connect(connection)
        if old is not None:
            old.finish()
        self._send_first()
        self._report(lambda app: app.resumed(self))

    def save(self) -> dict[str, Any]:
        """Return what the next process needs to go on with this leg, beside its call and its connection."""
        return {
            "apps": self._apps.save(self),
            "playout": playout_state.save(self._playout),
            "phase": self._clock.phase_of(self),
            "on_tick": self._on_tick,
            "slin": self._slin,
            "rate_changes": self._rate_changes,
            "connected": self._other is not None,
        }

    def take_over(self, connection: Connection, saved: Mapping[str, Any], states: Mapping[str, Any]) -> None:
        """Go on with a leg of the previous process on its own connection; ``states`` are those of `restart`.

        What is queued goes on if all apps can go on with it; else they continue as after a restart.
        """
        goes_on = self._apps.can_take_over(saved["apps"])
        self._connection, self.due_ms = connection, -inf
        playout_state.load(self._playout, saved["playout"], speech=goes_on)
        self._slin, self._rate_changes = bool(saved["slin"]), int(saved["rate_changes"])
        if goes_on:
            self._apps.take_over(self, saved["apps"])
        else:
            self._apps.restart(self, states)
        if self.over or self._looping:
            return
        self._clock.add(self, saved["phase"])
        self._read_on_tick(bool(saved["on_tick"]))

    def identify(self, caller: CallerInfo) -> None:
        """Keep the telephone behind the leg, and report it to the apps."""
        self.state.caller = caller
        if caller.channel_id:
            self.call.remember(self.role, CHANNEL, caller.channel_id)
        self._report(lambda app: app.identified(self, caller))

    def return_ended(self, outcome: ReturnOutcome) -> None:
        """Report the end of a return call to the apps of this visitor."""
        self._report(lambda app: app.return_ended(self, outcome))

    def other_gone(self, outcome: LegOutcome) -> None:
        """Report the end of the other leg, which the apps may never have seen: it was there before a restart."""
        self._report(lambda app: app.other_gone(self, outcome.value))

    def end(self, outcome: LegOutcome) -> None:
        """End the leg, unless it has ended.

        The registry, and with it the journal, comes before the hangup frame: killed between the two, the server
        would otherwise resume a call that is over for its caller.
        """
        if self.over:
            return
        connection, self._connection = self._connection, None
        self.state.reconnecting = False
        self._clock.discard(self)
        self._clock.cancel_timeout(self)
        self._playout.clear()
        self._taps = ()
        self._disconnect_other()
        self._apps.cancel()
        self._owner.leg_over(self, outcome)
        if connection is not None:
            connection.finish(goodbye=not self.call.moved)
        self._report(lambda app: app.left(self, outcome.value), even_when_over=True)

    def _disconnect_other(self) -> None:
        other, self._other = self._other, None
        if other is not None:
            other._other = None
            self.note("bridge.ended")

    def _connect(self, connection: Connection) -> None:
        self._connection = connection
        now = self._clock.now_ms()
        self.state.last_received = now / 1000
        self._playout.start(now)
        if not self._looping:
            self._clock.add(self)

    def _send_first(self) -> None:
        """Send the first frame at once: Asterisk plays nothing, not even silence, before it has one."""
        if self._connection is not None and not self._looping:
            self._read_on_tick(not self._apps.passes_on)
            self.tick(self._clock.now_ms())

    # called by the connection, see `protocol.interfaces.LegEnd`

    @property
    def looping(self) -> bool:
        return self._looping

    def frames_received(self, data: bytes, shape: tuple[int, int]) -> None:
        connection = self._connection
        if connection is None:
            return
        state = self.state
        now = self._seconds()
        if now - state.last_received > LATE_SECONDS:
            state.late_in += 1
        state.last_received = now
        rate, size = shape
        if self._looping and not self._taps and rate == self._playout.rate:
            count = len(data) // size
            state.frames_in += count
            if connection.send_frames(data):
                state.frames_out += count
        elif len(data) == size:
            self._received(now * 1000, data[HEADER_BYTES:], rate)
        else:
            for at in range(HEADER_BYTES, len(data), size):
                self._received(now * 1000, data[at : at + size - HEADER_BYTES], rate)

    def message_received(self, event: Event) -> None:
        if self._connection is None:
            return
        now = self._clock.now_ms()
        self.state.last_received = now / 1000
        if isinstance(event, Audio):
            self._received(now, event.pcm, event.rate)
        elif isinstance(event, Digit):
            self.state.digits += 1
            self.note("leg.digit", digit=event.digit)
            self._report(lambda app: app.digit(self, event.digit))
        elif isinstance(event, HungUp):
            self.end(LegOutcome.CALLER_HANGUP)
        elif isinstance(event, PeerError):
            self.end(LegOutcome.PEER_ERROR)
        elif isinstance(event, Ignored):
            self.state.ignored += 1

    def disconnected(self, connection: Connection, outcome: LegOutcome) -> None:
        if connection is self._connection:
            self.end(outcome)

    def cut_off(self, connection: Connection, outcome: LegOutcome) -> None:
        if connection is not self._connection:
            return
        if self.role is not Role.VISITOR and not self._owner.tells_end(self):
            self.end(outcome)
            return
        self._connection = None
        self._clock.discard(self)
        self.state.reconnecting = True
        self.note("leg.suspended", reason="reset" if outcome is LegOutcome.CONNECTION_LOST else "closed")
        self._clock.set_timeout(self, RECONNECT_SECONDS, partial(self.end, outcome))
        self._owner.leg_suspended(self)

    def _received(self, now: float, pcm: bytes, rate: int) -> None:
        """Give one frame to taps and apps; ``now`` is in milliseconds."""
        if self._connection is None:
            return
        self.state.frames_in += 1
        if rate != self._playout.rate:
            self._playout.set_rate(rate)
            self.state.rate = rate
            self._rate_changes += 1
            if self._rate_changes <= MAX_RATE_EVENTS:
                self.note("leg.rate", rate=rate)
        if rate == G711_RATE and not self._slin:
            pcm = self._decoded(now, pcm)
        if not self.state.frames_in % SAMPLED_FRAMES:
            self.state.sound_in.sample(now / 1000 - self.call.started, pcm)
        for tap in self._taps:
            self._apps.call(self, type(tap).__name__, tap.received, now, pcm, rate)
        if self._looping:
            self._send(now, Frame(rate, pcm, "passed"))
        if self._other is not None:
            self._other.pass_on(pcm, rate, at_most_ms=CONNECTED_WAIT_MS)
        for name, app in self._apps.listening:
            if self._connection is None:
                return
            try:
                result = app.audio(self, pcm, rate)
                if result is not None:
                    self._apps.run(self, name, result)
            except Exception:  # noqa: BLE001 - an app's fault costs its own call
                self.app_failed(name)

    def _decoded(self, now: float, payload: bytes) -> bytes:
        if self._decoder is None:
            self._decoder = PayloadDecoder()
        decoder = self._decoder
        codec = decoder.inspect(now, payload)
        if codec == "slin":
            self._decoder, self._slin = None, True
        elif codec is not None:
            self.note("leg.codec", codec=codec)
            self._owner.mislabelled(self, codec)
        return decoder.decode(payload)

    def _report_mark(self, mark: MarkReached) -> None:
        self.state.note_mark(mark.name, self._seconds() - self.call.started)
        self._report(lambda app: app.marked(self, mark.name, mark.heard_ms))

    def _report(self, hook: Callable[[App], HookResult], *, even_when_over: bool = False) -> None:
        self._apps.report(self, hook, even_when_over=even_when_over)
