"""What leaves on a leg's connection: frames, marks, live audio."""

from __future__ import annotations

import pytest

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.errors import LocalProtocolError
from tests.support.in_memory import RecordingApp
from tests.support.one_leg import SILENCE, VOICE, LegFixture


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
