"""What the API shows of a leg's audio: levels, sound, late turns and marks."""

from __future__ import annotations

import pytest

from audiosocket.calls.call import MAX_MARK_NAME, MAX_MARKS
from audiosocket.extensions.model import Role
from audiosocket.interfaces import Leg
from audiosocket.json_shapes import LegJSON
from audiosocket.media.pcm import SILENT_DBFS, slin_to_ulaw, tone
from audiosocket.wire import audio_frame
from tests.support.in_memory import CALL, InMemoryServer, RecordingApp

LOUD = audio_frame(8000, tone(8000, 400, 20, -20))


def shown(server: InMemoryServer, role: Role = Role.VISITOR, *, timeline: bool = True) -> LegJSON:
    """Return the leg as the API shows it."""
    call = server.registry.get(CALL)
    assert call is not None
    return next(leg for leg in call.to_json(server.now, timeline=timeline)["legs"] if leg["role"] == role.value)


def playing(pcm: bytes, mark: str = "end") -> RecordingApp:
    """Return an app that plays ``pcm`` at 8 kHz and sets a mark."""

    def play(leg: Leg) -> None:
        leg.play(pcm, 8000)
        leg.mark(mark)

    return RecordingApp(joined=play)


def test_a_leg_shows_the_levels_of_both_directions_and_when_there_was_sound() -> None:
    server = InMemoryServer(playing(tone(8000, 400, 2_000, -30)))
    line = server.join()
    server.run(1_000, line, frame=LOUD)
    leg = shown(server)
    assert leg["level_in"] == pytest.approx(-20, abs=0.3)
    assert leg["level_out"] == pytest.approx(-30, abs=0.3)
    whole = [pytest.approx(0.1, abs=0.1), pytest.approx(0.9, abs=0.1)]
    assert (leg["sound_in"], leg["sound_out"]) == ([whole], [whole])


def test_many_calls_are_shown_without_their_spans() -> None:
    server = InMemoryServer(RecordingApp())
    server.run(200, server.join(), frame=LOUD)
    leg = shown(server, timeline=False)
    assert leg["level_in"] == pytest.approx(-20, abs=0.3)
    assert not {"sound_in", "sound_out", "late", "marks"} & leg.keys()


def test_a_leg_that_receives_nothing_has_no_level_and_sends_silence() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(500, line, frame=LOUD)
    server.run(1_500)
    leg = shown(server)
    assert (leg["level_in"], leg["level_out"]) == (None, SILENT_DBFS)
    assert leg["sound_out"] == []


def test_a_leg_that_has_ended_has_no_levels_and_keeps_when_there_was_sound() -> None:
    server = InMemoryServer(RecordingApp())
    line = server.join()
    server.run(500, line, frame=LOUD)
    line.hang_up()
    leg = shown(server)
    assert (leg["level_in"], leg["level_out"], len(leg["sound_in"])) == (None, None, 1)


def test_the_level_of_g711_under_the_kind_of_slin_is_that_of_its_audio() -> None:
    server = InMemoryServer(RecordingApp())
    voice = tone(8000, 400, 20, -20)
    server.run(2_000, server.join(), frame=audio_frame(8000, slin_to_ulaw(voice)))
    assert shown(server)["level_in"] == pytest.approx(-20, abs=0.5)


def test_a_leg_shows_when_its_turns_were_late() -> None:
    server = InMemoryServer(RecordingApp())
    server.join()
    server.run(500)
    server.stall(100)
    server.run(2_000)
    server.stall(100)
    server.run(500)
    leg = shown(server)
    assert leg["late_turns"] >= 2
    assert [begin for begin, _ in leg["late"]] == [pytest.approx(0.6, abs=0.03), pytest.approx(2.7, abs=0.03)]


def test_a_leg_shows_the_latest_marks_that_were_reached() -> None:
    def set_marks(leg: Leg) -> None:
        for n in range(MAX_MARKS + 5):
            leg.mark(f"mark {n}" + "x" * 100)

    server = InMemoryServer(RecordingApp(joined=set_marks))
    server.join()
    server.run(40)
    marks = shown(server)["marks"]
    assert len(marks) == MAX_MARKS
    assert marks[-1]["name"].startswith(f"mark {MAX_MARKS + 4}x")
    assert len(marks[-1]["name"]) == MAX_MARK_NAME
    assert marks[-1]["at_seconds"] == pytest.approx(0.0, abs=0.05)


def test_the_next_resident_of_a_call_adds_to_what_the_one_before_leaves() -> None:
    server = InMemoryServer(RecordingApp(), accept_unexpected_resident=True)
    visitor = server.join()
    first = server.join(role=Role.RESIDENT)
    server.run(500, visitor, first, frame=LOUD)
    first.reset()
    server.run(2_000, visitor)
    second = server.join(role=Role.RESIDENT)
    server.run(500, visitor, second, frame=LOUD)
    leg = shown(server, Role.RESIDENT)
    assert leg["resumes"] == 1
    assert [begin for begin, _ in leg["sound_in"]] == [pytest.approx(0.1, abs=0.1), pytest.approx(2.6, abs=0.1)]
