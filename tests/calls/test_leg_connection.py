"""The connection of a leg: another one that takes over, loopback, and when it is read."""

from __future__ import annotations

import pytest

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.interfaces import App
from audiosocket.interfaces import Leg as LegForApps
from audiosocket.wire import FRAME_HEADERS, Audio, Digit, audio_frame
from tests.support.in_memory import Echo, RecordingApp
from tests.support.logged_failures import LoggedFailures
from tests.support.one_leg import VOICE, FakeConnection, LegFixture, RecordingTap, loop_back

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
