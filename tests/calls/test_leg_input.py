"""What a leg makes of what comes from its peer: rates, codecs, counters, taps."""

from __future__ import annotations

import random
from typing import Any

import pytest

from audiosocket.calls.leg import MAX_RATE_EVENTS
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.media.codec_probe import DECODERS
from audiosocket.media.pcm import slin_to_alaw, slin_to_ulaw, tone
from audiosocket.wire import FRAME_HEADERS, Audio, Digit, Event, HungUp, Ignored, PeerError, audio_frame
from tests.support.in_memory import START, Echo, RecordingApp
from tests.support.logged_failures import LoggedFailures
from tests.support.one_leg import SILENCE, VOICE, LegFixture, RecordingTap

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
