"""How a leg ends, and what does not end it."""

from __future__ import annotations

import pytest

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.media.resample import StreamConverter
from audiosocket.wire import Audio, Digit, HungUp, Ignored, PeerError
from tests.support.in_memory import RecordingApp
from tests.support.logged_failures import LoggedFailures
from tests.support.one_leg import VOICE, FakeConnection, LegFixture, raising

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
