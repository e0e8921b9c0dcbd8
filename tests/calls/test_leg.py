"""A leg: what apps are told and may do, what its connection is asked for, and how it ends."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Time

from audiosocket.calls.call import Call, LegState
from audiosocket.calls.events import EventLog, Record
from audiosocket.calls.leg import MAX_RATE_EVENTS, Leg
from audiosocket.calls.leg_apps import REPLACED
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.errors import LocalProtocolError
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.interfaces import App
from audiosocket.interfaces import Leg as LegForApps
from audiosocket.media.codec_probe import DECODERS
from audiosocket.media.pcm import slin_to_alaw, slin_to_ulaw, tone
from audiosocket.media.resample import StreamConverter
from audiosocket.transport.clock import MediaClock
from audiosocket.transport.ticker import TICK_MS, TimerTicker
from audiosocket.wire import FRAME_HEADERS, Audio, Digit, Event, HungUp, Ignored, Parser, PeerError, audio_frame
from tests.support.in_memory import CALL, START, Echo, RecordingApp
from tests.support.logged_failures import LoggedFailures

SILENCE = bytes(320)
VOICE = b"\x21\x43" * 160
STEP_MS = 20


class Wire:
    """A connection that takes everything, until told otherwise."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.finished = 0
        self.full = False
        #: Each choice between the clock's ticks and immediately.
        self.on_tick: list[bool] = []

    def read_on_tick(self, on_tick: bool) -> None:
        self.on_tick.append(on_tick)

    def send_frames(self, frames: bytes) -> bool:
        assert not self.finished, "audio after goodbye"
        if self.full:
            return False
        events = Parser(expect_identity=False).receive(frames)
        self.sent += [(event.rate, event.pcm) for event in events if isinstance(event, Audio)]
        return True

    def finish(self) -> None:
        self.finished += 1


class Ears:
    """A tap that notes both directions."""

    def __init__(self) -> None:
        self.heard_frames: list[tuple[float, bytes, int]] = []
        self.said_frames: list[tuple[float, bytes, int]] = []

    def received(self, now_ms: float, pcm: bytes, rate: int) -> None:
        self.heard_frames.append((now_ms, pcm, rate))

    def sent(self, now_ms: float, pcm: bytes, rate: int) -> None:
        self.said_frames.append((now_ms, pcm, rate))


def loop_back(leg: LegForApps) -> None:
    """Do what the app ``loopback`` does."""
    cast("Any", leg)._loop_back()


class Stage:
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
        self.wire = Wire()
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

    def mislabelled(self, leg: Leg, codec: str) -> None:
        self.codecs.append(codec)

    def replacement(self, leg: Leg, names: str) -> list[tuple[str, App]]:
        return [(name, self.known[name]) for name in names.split("+")]

    def other_leg(self, leg: Leg) -> Leg | None:
        return None

    def start(self) -> Stage:
        self.leg.start(self.wire)
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


# what an app sees


def test_an_app_sees_the_call_it_serves() -> None:
    stage = Stage()
    leg: LegForApps = stage.leg
    assert (leg.call_id, leg.role, leg.extension) == (CALL, Role.VISITOR, DEFAULT_EXTENSION)
    assert (leg.rate, leg.queued_ms, leg.heard_ms) == (8000, 0, 0)
    assert leg.now_ms == pytest.approx(START * 1000)
    assert repr(leg) == f"<visitor leg of {CALL}>"


def test_an_app_receives_everything_in_order() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    stage.hear(Audio(8000, VOICE), Digit("5"), Audio(8000, b"x"))
    stage.leg.mark("here")
    stage.run(20)
    stage.hear(HungUp())
    assert [(told.method, told.value) for told in app.events] == [
        ("joined", None),
        ("audio", (VOICE, 8000)),
        ("digit", "5"),
        ("audio", (b"x", 8000)),
        ("marked", ("here", 0)),
        ("left", "caller_hangup"),
    ]
    assert {told.leg for told in app.events} == {stage.leg}


def test_all_apps_of_a_leg_are_called_in_order() -> None:
    order: list[str] = []
    first = RecordingApp(audio=lambda _: order.append("first"))
    second = RecordingApp(audio=lambda _: order.append("second"))
    stage = Stage(first, second).start()
    stage.hear(Audio(8000, VOICE))
    assert order == ["first", "second"]
    assert first.methods == second.methods == ["joined", "audio"]


def test_the_first_frame_is_sent_at_once_silence_unless_an_app_plays() -> None:
    assert Stage(RecordingApp()).start().wire.sent == [(8000, SILENCE)]
    stage = Stage(RecordingApp(joined=lambda leg: leg.play(VOICE))).start()
    assert stage.wire.sent == [(8000, VOICE)]
    stage.run(40)
    assert stage.wire.sent == [(8000, VOICE), (8000, SILENCE), (8000, SILENCE)]


def test_a_mark_is_reached_after_the_audio_before_it() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    assert stage.leg.play(VOICE * 5)
    stage.leg.mark("end")
    assert stage.leg.queued_ms == 100
    stage.run(100)
    assert stage.wire.sent == [(8000, SILENCE)] + [(8000, VOICE)] * 5
    assert app.values("marked") == [("end", 100)]
    assert (stage.leg.queued_ms, stage.leg.heard_ms) == (0, 100)


def test_a_passed_frame_leaves_at_once() -> None:
    stage = Stage().start()
    stage.leg.pass_on(b"\1\2" * 7, 16_000)
    assert stage.wire.sent == [(8000, SILENCE), (16_000, b"\1\2" * 7)]


def test_an_app_may_limit_how_much_passed_audio_waits() -> None:
    stage = Stage().start()
    for n in range(100):
        stage.leg.pass_on(bytes((n, 1)) * 160, 8000, at_most_ms=200)
    stage.run(400)
    passed = [pcm[0] for _, pcm in stage.wire.sent if pcm != SILENCE]
    assert passed[-10:] == list(range(90, 100))
    assert len(passed) == 100 - stage.leg.playout.dropped < 20


@pytest.mark.parametrize(
    ("pcm", "rate"),
    [(bytes(65_536), 192_000), (VOICE, 11_025), (VOICE, 0), (VOICE, -8000)],
)
def test_a_frame_that_asterisk_rejects_raises_in_the_app_that_passes_it(pcm: bytes, rate: int) -> None:
    """At once and not when its turn comes: then nobody knows any more whose it was."""
    stage = Stage().start()
    for _ in range(10):  # so that the next one has to wait
        stage.leg.pass_on(VOICE, 8000)
    with pytest.raises(LocalProtocolError):
        stage.leg.pass_on(pcm, rate)
    stage.run(500)
    assert stage.over == []
    assert stage.leg.connection is stage.wire


def test_an_empty_frame_is_not_sent() -> None:
    stage = Stage().start()
    stage.leg.pass_on(b"", 8000)
    assert stage.leg.play(b"")
    stage.run(100)
    assert {pcm for _, pcm in stage.wire.sent} == {SILENCE}


def test_an_apps_note_is_an_event_of_its_leg() -> None:
    stage = Stage().start()
    stage.run(1_500)
    stage.leg.note("app.note", text="gate opened", role="faked", event="faked", self="fine")
    assert stage.call.timeline[-1] == {
        "at_seconds": 1.5,
        "event": "app.note",
        "role": "visitor",
        "text": "gate opened",
        "self": "fine",
    }


def test_an_app_names_the_calls_outcome_once() -> None:
    stage = Stage().start()
    assert stage.leg.decide("opened")
    assert not stage.leg.decide("closed")
    assert stage.call.outcome == "opened"


# what comes from the wire


def test_the_leg_follows_the_rate_of_the_callers_frames() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    stage.hear(Audio(16_000, VOICE))
    assert (stage.leg.rate, stage.record.rate) == (16_000, 16_000)
    assert app.values("audio") == [(VOICE, 16_000)]
    assert stage.events[-1]["event"] == "leg.rate"
    assert stage.events[-1]["rate"] == 16_000
    stage.run(20)
    assert stage.wire.sent[-1] == (16_000, bytes(640))
    stage.hear(Audio(16_000, VOICE))
    assert [record["event"] for record in stage.events] == ["leg.rate"]


def test_rate_changes_are_noted_up_to_a_limit() -> None:
    stage = Stage(RecordingApp()).start()
    for n in range(1_000):
        stage.hear(Audio(8000 if n % 2 else 16_000, VOICE))
    assert len(stage.events) == MAX_RATE_EVENTS
    assert stage.record.frames_in == 1_000
    assert stage.leg.rate == 8000


@pytest.mark.parametrize("codec", ["ulaw", "alaw"])
@pytest.mark.parametrize("ms", [10, 20, 30, 40, 60])
def test_mislabelled_g711_is_decoded_once_it_is_certain(codec: str, ms: int) -> None:
    """As a dialplan without ``c(slin)`` sends it, in frames of the caller's packets; 320 bytes of it are 40 ms."""
    app, ears = RecordingApp(), Ears()
    stage = Stage(app).start()
    stage.leg.tap(ears)
    payload = (slin_to_ulaw if codec == "ulaw" else slin_to_alaw)(tone(8000, 440, ms))
    decoded = DECODERS[codec](payload)
    frame = audio_frame(8000, payload)
    for _ in range(1_200 // ms):
        if frame[:3] in FRAME_HEADERS:
            stage.leg.frames_received(frame, FRAME_HEADERS[frame[:3]])
        else:
            stage.hear(Audio(8000, payload))
        stage.run(ms)
    heard = [pcm for pcm, _ in app.values("audio")]
    sure = heard.index(decoded)
    assert sure * ms <= 1_000
    assert heard == [payload] * sure + [decoded] * (len(heard) - sure)
    assert [pcm for _, pcm, _ in ears.heard_frames] == heard
    assert len(decoded) * 1000 / 2 / 8000 == ms, "what an app gets is as long as what the caller said"
    assert stage.codecs == [codec]
    assert [(r["event"], r["codec"]) for r in stage.events] == [("leg.codec", codec)]
    stage.hear(Audio(16_000, payload))
    assert app.values("audio")[-1] == (payload, 16_000), "other kinds are what they say"


@pytest.mark.parametrize("ms", [10, 20, 30, 40, 60])
def test_an_echo_of_decoded_g711_is_slin_at_its_own_pace(ms: int) -> None:
    """Asterisk plays what we send as slin: each frame goes back once, as long as it was, and nothing fills in."""
    stage = Stage(Echo()).start()
    voice = slin_to_ulaw(tone(8000, 440, 3_000))
    frames = [voice[at : at + 8 * ms] for at in range(0, len(voice) - 8 * ms + 1, 8 * ms)]
    for payload in frames:
        stage.hear(Audio(8000, payload))
        stage.run(ms)
    second = 1_000 // ms
    assert stage.codecs == ["ulaw"]
    sent = [(8000, DECODERS["ulaw"](payload)) for payload in frames]
    assert stage.wire.sent[-second:] == sent[-second:]


def test_an_unknown_codec_is_reported_after_seconds_and_passed_unchanged() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    noise = random.Random(722)
    frames = [noise.randbytes(160) for _ in range(300)]
    for n, payload in enumerate(frames):
        stage.hear(Audio(8000, payload))
        stage.run(20)
        assert n > 150 or stage.codecs == []
    assert [pcm for pcm, _ in app.values("audio")] == frames
    assert stage.codecs == ["unknown"]


def test_an_unknown_codec_is_decoded_when_it_is_recognised_later() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    noise = random.Random(722)
    payload = slin_to_alaw(tone(8000, 440, 20))
    for n in range(900):
        stage.hear(Audio(8000, noise.randbytes(160) if n < 300 else payload))
        stage.run(20)
    assert stage.codecs == ["unknown", "alaw"]
    assert app.values("audio")[-1] == (DECODERS["alaw"](payload), 8000)


def test_slin_is_never_changed() -> None:
    """In packets of any length, loud and silent."""
    for slin in (tone(8000, 440, 120), bytes(1_920), tone(8000, 1_500, 120, -3.01)):
        for ms in (10, 20, 30, 40, 60):
            app = RecordingApp()
            stage = Stage(app).start()
            frames = [slin[at : at + 16 * ms] for at in range(0, len(slin), 16 * ms)] * 20
            for payload in frames:
                stage.hear(Audio(8000, payload))
                stage.run(ms)
            assert app.values("audio") == [(payload, 8000) for payload in frames]
            assert stage.codecs == []
            assert stage.events == []


def test_counters() -> None:
    stage = Stage(RecordingApp()).start()
    stage.hear(Audio(8000, VOICE), Audio(8000, VOICE), Digit("1"), Digit("#"), Ignored(0x42, 3, "unknown kind"))
    stage.leg.play(VOICE * 3)
    stage.run(200)
    record = stage.record
    assert (record.frames_in, record.digits, record.ignored) == (2, 2, 1)
    assert record.frames_out == len(stage.wire.sent) == 11
    assert record.silence_out == 8
    assert record.last_received == START


def test_any_message_shows_that_the_leg_is_alive() -> None:
    for event in (Audio(8000, VOICE), Digit("1"), Ignored(0x42, 3, "unknown kind")):
        stage = Stage(RecordingApp()).start()
        stage.run(5_000)
        assert not stage.record.alive(stage.time.seconds())
        stage.hear(event)
        assert stage.record.alive(stage.time.seconds())


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (HungUp(), LegOutcome.CALLER_HANGUP),
        (PeerError(4), LegOutcome.PEER_ERROR),
        (PeerError(None), LegOutcome.PEER_ERROR),
    ],
)
def test_events_of_the_peer_that_end_a_leg(event: Event, outcome: LegOutcome) -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    stage.hear(event)
    assert stage.over == [outcome]
    assert app.values("left") == [outcome.value]


def test_a_frame_that_the_peer_does_not_read_is_not_counted_as_sent() -> None:
    stage = Stage(RecordingApp()).start()
    ears = Ears()
    stage.leg.tap(ears)
    stage.wire.full = True
    stage.run(200)
    assert stage.record.frames_out == 1
    assert ears.said_frames == []


# taps


def test_a_tap_receives_both_directions_with_their_times() -> None:
    ears = Ears()
    stage = Stage(RecordingApp(joined=lambda leg: leg.tap(ears))).start()
    stage.hear(Audio(16_000, VOICE))
    stage.run(20)
    assert ears.heard_frames == [(pytest.approx(START * 1000), VOICE, 16_000)]
    assert ears.said_frames == [
        (pytest.approx(START * 1000), SILENCE, 8_000),
        (pytest.approx(START * 1000 + 20, abs=5), bytes(640), 16_000),
    ]
    stage.leg.end(LegOutcome.SERVER_HANGUP)
    stage.hear(Audio(16_000, VOICE))
    assert len(ears.heard_frames) == 1


@pytest.mark.parametrize("method", ["received", "sent"])
def test_a_tap_that_raises_ends_its_own_call(method: str, logged_failures: LoggedFailures) -> None:
    class Broken(Ears):
        pass

    def fail(*_: Any) -> None:
        raise ValueError("broken tap")

    setattr(Broken, method, fail)
    app = RecordingApp(joined=lambda leg: leg.tap(Broken()))
    stage = Stage(app).start()
    stage.hear(Audio(8000, VOICE))
    stage.run(100)
    assert stage.over == [LegOutcome.APP_FAILED]
    assert app.methods[-1] == "left"
    assert stage.idle
    assert len(logged_failures.flush(ValueError)) == 1


# the end


def test_the_end_is_reported_once_to_owner_connection_and_apps() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    stage.leg.play(VOICE * 100)
    stage.leg.end(LegOutcome.ADMIN_HANGUP)
    stage.leg.end(LegOutcome.SHUTDOWN)
    stage.leg.hang_up()
    stage.leg.disconnected(stage.wire, LegOutcome.CONNECTION_LOST)
    assert stage.over == [LegOutcome.ADMIN_HANGUP]
    assert app.values("left") == ["admin_hangup"]
    assert stage.wire.finished == 1
    assert stage.leg.connection is None
    assert stage.leg.queued_ms == 0
    assert stage.idle


def test_nothing_reaches_a_leg_that_has_ended() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    stage.leg.hang_up()
    sent = len(stage.wire.sent)
    stage.hear(Audio(16_000, VOICE), Digit("1"), HungUp(), PeerError(1), Ignored(0x42, 0, "unknown kind"))
    stage.leg.pass_on(VOICE, 8000)
    stage.leg.play(VOICE)
    stage.leg.mark("never")
    stage.leg.clear()
    stage.leg.tick(stage.leg.now_ms + 100)
    stage.run(200)
    assert app.methods == ["joined", "left"]
    assert len(stage.wire.sent) == sent
    assert stage.record.frames_in == 0


def test_a_closed_connection_ends_the_leg() -> None:
    stage = Stage(RecordingApp()).start()
    stage.leg.disconnected(stage.wire, LegOutcome.CONNECTION_LOST)
    assert stage.over == [LegOutcome.CONNECTION_LOST]


@pytest.mark.parametrize("where", ["joined", "audio", "digit", "marked"])
def test_an_app_may_hang_up_in_every_method(where: str) -> None:
    first, second = RecordingApp(**{where: lambda leg: leg.hang_up()}), RecordingApp()
    stage = Stage(first, second).start()
    stage.leg.mark("now")
    stage.hear(Audio(8000, VOICE), Digit("1"))
    stage.run(100)
    stage.hear(Audio(8000, VOICE), Digit("1"))
    assert stage.over == [LegOutcome.SERVER_HANGUP]
    assert stage.wire.finished == 1
    assert first.methods[-1] == "left"
    assert where not in second.methods, "the app before it hung up"
    assert "left" not in first.methods[:-1]
    assert stage.idle


def test_an_app_that_hangs_up_in_left_changes_nothing() -> None:
    app = RecordingApp(left=lambda leg: leg.hang_up())
    stage = Stage(app).start()
    stage.hear(HungUp())
    assert stage.over == [LegOutcome.CALLER_HANGUP]
    assert app.values("left") == ["caller_hangup"]


def test_an_app_that_never_joined_does_not_receive_the_end() -> None:
    first, second = RecordingApp(joined=lambda leg: leg.hang_up()), RecordingApp()
    Stage(first, second).start()
    assert first.methods == ["joined", "left"]
    assert second.methods == []


@pytest.mark.parametrize("where", ["joined", "resumed", "audio", "digit", "marked"])
def test_an_app_that_raises_is_reported_and_ends_its_call(where: str, logged_failures: LoggedFailures) -> None:
    bad, good = RecordingApp(**{where: raising(ValueError(where))}), RecordingApp()
    stage = Stage(bad, good).start()
    if where != "joined":
        stage.leg.mark("now")
        stage.leg.resume(Wire())
        stage.hear(Audio(8000, VOICE), Digit("1"))
        stage.run(100)
    assert stage.failed == 1
    assert stage.over == [LegOutcome.APP_FAILED]
    assert [(r["event"], r["app"]) for r in stage.events if r["event"] == "app.failed"] == [("app.failed", "app0")]
    assert bad.values("left") == ["app_failed"]
    assert where not in good.methods
    assert stage.idle
    [logged] = logged_failures.flush(ValueError)
    assert logged["name"] == "app0"


def test_an_app_that_raises_in_left_does_not_keep_the_others_from_it(
    logged_failures: LoggedFailures,
) -> None:
    bad, good = RecordingApp(left=raising(ValueError("left"))), RecordingApp()
    stage = Stage(bad, good).start()
    stage.hear(HungUp())
    assert stage.over == [LegOutcome.CALLER_HANGUP]
    assert good.values("left") == ["caller_hangup"]
    assert len(logged_failures.flush(ValueError)) == 1


def test_a_leg_whose_audio_cannot_be_converted_ends(
    logged_failures: LoggedFailures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this it would leave the clock and stay in the books, mute, until the caller gives up."""

    def fail(self: StreamConverter, pcm: bytes) -> bytes:
        raise ValueError("broken converter")

    app = RecordingApp()
    stage = Stage(app).start()
    stage.leg.play(VOICE * 10, 16_000)
    monkeypatch.setattr(StreamConverter, "feed", fail)
    stage.run(100)
    assert stage.over == [LegOutcome.APP_FAILED]
    assert app.methods[-1] == "left"
    assert stage.wire.finished == 1
    assert stage.idle
    assert len(logged_failures.flush(ValueError)) == 1


# marks and clear in the same turn


def test_a_clear_at_a_mark_silences_the_rest_of_the_same_tick() -> None:
    """A late turn repays several frames at once; those behind the mark are not said any more."""
    app = RecordingApp(marked=lambda leg: leg.clear())
    stage = Stage(app).start()
    stage.run(20)
    stage.leg.play(VOICE * 2)
    stage.leg.mark("first")
    stage.leg.play(b"\x7f\x7f" * 800)
    stage.leg.mark("second")
    stage.time.advance(0.110)
    stage.run(500)
    said = b"".join(pcm for _, pcm in stage.wire.sent)
    assert said.count(b"\x7f") == 0
    assert app.values("marked") == [("first", 40)]


def test_hanging_up_at_a_mark_sends_no_more_audio() -> None:
    app = RecordingApp(marked=lambda leg: leg.hang_up())
    stage = Stage(app).start()
    stage.run(20)
    stage.leg.play(VOICE * 2)
    stage.leg.mark("end")
    stage.leg.play(VOICE * 20)
    stage.time.advance(0.110)
    assert stage.wire.sent[-2:] == [(8000, VOICE)] * 2
    assert len(stage.wire.sent) == 2 + 2
    assert stage.over == [LegOutcome.SERVER_HANGUP]


# a new connection


def test_a_new_connection_takes_over_and_the_queue_goes_on() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    stage.leg.play(VOICE * 10)
    stage.leg.mark("end")
    stage.run(100)
    old, new = stage.wire, Wire()
    stage.leg.resume(new)
    stage.run(300)
    assert old.finished == 1
    assert new.finished == 0
    assert old.sent.count((8000, VOICE)) + new.sent.count((8000, VOICE)) == 10
    assert app.methods == ["joined", "resumed", "marked"]
    assert app.values("marked") == [("end", 200)]
    assert len(stage.clock) == 1


def test_events_of_the_replaced_connection_are_ignored() -> None:
    stage = Stage(RecordingApp()).start()
    new = Wire()
    stage.leg.resume(new)
    stage.leg.disconnected(stage.wire, LegOutcome.CONNECTION_LOST)
    assert stage.over == []
    stage.leg.disconnected(new, LegOutcome.CALLER_HANGUP)
    assert stage.over == [LegOutcome.CALLER_HANGUP]


@pytest.mark.parametrize("failing", [False, True])
def test_a_leg_that_ends_at_a_mark_while_it_is_resumed_leaves_no_timer(
    failing: bool, logged_failures: LoggedFailures
) -> None:
    def end(leg: LegForApps) -> None:
        if failing:
            raise ValueError("at the mark")
        leg.hang_up()

    app = RecordingApp(marked=end)
    stage = Stage(app).start()
    stage.leg.mark("now")
    new = Wire()
    stage.leg.resume(new)
    assert (new.finished, stage.wire.finished) == (1, 1)
    assert app.methods == ["joined", "marked", "left"]
    assert len(stage.over) == 1
    assert stage.idle
    assert len(logged_failures.flush(ValueError)) == failing


# loopback


def test_a_looped_leg_returns_single_and_joined_frames_without_the_clock() -> None:
    stage = Stage(RecordingApp(joined=loop_back)).start()
    sent = len(stage.wire.sent)
    stage.run(1_000)
    assert len(stage.wire.sent) == sent
    lump = b"".join(audio_frame(8000, bytes((n, 1)) * 160) for n in range(50))
    stage.leg.frames_received(lump, FRAME_HEADERS[lump[:3]])
    assert stage.wire.sent[sent:] == [(8000, bytes((n, 1)) * 160) for n in range(50)]
    assert (stage.record.frames_in, stage.record.frames_out) == (50, sent + 50)


def test_a_looped_leg_follows_the_rate_and_serves_taps() -> None:
    stage, ears = Stage(RecordingApp(joined=loop_back)).start(), Ears()
    stage.leg.tap(ears)
    wide = audio_frame(16_000, b"\3\4" * 320)
    stage.leg.frames_received(wide + wide, FRAME_HEADERS[wide[:3]])
    assert stage.wire.sent[-2:] == [(16_000, b"\3\4" * 320)] * 2
    assert len(ears.heard_frames) == len(ears.said_frames) == 2
    assert stage.record.rate == 16_000


def test_a_leg_is_read_on_tick_until_a_frame_is_passed_on() -> None:
    stage = Stage(Echo()).start()
    assert stage.wire.on_tick == [True]
    stage.leg.play(VOICE)
    stage.hear(Audio(8000, VOICE))
    assert stage.wire.on_tick == [True], "while it speaks nothing passes"
    stage.run(200)
    stage.hear(Audio(8000, VOICE), Audio(8000, VOICE))
    assert stage.wire.on_tick == [True, False]


def test_a_new_connection_is_read_on_tick_again() -> None:
    stage = Stage(Echo()).start()
    stage.hear(Audio(8000, VOICE))
    new = Wire()
    stage.leg.resume(new)
    assert new.on_tick == [True]
    stage.hear(Audio(8000, VOICE))
    assert new.on_tick == [True, False]


def test_a_leg_whose_frames_go_to_another_is_read_at_once_from_the_start() -> None:
    class PassesOn(App):
        passes_on = True

    assert Stage(App(), PassesOn()).start().wire.on_tick == [False]


def test_a_looped_leg_is_read_at_once() -> None:
    assert Stage(RecordingApp(joined=loop_back)).start().wire.on_tick == []
    later = Stage(RecordingApp(digit=loop_back)).start()
    later.hear(Digit("1"))
    assert later.wire.on_tick == [True, False]


def test_frames_after_the_end_of_a_leg_in_the_same_read_are_ignored() -> None:
    app = RecordingApp(audio=lambda leg: leg.hang_up())
    stage = Stage(app).start()
    lump = audio_frame(8000, VOICE) * 3
    stage.leg.frames_received(lump, FRAME_HEADERS[lump[:3]])
    assert app.methods.count("audio") == 1


# live audio


def test_live_audio_is_sent_at_once_and_not_far_ahead() -> None:
    stage = Stage().start()
    stage.time.advance(0.003)
    stage.leg.play(VOICE * 5, live=True)
    assert [pcm for _, pcm in stage.wire.sent] == [SILENCE, VOICE]
    assert 20 < stage.leg.ahead_ms <= 40
    stage.run(100)
    assert [pcm for _, pcm in stage.wire.sent] == [SILENCE, *[VOICE] * 5]


def test_a_stream_of_live_frames_is_passed_on_without_a_gap() -> None:
    stage = Stage().start()
    for _ in range(50):
        stage.time.advance(0.002)
        stage.leg.play(VOICE, live=True)
        stage.time.advance(0.008)
        stage.run(10)
    assert [pcm for _, pcm in stage.wire.sent[1:]] == [VOICE] * 50
    assert stage.record.underruns == 0


def test_less_than_a_frame_of_live_audio_waits_for_the_rest() -> None:
    stage = Stage().start()
    stage.leg.play(VOICE[:100], live=True)
    assert [pcm for _, pcm in stage.wire.sent] == [SILENCE]
    stage.leg.play(VOICE[100:], live=True)
    assert [pcm for _, pcm in stage.wire.sent] == [SILENCE, VOICE]


def test_a_mark_behind_live_audio_is_reached_at_its_time() -> None:
    app = RecordingApp()
    stage = Stage(app).start()
    begun = stage.time.seconds()
    stage.leg.play(VOICE * 2, live=True)
    stage.leg.mark("end")
    while not app.values("marked"):
        stage.time.advance(0.005)
        stage.leg.tick(stage.time.seconds() * 1000)
    # Silence until 20 ms, then two frames: the second is heard from 40 to 60 ms.
    assert 0.034 <= stage.time.seconds() - begun <= 0.061


def test_paused_audio_waits_and_silence_is_sent() -> None:
    stage = Stage().start()
    stage.leg.play(VOICE * 3)
    stage.leg.pause(True)
    stage.run(100)
    assert {pcm for _, pcm in stage.wire.sent} == {SILENCE}
    stage.leg.pause(False)
    stage.run(60)
    assert [pcm for _, pcm in stage.wire.sent][-3:] == [VOICE] * 3
    assert stage.record.underruns == 0


# apps that take over


def test_an_app_that_hands_over_is_replaced_in_its_place() -> None:
    bot, recorder, fallback = RecordingApp(), RecordingApp(), RecordingApp()
    stage = Stage(bot, recorder).start()
    stage.known["porteiro"] = fallback
    stage.leg.play(VOICE * 50)
    stage.leg.hand_over(bot, "porteiro", "no connection")
    stage.leg.message_received(Digit("1"))
    stage.leg.end(LegOutcome.CALLER_HANGUP)
    assert bot.methods == ["joined"]
    assert fallback.methods == ["joined", "digit", "left"]
    assert recorder.methods == ["joined", "digit", "left"]
    assert stage.leg.queued_ms == 0
    (event,) = [event for event in stage.events if event["event"] == "app.replaced"]
    assert (event["app"], event["to"], event["reason"]) == ("app0", "porteiro", "no connection")
    assert stage.call.states == {(Role.VISITOR, REPLACED): {"apps": "porteiro+app1"}}


def test_an_app_that_hands_over_while_it_joins_is_replaced() -> None:
    fallback, recorder = RecordingApp(), RecordingApp()
    bot = RecordingApp(joined=lambda leg: leg.hand_over(bot, "porteiro", "refused"))
    stage = Stage(bot, recorder)
    stage.known["porteiro"] = fallback
    stage.start()
    stage.leg.message_received(Digit("1"))
    assert fallback.methods == ["joined", "digit"]
    assert recorder.methods == ["joined", "digit"]


def test_a_leg_handed_back_to_an_app_that_gave_it_up_ends() -> None:
    first, second = RecordingApp(), RecordingApp()
    stage = Stage(first).start()
    stage.known.update(first=first, second=second)
    stage.leg.hand_over(first, "second", "one")
    stage.leg.hand_over(second, "first", "two")
    assert stage.over == [LegOutcome.SERVER_HANGUP]


def test_the_audio_of_a_replaced_app_goes_to_the_next_one_only() -> None:
    bot, fallback = Echo(), RecordingApp()
    stage = Stage(bot).start()
    stage.known["porteiro"] = fallback
    stage.leg.hand_over(bot, "porteiro", "x")
    stage.leg.message_received(Audio(8000, VOICE))
    assert fallback.methods == ["joined", "audio"]
    assert VOICE not in [pcm for _, pcm in stage.wire.sent]


# coroutines


def test_a_hook_that_is_a_coroutine_runs_and_its_failure_ends_the_call(logged_failures: LoggedFailures) -> None:
    class Slow(App):
        async def joined(self, leg: LegForApps) -> None:
            await waiting
            leg.play(VOICE)

        async def digit(self, leg: LegForApps, digit: str) -> None:
            raise ZeroDivisionError

    waiting: Deferred[None] = Deferred()
    stage = Stage(Slow()).start()
    stage.leg.message_received(Digit("1"))
    assert stage.failed == 0, "the digit waits behind joined"
    assert stage.leg.queued_ms == 0
    waiting.callback(None)
    assert stage.failed == 1
    assert stage.over == [LegOutcome.APP_FAILED]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_a_hook_that_never_ends_does_not_keep_the_leg() -> None:
    seen: list[str] = []

    class Stuck(App):
        async def joined(self, leg: LegForApps) -> None:
            await Deferred()

        async def left(self, leg: LegForApps, outcome: str) -> None:
            seen.append(outcome)

    stage = Stage(Stuck()).start()
    stage.leg.message_received(HungUp())
    assert stage.over == [LegOutcome.CALLER_HANGUP]
    assert seen == ["caller_hangup"]
    assert stage.failed == 0
