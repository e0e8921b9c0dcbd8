"""The app play: a sound, whole, at the caller's rate, and what follows as set in PLAY_THEN."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from audiosocket.apps.echo import Echo
from audiosocket.apps.play import PIECE_SECONDS, WELCOME, Pieces, Play
from audiosocket.errors import InvalidSound
from audiosocket.extensions.model import Role
from audiosocket.interfaces import App, Leg, SoundSource
from audiosocket.media.pcm import tone
from audiosocket.media.sound_cache import SoundCache
from audiosocket.media.soundfile import read_wav
from audiosocket.settings import Settings
from tests.support.fake_leg import FakeLeg, ManualThread, app_context, as_leg

NUMBERS = b"".join(n.to_bytes(2, "little") for n in range(1, 32_001))


def numbered(samples: int) -> bytes:
    """Return samples that all differ; none is zero."""
    return (NUMBERS * (samples // 32_000 + 1))[: 2 * samples]


def write_wav(path: Path, pcm: bytes, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm)
    return path


def talk(turn: int) -> bytes:
    return b"\7\0" * 160


def wide(turn: int) -> bytes:
    return b"\7\0" * 320


class Shelf:
    """Sounds made in memory, also of lengths too large for a file in a test."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[int] = []

    def get(self, path: Path, rate: int) -> Deferred[bytes]:
        self.asked.append(rate)
        return succeed(numbered(int(self.seconds * rate)))


class Broken:
    """A source in which every sound is broken."""

    def get(self, path: Path, rate: int) -> Deferred[bytes]:
        return fail(InvalidSound(f"sound file {path}: it is broken"))


class Rig:
    """One play app with its legs."""

    def __init__(
        self,
        path: Path | str = "",
        then: str = "continue",
        *,
        sounds: SoundSource | None = None,
        others: tuple[App, ...] = (),
    ) -> None:
        self.clock = Clock()
        values = {"PLAY_FILE": str(path), "PLAY_THEN": then}
        self.app = Play(app_context(self.clock, values, sounds=sounds))
        self.leg = FakeLeg(self.clock, self.app, *others)

    def start(self) -> FakeLeg:
        self.leg.join()
        return self.leg


class TestSound:
    def test_is_played_whole_and_then_there_is_silence(self, tmp_path: Path) -> None:
        leg = Rig(write_wav(tmp_path / "a.wav", numbered(4000))).start()
        leg.run(1000, talk)
        assert leg.sent_pcm() == numbered(4000).ljust(25 * 320, b"\0")
        assert leg.sources()[-20:] == ["silence"] * 20
        assert leg.outcome is None

    def test_is_a_chime_when_no_file_is_set(self) -> None:
        leg = Rig().start()
        leg.run(5000, talk)
        assert leg.sent_pcm().rstrip(b"\0") == read_wav(WELCOME, 8000).rstrip(b"\0")

    def test_begins_with_the_first_frame_of_the_caller(self, tmp_path: Path) -> None:
        leg = Rig(write_wav(tmp_path / "a.wav", numbered(4000))).start()
        leg.run(60, talk)
        assert leg.sources() == ["silence", "spoken", "spoken", "spoken"]

    def test_begins_without_a_frame_of_the_caller_after_40_ms(self, tmp_path: Path) -> None:
        leg = Rig(write_wav(tmp_path / "a.wav", numbered(4000))).start()
        leg.run(100)
        assert leg.sources() == ["silence", "silence", "spoken", "spoken", "spoken", "spoken"]

    def test_is_loaded_at_the_callers_rate(self) -> None:
        """A caller in wideband receives wideband, and the sound is converted once for all calls."""
        shelf = Shelf(0.5)
        leg = Rig(sounds=shelf).start()
        leg.run(1000, wide, rate=16_000)
        assert shelf.asked == [16_000]
        assert leg.sent_pcm() == numbered(8000)
        assert {frame.rate for _, frame in leg.sent[1:]} == {16_000}

    def test_is_loaded_at_48_khz_at_most(self) -> None:
        shelf = Shelf(0.5)
        leg = Rig(sounds=shelf).start()
        leg.run(1000, lambda turn: b"\7\0" * 3840, rate=192_000)
        assert shelf.asked == [48_000]
        assert leg.heard_ms == 500

    def test_follows_a_rate_that_is_known_late(self) -> None:
        """A caller that was muted at first; the piece being played is converted, the next ones are not."""
        shelf = Shelf(7)
        leg = Rig(sounds=shelf).start()
        leg.run(500)
        leg.run(8000, wide, rate=16_000)
        assert shelf.asked == [8000, 16_000]
        assert leg.heard_ms == 7000
        assert leg.sent_pcm().endswith(numbered(7 * 16_000)[4 * 32_000 :])

    def test_continues_where_it_was_when_the_disk_was_slow(self, tmp_path: Path) -> None:
        """Loaded again at another rate, the sound came after all that was queued had been sent."""
        thread = ManualThread()
        leg = Rig(write_wav(tmp_path / "a.wav", numbered(56_000)), "hangup", sounds=SoundCache(thread)).start()
        leg.run(500)
        thread.held = True
        leg.run(5000, wide, rate=16_000)
        assert (leg.heard_ms, leg.outcome) == (4000, None)
        thread.run()
        leg.run(4000, wide, rate=16_000)
        assert (leg.heard_ms, leg.outcome) == (7000, "server_hangup")

    def test_of_any_length_leaves_the_queue_short(self) -> None:
        leg = Rig(sounds=Shelf(20 * 60)).start()
        longest = 0
        for _ in range(40):
            leg.run(500)
            longest = max(longest, leg.queued_ms)
        assert 2000 <= longest <= 2 * PIECE_SECONDS * 1000
        leg.run(9980)
        assert leg.sent_pcm() == numbered(20 * 60 * 8000)[: len(leg.sent_pcm())]
        assert leg.sources().index("spoken") == 2
        assert "silence" not in leg.sources()[2:]

    def test_waits_when_another_app_has_filled_the_queue(self) -> None:
        leg = Rig(sounds=Shelf(5), then="hangup").start()
        while leg.play(bytes(16_000 * 60)):
            assert leg.queued_ms <= 15 * 60_000
        leg.run(100, talk)
        assert leg.queued_ms > 14 * 60_000
        leg.run(15 * 60_000 + 6_000)
        assert leg.sent_pcm().endswith(numbered(40_000))
        assert leg.outcome == "server_hangup"


class TestThen:
    def test_hangup_comes_after_the_last_sample(self, tmp_path: Path) -> None:
        for rate in (8000, 11_025, 16_000, 48_000):
            path = write_wav(tmp_path / f"{rate}.wav", tone(rate, 440, 333.0), rate)
            leg = Rig(path, "hangup").start()
            leg.run(2000, talk)
            assert leg.outcome == "server_hangup"
            assert leg.sent_pcm().rstrip(b"\0") == read_wav(path, 8000).rstrip(b"\0")

    def test_hangup_comes_after_the_last_sample_of_a_converted_sound(self) -> None:
        leg = Rig(sounds=Shelf(0.333), then="hangup").start()
        leg.run(50)
        leg.run(1000, wide, rate=16_000)
        assert leg.outcome == "server_hangup"
        assert leg.heard_ms == 333

    def test_loop_has_neither_end_nor_gap(self, tmp_path: Path) -> None:
        sound = numbered(4321)
        leg = Rig(write_wav(tmp_path / "a.wav", sound), "loop").start()
        longest = 0
        for _ in range(40):
            leg.run(500, talk)
            longest = max(longest, leg.queued_ms)
        sent = leg.sent_pcm()
        assert len(sent) >= 19 * 16_000
        assert sent == (sound * (len(sent) // len(sound) + 1))[: len(sent)]
        assert "silence" not in leg.sources()[1:]
        assert longest <= 2 * PIECE_SECONDS * 1000

    def test_loop_has_no_gap_when_the_clock_is_late(self, tmp_path: Path) -> None:
        """Six frames at once, with the end of a piece among them."""
        leg = Rig(write_wav(tmp_path / "a.wav", numbered(16_001)), "loop").start()
        leg.run(100, talk)
        for _ in range(200):
            leg.stall(110)
        sent = leg.sent_pcm()
        assert sent == (numbered(16_001) * 20)[: len(sent)]
        assert "silence" not in leg.sources()[1:]

    def test_loop_follows_a_rate_that_is_known_late_from_where_it_is(self) -> None:
        leg = Rig(sounds=Shelf(1.5), then="loop").start()
        leg.run(500)
        leg.run(9500, wide, rate=16_000)
        assert "silence" not in leg.sources()[2:]
        assert leg.heard_ms == 9980
        # Pieces of 2 s: 4 s were queued at 8 kHz, so the first one at 16 kHz begins 1 s into the sound.
        assert leg.sent_pcm()[-32_000:] in numbered(24_000) * 3

    @pytest.mark.parametrize("then", ["loop", "continue"])
    def test_a_sound_without_a_sample_is_over_at_once(self, then: str) -> None:
        shelf = Shelf(0)
        leg = Rig(sounds=shelf, then=then).start()
        leg.run(1000, talk)
        assert shelf.asked == [8000]
        assert set(leg.sources()) == {"silence"}

    def test_continue_leaves_the_leg_to_the_other_apps(self, tmp_path: Path) -> None:
        clock = Clock()
        settings = app_context(clock, {"PLAY_FILE": str(write_wav(tmp_path / "a.wav", numbered(1600)))})
        leg = FakeLeg(clock, Play(settings), Echo(settings))
        leg.join()
        leg.run(1000, talk)
        assert leg.sources()[1:] == ["spoken"] * 10 + ["passed"] * (len(leg.sent) - 11)
        assert len(leg.sent) > 40


class TestLegs:
    def test_that_has_ended_before_the_sound_is_loaded_plays_nothing(self, tmp_path: Path) -> None:
        thread = ManualThread(held=True)
        path = write_wav(tmp_path / "a.wav", numbered(4000))
        leg = Rig(path, "hangup", sounds=SoundCache(thread)).start()
        leg.run(100, talk)
        leg.end("caller_hangup")
        thread.run()
        leg.run(100)
        assert leg.outcome == "caller_hangup"
        assert leg.queued_ms == 0

    def test_that_ends_at_once_leaves_no_timer(self) -> None:
        rig = Rig()
        rig.start().end()
        assert rig.clock.getDelayedCalls() == []

    def test_that_resumes_plays_the_rest_once(self, tmp_path: Path) -> None:
        leg = Rig(write_wav(tmp_path / "a.wav", numbered(8000))).start()
        leg.run(300, talk)
        leg.stall(900)
        leg.resume()
        leg.run(2000, talk)
        assert leg.sent_pcm() == numbered(8000)

    def test_that_joins_again_plays_from_the_start(self, tmp_path: Path) -> None:
        rig = Rig(write_wav(tmp_path / "a.wav", numbered(8000)))
        leg = rig.start()
        leg.run(300, talk)
        leg.end()
        again = FakeLeg(rig.clock, rig.app)
        again.resume()
        again.run(2000, talk)
        assert again.sent_pcm() == numbered(8000)

    def test_of_one_call_play_independently(self, tmp_path: Path) -> None:
        rig = Rig(write_wav(tmp_path / "a.wav", numbered(8000)), "hangup")
        visitor = rig.start()
        visitor.run(500, talk)
        resident = FakeLeg(rig.clock, rig.app, role=Role.RESIDENT)
        resident.join()
        for _ in range(100):
            visitor.receive(talk(0))
            resident.run(20, lambda turn: b"\7\0" * 160)
            visitor.stall(0)
        assert visitor.sent_pcm() == resident.sent_pcm() == numbered(8000)
        assert visitor.outcome == resident.outcome == "server_hangup"
        assert visitor.sent[-1][0] + 400 < resident.sent[-1][0]

    def test_that_another_app_clears_stays_silent(self) -> None:
        """A barge-in is not the end of the sound: the leg is neither hung up nor played the next piece."""

        class Interrupt(App):
            def digit(self, leg: Leg, digit: str) -> None:
                leg.clear()

        leg = Rig(sounds=Shelf(10), then="hangup", others=(Interrupt(),)).start()
        leg.run(1000, talk)
        leg.press("1")
        before = leg.heard_ms
        leg.run(15_000, talk)
        assert (leg.heard_ms, leg.outcome) == (before, None)

    def test_that_never_joined_may_leave(self) -> None:
        """Another app hung up first."""
        leg = Rig().leg
        leg.end()
        assert leg.sent == []

    def test_ignores_marks_of_other_apps(self) -> None:
        leg = Rig(sounds=Shelf(1), then="hangup").start()
        leg.mark("play")
        leg.run(500, talk)
        assert leg.outcome is None


class TestBroken:
    def test_is_logged_once_for_all_calls_and_again_when_it_breaks_again(self, tmp_path: Path) -> None:
        path = tmp_path / "missing.wav"

        def log_of(calls: int) -> list[str]:
            with capturedLogs() as events:
                for _ in range(calls):
                    leg = Rig(path).start()
                    leg.run(200, talk)
                    assert leg.outcome is None
            return [formatEvent(event) for event in events if event["log_level"].name == "error"]

        (line,) = log_of(3)
        assert "PLAY_FILE" in line
        assert str(path) in line
        write_wav(path, numbered(800))
        assert log_of(1) == []
        path.unlink()
        assert len(log_of(2)) == 1

    @pytest.mark.parametrize("then", ["continue", "loop"])
    def test_leaves_the_call_in_silence(self, then: str) -> None:
        leg = Rig("broken.wav", then, sounds=Broken()).start()
        leg.run(2000, talk)
        assert leg.outcome is None
        assert set(leg.sources()) == {"silence"}

    def test_hangs_up_where_play_then_is_hangup(self) -> None:
        leg = Rig("broken.wav", "hangup", sounds=Broken()).start()
        leg.run(200, talk)
        assert leg.outcome == "server_hangup"

    def test_does_not_interrupt_what_is_queued(self) -> None:
        """The file was removed between the first piece and the change of rate."""

        class Fading(Shelf):
            def get(self, path: Path, rate: int) -> Deferred[bytes]:
                return super().get(path, rate) if rate == 8000 else Broken().get(path, rate)

        fading = Fading(7)
        leg = Rig(sounds=fading).start()
        leg.run(500)
        leg.run(8000, wide, rate=16_000)
        assert leg.heard_ms == 7000
        assert fading.asked == [8000]


class TestCheck:
    def check(self, path: Path | str) -> list[str]:
        return list(Play.check(Settings.parse({"PLAY_FILE": str(path)})))

    def test_finds_nothing_wrong_with_the_chime_or_a_good_file(self, tmp_path: Path) -> None:
        assert self.check("") == []
        assert self.check(write_wav(tmp_path / "a.wav", numbered(80))) == []
        (tmp_path / "a.ulaw").write_bytes(b"\xff" * 80)
        assert self.check(tmp_path / "a.ulaw") == []

    def test_names_the_setting_the_file_and_the_reason(self, tmp_path: Path) -> None:
        (missing,) = self.check(tmp_path / "missing.wav")
        assert missing.startswith(f"PLAY_FILE: {tmp_path / 'missing.wav'} ")
        assert "No such file" in missing
        (tmp_path / "song.wav").write_bytes(b"ID3" + bytes(100))
        (song,) = self.check(tmp_path / "song.wav")
        assert "it is MP3, which is not read; convert it: ffmpeg" in song
        (directory,) = self.check(tmp_path)
        assert "Is a directory" in directory


class TestPieces:
    def test_put_together_are_the_sound(self) -> None:
        pcm = numbered(100_001)
        pieces, out = Pieces(pcm, 8000, loop=False), b""
        while piece := pieces.next():
            assert pieces.next() == piece  # until it is taken
            pieces.taken(piece)
            out += piece
        assert out == pcm

    def test_of_a_loop_are_all_of_the_same_length(self) -> None:
        for samples in (1, 7, 15_999, 16_000, 16_001, 40_000):
            pcm = numbered(samples)
            pieces, out = Pieces(pcm, 8000, loop=True), b""
            for _ in range(5):
                out += pieces.next()
                pieces.taken(pieces.next())
            assert len(out) == 5 * 32_000
            assert out == (pcm * (len(out) // len(pcm) + 1))[: len(out)]

    def test_begin_at_a_given_position(self) -> None:
        pieces = Pieces(numbered(8000), 8000, loop=False, since_ms=500)
        assert pieces.at_ms == 500
        assert pieces.next() == numbered(8000)[8000:]
        assert Pieces(numbered(80), 8000, loop=False, since_ms=9999).next() == b""


class TestRestart:
    """The server was killed while the sound was playing, and the leg resumed."""

    def test_continues_with_the_piece_that_was_being_played(self) -> None:
        before = Rig(sounds=Shelf(9.5)).start()
        before.run(5_000, talk)
        app, state = before.remembered[-1]
        assert app is not None
        rig = Rig(sounds=Shelf(9.5))
        rig.leg.resume_after_restart(state)
        rig.leg.run(6_000, talk)
        assert rig.leg.sent_pcm() == numbered(76_000)[4 * 16_000 :]

    @pytest.mark.parametrize(("then", "outcome"), [("continue", None), ("hangup", "server_hangup")])
    def test_plays_nothing_again_when_all_was_played(self, then: str, outcome: str | None) -> None:
        before = Rig(sounds=Shelf(3)).start()
        before.run(4_000, talk)
        rig = Rig(then=then, sounds=Shelf(3))
        rig.leg.resume_after_restart(before.remembered[-1][1])
        rig.leg.run(500, talk)
        assert (rig.leg.sent_pcm(), rig.leg.outcome) == (b"", outcome)

    @pytest.mark.parametrize(
        "state", [None, 5, {}, {"since_ms": "x"}, {"since_ms": float("nan")}, {"since_ms": -5}]
    )
    def test_begins_again_without_a_usable_state(self, state: object) -> None:
        rig = Rig(sounds=Shelf(1))
        rig.leg.resume_after_restart(state)
        rig.leg.run(1_500, talk)
        assert rig.leg.sent_pcm() == numbered(8_000)


class TestHandedOver:
    def test_the_next_process_queues_what_follows_and_nothing_twice(self, tmp_path: Path) -> None:
        sound = numbered(8_000 * PIECE_SECONDS * 4)
        old = Rig(write_wav(tmp_path / "a.wav", sound), "hangup")
        old.start().run(1_000, talk)
        state = old.app.handed_over(as_leg(old.leg))
        new = Rig(tmp_path / "a.wav", "hangup")
        new.app.taken_over(as_leg(new.leg), state)
        assert new.leg.queued_ms == 0, "two pieces are queued already"
        for name in state["marks"]:
            new.app.marked(as_leg(new.leg), name, 0)
        assert new.leg.queued_ms == 2 * PIECE_SECONDS * 1_000
        assert state["since_ms"] == 2 * PIECE_SECONDS * 1_000

    def test_a_leg_without_a_sound_has_nothing_to_hand_over(self, tmp_path: Path) -> None:
        rig = Rig(write_wav(tmp_path / "a.wav", numbered(800)))
        assert rig.app.handed_over(as_leg(rig.leg)) is None
