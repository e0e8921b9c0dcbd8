"""A leg: what apps receive and may do, what its connection is asked for, and how it ends."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks
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
from audiosocket.wire import (
    FRAME_HEADERS,
    Audio,
    Digit,
    Event,
    HungUp,
    Ignored,
    Parser,
    PeerError,
    audio_frame,
)
from tests.support.in_memory import CALL, START, Echo, RecordingApp
from tests.support.logged_failures import LoggedFailures

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


# what an app sees


def test_an_app_sees_the_call_it_serves() -> None:
    fixture = LegFixture()
    leg: LegForApps = fixture.leg
    assert (leg.call_id, leg.role, leg.extension) == (CALL, Role.VISITOR, DEFAULT_EXTENSION)
    assert (leg.rate, leg.queued_ms, leg.heard_ms) == (8000, 0, 0)
    assert leg.now_ms == pytest.approx(START * 1000)
    assert repr(leg) == f"<visitor leg of {CALL}>"


def test_an_app_receives_everything_in_order() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    fixture.hear(Audio(8000, VOICE), Digit("5"), Audio(8000, b"x"))
    fixture.leg.mark("here")
    fixture.run(20)
    fixture.hear(HungUp())
    assert [(event.method, event.value) for event in app.events] == [
        ("joined", None),
        ("audio", (VOICE, 8000)),
        ("digit", "5"),
        ("audio", (b"x", 8000)),
        ("marked", ("here", 0)),
        ("left", "caller_hangup"),
    ]
    assert {told.leg for told in app.events} == {fixture.leg}


def test_all_apps_of_a_leg_are_called_in_order() -> None:
    order: list[str] = []
    first = RecordingApp(audio=lambda _: order.append("first"))
    second = RecordingApp(audio=lambda _: order.append("second"))
    fixture = LegFixture(first, second).start()
    fixture.hear(Audio(8000, VOICE))
    assert order == ["first", "second"]
    assert first.methods == second.methods == ["joined", "audio"]


def test_the_first_frame_is_sent_at_once_silence_unless_an_app_plays() -> None:
    assert LegFixture(RecordingApp()).start().connection.sent == [(8000, SILENCE)]
    fixture = LegFixture(RecordingApp(joined=lambda leg: leg.play(VOICE))).start()
    assert fixture.connection.sent == [(8000, VOICE)]
    fixture.run(40)
    assert fixture.connection.sent == [(8000, VOICE), (8000, SILENCE), (8000, SILENCE)]


def test_a_mark_is_reached_after_the_audio_before_it() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    assert fixture.leg.play(VOICE * 5)
    fixture.leg.mark("end")
    assert fixture.leg.queued_ms == 100
    fixture.run(100)
    assert fixture.connection.sent == [(8000, SILENCE)] + [(8000, VOICE)] * 5
    assert app.values("marked") == [("end", 100)]
    assert (fixture.leg.queued_ms, fixture.leg.heard_ms) == (0, 100)


def test_a_passed_frame_leaves_at_once() -> None:
    fixture = LegFixture().start()
    fixture.leg.pass_on(b"\1\2" * 7, 16_000)
    assert fixture.connection.sent == [(8000, SILENCE), (16_000, b"\1\2" * 7)]


def test_an_app_may_limit_how_much_passed_audio_waits() -> None:
    fixture = LegFixture().start()
    for n in range(100):
        fixture.leg.pass_on(bytes((n, 1)) * 160, 8000, at_most_ms=200)
    fixture.run(400)
    passed = [pcm[0] for _, pcm in fixture.connection.sent if pcm != SILENCE]
    assert passed[-10:] == list(range(90, 100))
    assert len(passed) == 100 - fixture.leg.playout.dropped < 20


@pytest.mark.parametrize(
    ("pcm", "rate"),
    [(bytes(65_536), 192_000), (VOICE, 11_025), (VOICE, 0), (VOICE, -8000)],
)
def test_a_frame_that_asterisk_rejects_raises_in_the_app_that_passes_it(pcm: bytes, rate: int) -> None:
    """Immediately, and not when it is sent: then it is not known which app passed it."""
    fixture = LegFixture().start()
    for _ in range(10):  # so that the next one has to wait
        fixture.leg.pass_on(VOICE, 8000)
    with pytest.raises(LocalProtocolError):
        fixture.leg.pass_on(pcm, rate)
    fixture.run(500)
    assert fixture.over == []
    assert fixture.leg.connection is fixture.connection


def test_an_empty_frame_is_not_sent() -> None:
    fixture = LegFixture().start()
    fixture.leg.pass_on(b"", 8000)
    assert fixture.leg.play(b"")
    fixture.run(100)
    assert {pcm for _, pcm in fixture.connection.sent} == {SILENCE}


def test_an_apps_note_is_an_event_of_its_leg() -> None:
    fixture = LegFixture().start()
    fixture.run(1_500)
    fixture.leg.note("app.note", text="gate opened", role="faked", event="faked", self="fine")
    assert fixture.call.timeline[-1] == {
        "at_seconds": 1.5,
        "event": "app.note",
        "role": "visitor",
        "text": "gate opened",
        "self": "fine",
    }


def test_an_app_names_the_calls_outcome_once() -> None:
    fixture = LegFixture().start()
    assert fixture.leg.decide("opened")
    assert not fixture.leg.decide("closed")
    assert fixture.call.outcome == "opened"


# what comes from the wire


def test_the_leg_follows_the_rate_of_the_callers_frames() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    fixture.hear(Audio(16_000, VOICE))
    assert (fixture.leg.rate, fixture.record.rate) == (16_000, 16_000)
    assert app.values("audio") == [(VOICE, 16_000)]
    assert fixture.events[-1]["event"] == "leg.rate"
    assert fixture.events[-1]["rate"] == 16_000
    fixture.run(20)
    assert fixture.connection.sent[-1] == (16_000, bytes(640))
    fixture.hear(Audio(16_000, VOICE))
    assert [record["event"] for record in fixture.events] == ["leg.rate"]


def test_rate_changes_are_noted_up_to_a_limit() -> None:
    fixture = LegFixture(RecordingApp()).start()
    for n in range(1_000):
        fixture.hear(Audio(8000 if n % 2 else 16_000, VOICE))
    assert len(fixture.events) == MAX_RATE_EVENTS
    assert fixture.record.frames_in == 1_000
    assert fixture.leg.rate == 8000


@pytest.mark.parametrize("codec", ["ulaw", "alaw"])
@pytest.mark.parametrize("ms", [10, 20, 30, 40, 60])
def test_mislabelled_g711_is_decoded_once_it_is_certain(codec: str, ms: int) -> None:
    """As a dialplan without ``c(slin)`` sends it, in frames of the caller's packets; 320 bytes of it are 40 ms."""
    app, tap = RecordingApp(), RecordingTap()
    fixture = LegFixture(app).start()
    fixture.leg.tap(tap)
    payload = (slin_to_ulaw if codec == "ulaw" else slin_to_alaw)(tone(8000, 440, ms))
    decoded = DECODERS[codec](payload)
    frame = audio_frame(8000, payload)
    for _ in range(1_200 // ms):
        if frame[:3] in FRAME_HEADERS:
            fixture.leg.frames_received(frame, FRAME_HEADERS[frame[:3]])
        else:
            fixture.hear(Audio(8000, payload))
        fixture.run(ms)
    heard = [pcm for pcm, _ in app.values("audio")]
    sure = heard.index(decoded)
    assert sure * ms <= 1_000
    assert heard == [payload] * sure + [decoded] * (len(heard) - sure)
    assert [pcm for _, pcm, _ in tap.received_frames] == heard
    assert len(decoded) * 1000 / 2 / 8000 == ms, "the decoded audio has the duration of the caller's"
    assert fixture.codecs == [codec]
    assert [(r["event"], r["codec"]) for r in fixture.events] == [("leg.codec", codec)]
    fixture.hear(Audio(16_000, payload))
    assert app.values("audio")[-1] == (payload, 16_000), "other kinds are what they say"


@pytest.mark.parametrize("ms", [10, 20, 30, 40, 60])
def test_an_echo_of_decoded_g711_is_slin_at_its_own_pace(ms: int) -> None:
    """Asterisk plays what we send as slin: each frame goes back once, as long as it was, and nothing fills in."""
    fixture = LegFixture(Echo()).start()
    voice = slin_to_ulaw(tone(8000, 440, 3_000))
    frames = [voice[at : at + 8 * ms] for at in range(0, len(voice) - 8 * ms + 1, 8 * ms)]
    for payload in frames:
        fixture.hear(Audio(8000, payload))
        fixture.run(ms)
    second = 1_000 // ms
    assert fixture.codecs == ["ulaw"]
    sent = [(8000, DECODERS["ulaw"](payload)) for payload in frames]
    assert fixture.connection.sent[-second:] == sent[-second:]


def test_an_unknown_codec_is_reported_after_seconds_and_passed_unchanged() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    noise = random.Random(722)
    frames = [noise.randbytes(160) for _ in range(300)]
    for n, payload in enumerate(frames):
        fixture.hear(Audio(8000, payload))
        fixture.run(20)
        assert n > 150 or fixture.codecs == []
    assert [pcm for pcm, _ in app.values("audio")] == frames
    assert fixture.codecs == ["unknown"]


def test_an_unknown_codec_is_decoded_when_it_is_recognised_later() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    noise = random.Random(722)
    payload = slin_to_alaw(tone(8000, 440, 20))
    for n in range(900):
        fixture.hear(Audio(8000, noise.randbytes(160) if n < 300 else payload))
        fixture.run(20)
    assert fixture.codecs == ["unknown", "alaw"]
    assert app.values("audio")[-1] == (DECODERS["alaw"](payload), 8000)


def test_slin_is_never_changed() -> None:
    """In packets of any length, loud and silent."""
    for slin in (tone(8000, 440, 120), bytes(1_920), tone(8000, 1_500, 120, -3.01)):
        for ms in (10, 20, 30, 40, 60):
            app = RecordingApp()
            fixture = LegFixture(app).start()
            frames = [slin[at : at + 16 * ms] for at in range(0, len(slin), 16 * ms)] * 20
            for payload in frames:
                fixture.hear(Audio(8000, payload))
                fixture.run(ms)
            assert app.values("audio") == [(payload, 8000) for payload in frames]
            assert fixture.codecs == []
            assert fixture.events == []


def test_counters() -> None:
    fixture = LegFixture(RecordingApp()).start()
    fixture.hear(Audio(8000, VOICE), Audio(8000, VOICE), Digit("1"), Digit("#"), Ignored(0x42, 3, "unknown kind"))
    fixture.leg.play(VOICE * 3)
    fixture.run(200)
    record = fixture.record
    assert (record.frames_in, record.digits, record.ignored) == (2, 2, 1)
    assert record.frames_out == len(fixture.connection.sent) == 11
    assert record.silence_out == 8
    assert record.last_received == START


def test_any_message_shows_that_the_leg_is_alive() -> None:
    for event in (Audio(8000, VOICE), Digit("1"), Ignored(0x42, 3, "unknown kind")):
        fixture = LegFixture(RecordingApp()).start()
        fixture.run(5_000)
        assert not fixture.record.alive(fixture.time.seconds())
        fixture.hear(event)
        assert fixture.record.alive(fixture.time.seconds())


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
    fixture = LegFixture(app).start()
    fixture.hear(event)
    assert fixture.over == [outcome]
    assert app.values("left") == [outcome.value]


def test_a_frame_that_the_peer_does_not_read_is_not_counted_as_sent() -> None:
    fixture = LegFixture(RecordingApp()).start()
    tap = RecordingTap()
    fixture.leg.tap(tap)
    fixture.connection.full = True
    fixture.run(200)
    assert fixture.record.frames_out == 1
    assert tap.sent_frames == []


# taps


def test_a_tap_receives_both_directions_with_their_times() -> None:
    tap = RecordingTap()
    fixture = LegFixture(RecordingApp(joined=lambda leg: leg.tap(tap))).start()
    fixture.hear(Audio(16_000, VOICE))
    fixture.run(20)
    assert tap.received_frames == [(pytest.approx(START * 1000), VOICE, 16_000)]
    assert tap.sent_frames == [
        (pytest.approx(START * 1000), SILENCE, 8_000),
        (pytest.approx(START * 1000 + 20, abs=5), bytes(640), 16_000),
    ]
    fixture.leg.end(LegOutcome.SERVER_HANGUP)
    fixture.hear(Audio(16_000, VOICE))
    assert len(tap.received_frames) == 1


@pytest.mark.parametrize("method", ["received", "sent"])
def test_a_tap_that_raises_ends_its_own_call(method: str, logged_failures: LoggedFailures) -> None:
    class Broken(RecordingTap):
        pass

    def fail(*_: Any) -> None:
        raise ValueError("broken tap")

    setattr(Broken, method, fail)
    app = RecordingApp(joined=lambda leg: leg.tap(Broken()))
    fixture = LegFixture(app).start()
    fixture.hear(Audio(8000, VOICE))
    fixture.run(100)
    assert fixture.over == [LegOutcome.APP_FAILED]
    assert app.methods[-1] == "left"
    assert fixture.idle
    assert len(logged_failures.flush(ValueError)) == 1


# the end


def test_the_end_is_reported_once_to_owner_connection_and_apps() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    fixture.leg.play(VOICE * 100)
    fixture.leg.end(LegOutcome.ADMIN_HANGUP)
    fixture.leg.end(LegOutcome.SHUTDOWN)
    fixture.leg.hang_up()
    fixture.leg.disconnected(fixture.connection, LegOutcome.CONNECTION_LOST)
    assert fixture.over == [LegOutcome.ADMIN_HANGUP]
    assert app.values("left") == ["admin_hangup"]
    assert fixture.connection.finished == 1
    assert fixture.leg.connection is None
    assert fixture.leg.queued_ms == 0
    assert fixture.idle


def test_nothing_reaches_a_leg_that_has_ended() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    fixture.leg.hang_up()
    sent = len(fixture.connection.sent)
    fixture.hear(Audio(16_000, VOICE), Digit("1"), HungUp(), PeerError(1), Ignored(0x42, 0, "unknown kind"))
    fixture.leg.pass_on(VOICE, 8000)
    fixture.leg.play(VOICE)
    fixture.leg.mark("never")
    fixture.leg.clear()
    fixture.leg.tick(fixture.leg.now_ms + 100)
    fixture.run(200)
    assert app.methods == ["joined", "left"]
    assert len(fixture.connection.sent) == sent
    assert fixture.record.frames_in == 0


def test_a_closed_connection_ends_the_leg() -> None:
    fixture = LegFixture(RecordingApp()).start()
    fixture.leg.disconnected(fixture.connection, LegOutcome.CONNECTION_LOST)
    assert fixture.over == [LegOutcome.CONNECTION_LOST]


@pytest.mark.parametrize("where", ["joined", "audio", "digit", "marked"])
def test_an_app_may_hang_up_in_every_method(where: str) -> None:
    first, second = RecordingApp(**{where: lambda leg: leg.hang_up()}), RecordingApp()
    fixture = LegFixture(first, second).start()
    fixture.leg.mark("now")
    fixture.hear(Audio(8000, VOICE), Digit("1"))
    fixture.run(100)
    fixture.hear(Audio(8000, VOICE), Digit("1"))
    assert fixture.over == [LegOutcome.SERVER_HANGUP]
    assert fixture.connection.finished == 1
    assert first.methods[-1] == "left"
    assert where not in second.methods, "the app before it hung up"
    assert "left" not in first.methods[:-1]
    assert fixture.idle


def test_an_app_that_hangs_up_in_left_changes_nothing() -> None:
    app = RecordingApp(left=lambda leg: leg.hang_up())
    fixture = LegFixture(app).start()
    fixture.hear(HungUp())
    assert fixture.over == [LegOutcome.CALLER_HANGUP]
    assert app.values("left") == ["caller_hangup"]


def test_an_app_that_never_joined_does_not_receive_the_end() -> None:
    first, second = RecordingApp(joined=lambda leg: leg.hang_up()), RecordingApp()
    LegFixture(first, second).start()
    assert first.methods == ["joined", "left"]
    assert second.methods == []


@pytest.mark.parametrize("where", ["joined", "resumed", "audio", "digit", "marked"])
def test_an_app_that_raises_is_reported_and_ends_its_call(where: str, logged_failures: LoggedFailures) -> None:
    bad, good = RecordingApp(**{where: raising(ValueError(where))}), RecordingApp()
    fixture = LegFixture(bad, good).start()
    if where != "joined":
        fixture.leg.mark("now")
        fixture.leg.resume(FakeConnection())
        fixture.hear(Audio(8000, VOICE), Digit("1"))
        fixture.run(100)
    assert fixture.failed == 1
    assert fixture.over == [LegOutcome.APP_FAILED]
    assert [(r["event"], r["app"]) for r in fixture.events if r["event"] == "app.failed"] == [
        ("app.failed", "app0")
    ]
    assert bad.values("left") == ["app_failed"]
    assert where not in good.methods
    assert fixture.idle
    [logged] = logged_failures.flush(ValueError)
    assert logged["name"] == "app0"


def test_an_app_that_raises_in_left_does_not_keep_the_others_from_it(
    logged_failures: LoggedFailures,
) -> None:
    bad, good = RecordingApp(left=raising(ValueError("left"))), RecordingApp()
    fixture = LegFixture(bad, good).start()
    fixture.hear(HungUp())
    assert fixture.over == [LegOutcome.CALLER_HANGUP]
    assert good.values("left") == ["caller_hangup"]
    assert len(logged_failures.flush(ValueError)) == 1


def test_a_leg_whose_audio_cannot_be_converted_ends(
    logged_failures: LoggedFailures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without this it would leave the clock and stay in the books, mute, until the caller gives up."""

    def fail(self: StreamConverter, pcm: bytes) -> bytes:
        raise ValueError("broken converter")

    app = RecordingApp()
    fixture = LegFixture(app).start()
    fixture.leg.play(VOICE * 10, 16_000)
    monkeypatch.setattr(StreamConverter, "feed", fail)
    fixture.run(100)
    assert fixture.over == [LegOutcome.APP_FAILED]
    assert app.methods[-1] == "left"
    assert fixture.connection.finished == 1
    assert fixture.idle
    assert len(logged_failures.flush(ValueError)) == 1


# marks and clear in the same turn


def test_a_clear_at_a_mark_silences_the_rest_of_the_same_tick() -> None:
    """A late turn repays several frames at once; those behind the mark are not sent any more."""
    app = RecordingApp(marked=lambda leg: leg.clear())
    fixture = LegFixture(app).start()
    fixture.run(20)
    fixture.leg.play(VOICE * 2)
    fixture.leg.mark("first")
    fixture.leg.play(b"\x7f\x7f" * 800)
    fixture.leg.mark("second")
    fixture.time.advance(0.110)
    fixture.run(500)
    said = b"".join(pcm for _, pcm in fixture.connection.sent)
    assert said.count(b"\x7f") == 0
    assert app.values("marked") == [("first", 40)]


def test_hanging_up_at_a_mark_sends_no_more_audio() -> None:
    app = RecordingApp(marked=lambda leg: leg.hang_up())
    fixture = LegFixture(app).start()
    fixture.run(20)
    fixture.leg.play(VOICE * 2)
    fixture.leg.mark("end")
    fixture.leg.play(VOICE * 20)
    fixture.time.advance(0.110)
    assert fixture.connection.sent[-2:] == [(8000, VOICE)] * 2
    assert len(fixture.connection.sent) == 2 + 2
    assert fixture.over == [LegOutcome.SERVER_HANGUP]


# a new connection


def test_a_new_connection_takes_over_and_the_queue_goes_on() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    fixture.leg.play(VOICE * 10)
    fixture.leg.mark("end")
    fixture.run(100)
    old, new = fixture.connection, FakeConnection()
    fixture.leg.resume(new)
    fixture.run(300)
    assert old.finished == 1
    assert new.finished == 0
    assert old.sent.count((8000, VOICE)) + new.sent.count((8000, VOICE)) == 10
    assert app.methods == ["joined", "resumed", "marked"]
    assert app.values("marked") == [("end", 200)]
    assert len(fixture.clock) == 1


def test_events_of_the_replaced_connection_are_ignored() -> None:
    fixture = LegFixture(RecordingApp()).start()
    new = FakeConnection()
    fixture.leg.resume(new)
    fixture.leg.disconnected(fixture.connection, LegOutcome.CONNECTION_LOST)
    assert fixture.over == []
    fixture.leg.disconnected(new, LegOutcome.CALLER_HANGUP)
    assert fixture.over == [LegOutcome.CALLER_HANGUP]


@pytest.mark.parametrize("failing", [False, True])
def test_a_leg_that_ends_at_a_mark_while_it_is_resumed_leaves_no_timer(
    failing: bool, logged_failures: LoggedFailures
) -> None:
    def end(leg: LegForApps) -> None:
        if failing:
            raise ValueError("at the mark")
        leg.hang_up()

    app = RecordingApp(marked=end)
    fixture = LegFixture(app).start()
    fixture.leg.mark("now")
    new = FakeConnection()
    fixture.leg.resume(new)
    assert (new.finished, fixture.connection.finished) == (1, 1)
    assert app.methods == ["joined", "marked", "left"]
    assert len(fixture.over) == 1
    assert fixture.idle
    assert len(logged_failures.flush(ValueError)) == failing


# loopback


def test_a_looped_leg_returns_single_and_joined_frames_without_the_clock() -> None:
    fixture = LegFixture(RecordingApp(joined=loop_back)).start()
    sent = len(fixture.connection.sent)
    fixture.run(1_000)
    assert len(fixture.connection.sent) == sent
    lump = b"".join(audio_frame(8000, bytes((n, 1)) * 160) for n in range(50))
    fixture.leg.frames_received(lump, FRAME_HEADERS[lump[:3]])
    assert fixture.connection.sent[sent:] == [(8000, bytes((n, 1)) * 160) for n in range(50)]
    assert (fixture.record.frames_in, fixture.record.frames_out) == (50, sent + 50)


def test_a_looped_leg_follows_the_rate_and_serves_taps() -> None:
    fixture, tap = LegFixture(RecordingApp(joined=loop_back)).start(), RecordingTap()
    fixture.leg.tap(tap)
    wide = audio_frame(16_000, b"\3\4" * 320)
    fixture.leg.frames_received(wide + wide, FRAME_HEADERS[wide[:3]])
    assert fixture.connection.sent[-2:] == [(16_000, b"\3\4" * 320)] * 2
    assert len(tap.received_frames) == len(tap.sent_frames) == 2
    assert fixture.record.rate == 16_000


def test_a_leg_is_read_on_tick_until_a_frame_is_passed_on() -> None:
    fixture = LegFixture(Echo()).start()
    assert fixture.connection.on_tick == [True]
    fixture.leg.play(VOICE)
    fixture.hear(Audio(8000, VOICE))
    assert fixture.connection.on_tick == [True], "while it speaks nothing passes"
    fixture.run(200)
    fixture.hear(Audio(8000, VOICE), Audio(8000, VOICE))
    assert fixture.connection.on_tick == [True, False]


def test_a_new_connection_is_read_on_tick_again() -> None:
    fixture = LegFixture(Echo()).start()
    fixture.hear(Audio(8000, VOICE))
    new = FakeConnection()
    fixture.leg.resume(new)
    assert new.on_tick == [True]
    fixture.hear(Audio(8000, VOICE))
    assert new.on_tick == [True, False]


def test_a_leg_whose_frames_go_to_another_is_read_at_once_from_the_start() -> None:
    class PassesOn(App):
        passes_on = True

    assert LegFixture(App(), PassesOn()).start().connection.on_tick == [False]


def test_a_looped_leg_is_read_at_once() -> None:
    assert LegFixture(RecordingApp(joined=loop_back)).start().connection.on_tick == []
    later = LegFixture(RecordingApp(digit=loop_back)).start()
    later.hear(Digit("1"))
    assert later.connection.on_tick == [True, False]


def test_frames_after_the_end_of_a_leg_in_the_same_read_are_ignored() -> None:
    app = RecordingApp(audio=lambda leg: leg.hang_up())
    fixture = LegFixture(app).start()
    lump = audio_frame(8000, VOICE) * 3
    fixture.leg.frames_received(lump, FRAME_HEADERS[lump[:3]])
    assert app.methods.count("audio") == 1


# live audio


def test_live_audio_is_sent_at_once_and_not_far_ahead() -> None:
    fixture = LegFixture().start()
    fixture.time.advance(0.003)
    fixture.leg.play(VOICE * 5, live=True)
    assert [pcm for _, pcm in fixture.connection.sent] == [SILENCE, VOICE]
    assert 20 < fixture.leg.ahead_ms <= 40
    fixture.run(100)
    assert [pcm for _, pcm in fixture.connection.sent] == [SILENCE, *[VOICE] * 5]


def test_a_stream_of_live_frames_is_passed_on_without_a_gap() -> None:
    fixture = LegFixture().start()
    for _ in range(50):
        fixture.time.advance(0.002)
        fixture.leg.play(VOICE, live=True)
        fixture.time.advance(0.008)
        fixture.run(10)
    assert [pcm for _, pcm in fixture.connection.sent[1:]] == [VOICE] * 50
    assert fixture.record.underruns == 0


def test_less_than_a_frame_of_live_audio_waits_for_the_rest() -> None:
    fixture = LegFixture().start()
    fixture.leg.play(VOICE[:100], live=True)
    assert [pcm for _, pcm in fixture.connection.sent] == [SILENCE]
    fixture.leg.play(VOICE[100:], live=True)
    assert [pcm for _, pcm in fixture.connection.sent] == [SILENCE, VOICE]


def test_a_mark_behind_live_audio_is_reached_at_its_time() -> None:
    app = RecordingApp()
    fixture = LegFixture(app).start()
    begun = fixture.time.seconds()
    fixture.leg.play(VOICE * 2, live=True)
    fixture.leg.mark("end")
    while not app.values("marked"):
        fixture.time.advance(0.005)
        fixture.leg.tick(fixture.time.seconds() * 1000)
    # Silence until 20 ms, then two frames: the second is heard from 40 to 60 ms.
    assert 0.034 <= fixture.time.seconds() - begun <= 0.061


def test_paused_audio_waits_and_silence_is_sent() -> None:
    fixture = LegFixture().start()
    fixture.leg.play(VOICE * 3)
    fixture.leg.pause(True)
    fixture.run(100)
    assert {pcm for _, pcm in fixture.connection.sent} == {SILENCE}
    fixture.leg.pause(False)
    fixture.run(60)
    assert [pcm for _, pcm in fixture.connection.sent][-3:] == [VOICE] * 3
    assert fixture.record.underruns == 0


# apps that take over


def test_an_app_that_hands_over_is_replaced_in_its_place() -> None:
    bot, recorder, fallback = RecordingApp(), RecordingApp(), RecordingApp()
    fixture = LegFixture(bot, recorder).start()
    fixture.known["porteiro"] = fallback
    fixture.leg.play(VOICE * 50)
    fixture.leg.hand_over(bot, "porteiro", "no connection")
    fixture.leg.message_received(Digit("1"))
    fixture.leg.end(LegOutcome.CALLER_HANGUP)
    assert bot.methods == ["joined"]
    assert fallback.methods == ["joined", "digit", "left"]
    assert recorder.methods == ["joined", "digit", "left"]
    assert fixture.leg.queued_ms == 0
    (event,) = [event for event in fixture.events if event["event"] == "app.replaced"]
    assert (event["app"], event["to"], event["reason"]) == ("app0", "porteiro", "no connection")
    assert fixture.call.states == {(Role.VISITOR, REPLACED): {"apps": "porteiro+app1"}}


def test_an_app_that_hands_over_while_it_joins_is_replaced() -> None:
    fallback, recorder = RecordingApp(), RecordingApp()
    bot = RecordingApp(joined=lambda leg: leg.hand_over(bot, "porteiro", "refused"))
    fixture = LegFixture(bot, recorder)
    fixture.known["porteiro"] = fallback
    fixture.start()
    fixture.leg.message_received(Digit("1"))
    assert fallback.methods == ["joined", "digit"]
    assert recorder.methods == ["joined", "digit"]


def test_a_leg_handed_back_to_an_app_that_gave_it_up_ends() -> None:
    first, second = RecordingApp(), RecordingApp()
    fixture = LegFixture(first).start()
    fixture.known.update(first=first, second=second)
    fixture.leg.hand_over(first, "second", "one")
    fixture.leg.hand_over(second, "first", "two")
    assert fixture.over == [LegOutcome.SERVER_HANGUP]


def test_the_audio_of_a_replaced_app_goes_to_the_next_one_only() -> None:
    bot, fallback = Echo(), RecordingApp()
    fixture = LegFixture(bot).start()
    fixture.known["porteiro"] = fallback
    fixture.leg.hand_over(bot, "porteiro", "x")
    fixture.leg.message_received(Audio(8000, VOICE))
    assert fallback.methods == ["joined", "audio"]
    assert VOICE not in [pcm for _, pcm in fixture.connection.sent]


# coroutines


def test_a_hook_that_is_a_coroutine_runs_and_its_failure_ends_the_call(logged_failures: LoggedFailures) -> None:
    class Slow(App):
        async def joined(self, leg: LegForApps) -> None:
            await waiting
            leg.play(VOICE)

        async def digit(self, leg: LegForApps, digit: str) -> None:
            raise ZeroDivisionError

    waiting: Deferred[None] = Deferred()
    fixture = LegFixture(Slow()).start()
    fixture.leg.message_received(Digit("1"))
    assert fixture.failed == 0, "the digit waits behind joined"
    assert fixture.leg.queued_ms == 0
    waiting.callback(None)
    assert fixture.failed == 1
    assert fixture.over == [LegOutcome.APP_FAILED]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_a_hook_that_returns_a_deferred_ends_the_call_when_that_fails(logged_failures: LoggedFailures) -> None:
    class OlderStyle(App):
        @inlineCallbacks
        def joined(self, leg: LegForApps) -> Any:
            yield waiting
            raise ZeroDivisionError

    waiting: Deferred[None] = Deferred()
    fixture = LegFixture(OlderStyle()).start()
    assert fixture.failed == 0
    waiting.callback(None)
    assert fixture.failed == 1
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_a_hook_that_never_ends_does_not_keep_the_leg() -> None:
    seen: list[str] = []

    class Stuck(App):
        async def joined(self, leg: LegForApps) -> None:
            await Deferred()

        async def left(self, leg: LegForApps, outcome: str) -> None:
            seen.append(outcome)

    fixture = LegFixture(Stuck()).start()
    fixture.leg.message_received(HungUp())
    assert fixture.over == [LegOutcome.CALLER_HANGUP]
    assert seen == ["caller_hangup"]
    assert fixture.failed == 0
