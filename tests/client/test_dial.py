"""The test caller's command line: arguments, calls, what it tells, exit status."""

from __future__ import annotations

import json
import signal
import struct
import sys
import wave
from io import StringIO
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from audiosocket import dial
from audiosocket.client.echo_detection import PIECE_MS, Echo, as_one_sound, choose_pieces, find_echo, tone_pattern
from audiosocket.client.options import DialOptions, parse
from audiosocket.client.report import CallReport, ReceiveStats, summary
from audiosocket.client.rules import BrokenRule, HeardFrame, Rule
from audiosocket.client.sender import Sender
from audiosocket.client.summary import CallSummary, describe
from audiosocket.media.resample import convert
from audiosocket.media.soundfile import read_wav
from audiosocket.wire import HANGUP_FRAME, KINDS, Audio, Identified, frame_bytes
from tests.support import bad_servers as servers
from tests.support.bad_servers import serve
from tests.support.reactor import reactor
from tests.support.server_process import ROOT, checkout_environment

CALL = "0f8fad5b-d9cb-469f-a165-70867728950e"


# Arguments.


def test_a_call_without_options_sends_notes_for_five_seconds() -> None:
    order = parse(["localhost:8080"])
    assert (order.host, order.port, order.rate, order.seconds) == ("localhost", 8080, 8_000, 5.0)
    assert (order.digits, order.save, len(order.call_ids)) == ("", None, 1)
    assert order.sound == tone_pattern(8_000)
    assert (order.greeting_seconds, parse(["h:1", "--seconds", "1"]).greeting_seconds) == (3.0, 0.125)


def test_addresses() -> None:
    orders = [parse([text]) for text in ("10.0.0.7:1", "[::1]:65535", "voice_1.example:80")]
    where = [(order.host, order.port) for order in orders]
    assert where == [("10.0.0.7", 1), ("::1", 65_535), ("voice_1.example", 80)]


def test_every_option(tmp_path: Path) -> None:
    options = {"--uuid": CALL, "--digits": "12#a", "--seconds": "0.5", "--rate": "44100"}
    order = parse(
        ["h:1", *(word for option in options.items() for word in option), "--save", str(tmp_path / "out.wav")]
    )
    assert order.call_ids == (UUID(CALL),)
    assert (order.digits, order.seconds, order.rate) == ("12#A", 0.5, 44_100)
    assert order.recordings == [tmp_path / "out.wav"]
    assert len(order.sound) == 2 * 44_100


def test_many_calls_have_distinct_uuids_and_files(tmp_path: Path) -> None:
    order = parse(["h:1", "--calls", "12", "--save", str(tmp_path / "heard.wav")])
    assert len(set(order.call_ids)) == 12
    assert [path.name for path in order.recordings if path] == [f"heard-{n}.wav" for n in range(1, 13)]


WRONG_ARGUMENTS: list[tuple[list[str], str]] = [
    ([], "HOST:PORT"),
    (["localhost"], "'localhost' is not HOST:PORT"),
    (["::1:8080"], "brackets"),
    (["[::1]"], "is not HOST:PORT"),
    (["h:0"], "a port is 1 to 65535"),
    (["h:65536"], "a port is 1 to 65535"),
    (["h:٨٠"], "is not HOST:PORT"),
    (["h:1", "more"], "more"),
    (["h:1", "--uuid", "17"], "'17' is not a UUID"),
    (["h:1", "--uuid", CALL.replace("-", "")], "is not a UUID"),
    (["h:1", "--uuid", CALL, "--calls", "2"], "--uuid is for one call"),
    (["h:1", "--digits", "1x"], "'1x': the keys are"),
    (["h:1", "--calls", "0"], "'0' is not a number from 1"),
    (["h:1", "--seconds", "nan"], "'nan' is not a number of seconds"),
    (["h:1", "--seconds", "-1"], "'-1' is not a number of seconds"),
    (["h:1", "--rate", "11025"], "'11025' is none of 8000, 12000"),
    (["h:1", "--play", "nothing-here.wav"], "--play: sound file nothing-here.wav: No such file"),
    (["h:1", "--save", "nowhere/out.wav"], "--save: there is no directory nowhere"),
    (["h:1", "--save", "."], "--save: . is a directory"),
    (["h:1", "--sec", "3"], "--sec"),
]


def test_wrong_arguments_are_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, complaint in WRONG_ARGUMENTS:
        with pytest.raises(SystemExit) as ended:
            parse(arguments)
        out, line = capsys.readouterr()
        assert ended.value.code == 2
        assert complaint in line
        assert (out, line.count("\n")) == ("", 1), arguments


# Finding an echo.


def heard_as(pcm: bytes, rate: int, from_ms: float) -> list[HeardFrame]:
    size = frame_bytes(rate)
    return [HeardFrame(from_ms + n / size * 20, rate, pcm[n : n + size]) for n in range(0, len(pcm), size)]


@pytest.mark.parametrize(
    ("rate", "listened"), [(8_000, 8_000), (8_000, 16_000), (48_000, 8_000), (44_100, 24_000)]
)
def test_an_echo_is_found_with_its_delay(rate: int, listened: int) -> None:
    """At another rate, quieter, in noise, after silence: the delay is exact to 2 ms."""
    pieces = choose_pieces(tone_pattern(rate), rate)
    assert [round(piece.at_ms) for piece in pieces] == [0, 260, 520, 780]
    noise = np.random.default_rng(7).normal(0, 150, listened * 3)
    echo = np.frombuffer(convert(tone_pattern(rate), rate, listened), "<i2") * 0.3
    noise[listened // 4 : listened // 4 + len(echo)] += echo
    frames = heard_as(noise.astype("<i2").tobytes(), listened, 100.0)
    found = find_echo(pieces, 20.0, frames)
    assert found is not None
    assert found.delay_ms == pytest.approx(100 + 250 - 20, abs=2)
    assert found.likeness > 0.8


def test_other_sounds_are_not_an_echo() -> None:
    """Silence, noise, another melody, our own chime, and what was received before the audio was sent."""
    pieces = choose_pieces(tone_pattern(8_000), 8_000)
    noise = np.random.default_rng(7).normal(0, 5_000, 24_000).astype("<i2").tobytes()
    other = b"".join(
        (np.sin(np.arange(4_000) * hz / 8_000 * 6.2832) * 9_000).astype("<i2").tobytes()
        for hz in (440, 640, 720, 790)
    )
    chime = read_wav(ROOT / "audiosocket" / "apps" / "sounds" / "welcome.wav", 8_000)
    for pcm in (b"", bytes(32_000), b"\1\0" * 16_000, noise, other, chime):
        assert find_echo(pieces, 0.0, heard_as(pcm, 8_000, 1.0)) is None
    assert find_echo(pieces, 5_000.0, heard_as(tone_pattern(8_000), 8_000, 100.0)) is None


def test_an_echo_with_a_gap_is_found() -> None:
    """With silence inserted in a note the next note is found, with the silence in its delay."""
    said = tone_pattern(8_000)
    pieces = choose_pieces(said, 8_000)
    found = find_echo(pieces, 0.0, heard_as(said[:1600] + bytes(640) + said[1600:], 8_000, 100.0))
    assert found is not None
    assert found.likeness > 0.99
    assert found.delay_ms == pytest.approx(140, abs=1)


def test_the_loudest_pieces_are_searched_for() -> None:
    """Not for the noise before it; silence has none."""
    hiss = np.random.default_rng(7).normal(0, 40, 8_000).astype("<i2").tobytes()
    pieces = choose_pieces(hiss + tone_pattern(8_000), 8_000)
    assert 800 <= pieces[0].at_ms <= 1_000
    assert choose_pieces(bytes(16_000), 8_000) == []
    assert choose_pieces(b"", 8_000) == []
    assert choose_pieces(tone_pattern(8_000)[:400], 8_000) == [(0.0, 8_000, tone_pattern(8_000)[:400])]


def test_frames_of_several_rates_are_joined() -> None:
    """A server may begin at 8 kHz before it knows the caller's rate; the rate of most frames is used."""
    loud = b"\x00\x10" * 320
    frames = [HeardFrame(0, 8_000, bytes(320)), *heard_as(loud * 4, 16_000, 20), HeardFrame(99, 16_000, b"\1\2\3")]
    pcm, rate = as_one_sound(frames)
    assert rate == 16_000
    assert len(pcm) == 640 + len(loud) * 4 + 2
    assert pcm.endswith(loud * 4 + b"\1\2")
    with pytest.raises(ValueError):
        as_one_sound([])


def test_the_notes_last_one_second() -> None:
    for rate in KINDS:
        samples = np.frombuffer(tone_pattern(rate), "<i2")
        assert len(samples) == rate
        assert 6_000 < np.abs(samples).max() <= 9_000
        assert samples[0] == 0


# Real calls.


def order_for(port: int, seconds: float | None, sound: bytes = b"", **more: object) -> DialOptions:
    given = {"call_ids": (UUID(CALL),), "digits": "", "rate": 8_000, "save": None, **more}
    return DialOptions(host="127.0.0.1", port=port, sound=sound or tone_pattern(8_000), seconds=seconds, **given)  # type: ignore[arg-type]


async def test_a_call_without_faults_has_status_0(tmp_path: Path) -> None:
    """Digits after the sound, the echo found, the received audio saved."""
    save = tmp_path / "heard.wav"
    async with serve(servers.EchoServer) as listening:
        out = StringIO()
        order = order_for(listening.port, 1.6, digits="7#", save=save)
        assert await dial.run(reactor, order, out) == 0
        [call] = listening.calls
        assert call.received[0] == Identified(UUID(CALL))
        assert call.digits == "7#"
    text = out.getvalue()
    for part in (f"Call {CALL} to 127.0.0.1", "digits 7#", "1.00 s sound", "what was said came back after"):
        assert part in text
    assert "rules        none broken" in text
    assert str(save) in text
    with wave.open(str(save)) as sound:
        assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (8_000, 2, 1)
        assert tone_pattern(8_000) in sound.readframes(sound.getnframes())


@pytest.mark.parametrize("seconds", ["0.3", "0.5", "1", "1.9", "2", "3"])
def test_a_note_and_its_echo_fit_into_a_short_call(seconds: str) -> None:
    order = parse(["h:1", "--seconds", seconds])
    assert order.greeting_seconds + PIECE_MS / 1000 + 0.06 <= float(seconds)


async def test_waits_for_the_end_of_a_greeting() -> None:
    """So that an echo is found of a server that echoes only while it plays nothing."""

    class Greets(servers.PacedServer):
        def begin(self) -> None:
            super().begin()
            self.queue = [b"\0\x10" * 160] * 20

        def audio(self, event: Audio) -> None:
            if any(event.pcm) and not self.queue:
                self.queue.append(event.pcm)

    async with serve(Greets) as listening:
        [summary] = await dial.place_calls(reactor, order_for(listening.port, 2.2, greeting_seconds=3.0))
    assert summary.ok
    assert summary.report.first_said_ms is not None
    assert summary.report.first_said_ms > 790
    assert summary.echo is not None


async def test_the_wait_for_a_pause_is_limited() -> None:
    class Talks(servers.PacedServer):
        def begin(self) -> None:
            super().begin()
            self.queue = [b"\0\x10" * 160] * 500

    async with serve(Talks) as listening:
        [summary] = await dial.place_calls(reactor, order_for(listening.port, 0.7, greeting_seconds=0.5))
    assert summary.report.first_said_ms is not None
    assert summary.report.first_said_ms >= 499
    assert (summary.echo, summary.sought, summary.too_short) == (None, False, True)
    assert "the call was too short to tell: --seconds 5 or more" in describe([summary], "localhost", 8080)


async def test_plays_a_file_and_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--play: any WAV, converted to the rate of the call, and a wait for the answer, which is shorter here."""
    monkeypatch.setattr(dial, "TAIL_SECONDS", 0.4)
    question = tmp_path / "question.wav"
    with wave.open(str(question), "wb") as sound:
        sound.setparams((2, 2, 24_000, 0, "NONE", ""))
        mono = np.frombuffer(tone_pattern(24_000), "<i2")[: 24_000 // 2]
        sound.writeframes(np.repeat(mono, 2).tobytes())
    arguments = ["--rate", "16000", "--play", str(question)]
    async with serve(servers.EchoServer) as listening:
        [summary] = await dial.place_calls(reactor, parse([f"127.0.0.1:{listening.port}", *arguments]))
        rates = {event.rate for event in listening.calls[0].received if isinstance(event, Audio)}
    assert rates == {16_000}
    assert summary.ok
    assert summary.echo is not None
    assert summary.report.seconds_sound == pytest.approx(0.5, abs=0.03)
    assert summary.report.seconds >= 0.9


async def test_a_broken_rule_is_reported_with_status_1() -> None:
    async with serve(servers.SplitsFrames) as listening:
        out = StringIO()
        assert await dial.run(reactor, order_for(listening.port, 3.0), out) == 1
    assert "BROKEN       split-frame at " in out.getvalue()
    assert "the server sent the header of a frame and 0 of its 320 bytes" in out.getvalue()


async def test_a_failed_call_has_status_1() -> None:
    async with serve(servers.Server) as listening:
        port = listening.port
    out = StringIO()
    assert await dial.run(reactor, order_for(port, 3.0), out) == 1
    assert "the call could not be placed" in out.getvalue()
    assert "Connection refused" in " ".join(out.getvalue().split())


class Refuses(servers.Server):
    def identified(self) -> None:
        self.transport.write(HANGUP_FRAME)
        self.transport.loseConnection()


@pytest.mark.parametrize("number", [1, 6])
async def test_a_refused_call_is_named_as_such_with_status_1(number: int) -> None:
    """Whoever hears nothing has not been served, though no rule was broken."""
    ids = tuple(UUID(int=n + 1) for n in range(number))
    async with serve(Refuses) as listening:
        out = StringIO()
        assert await dial.run(reactor, order_for(listening.port, 3.0, call_ids=ids), out) == 1
    expected = (
        "REFUSED      the server hung up before it sent any audio" if number == 1 else "REFUSED      6 calls"
    )
    assert expected in out.getvalue()


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_terminal_shows_at_once_what_is_called_and_how_long_it_lasts() -> None:
    async with serve(servers.EchoServer) as listening:
        out = Terminal()
        assert await dial.run(reactor, order_for(listening.port, 0.9), out) == 0
    line = f"\ra call to 127.0.0.1 port {listening.port}: "
    assert out.getvalue().startswith(f"{line}0 of 0.9 s{line}")
    before, _, report = out.getvalue().partition("\r\x1b[K")
    assert "\n" not in before
    assert report.startswith(f"Call {CALL} to ")


async def test_what_is_no_terminal_gets_the_report_only() -> None:
    async with serve(servers.EchoServer) as listening:
        out = StringIO()
        assert await dial.run(reactor, order_for(listening.port, 0.3), out) == 0
    assert out.getvalue().startswith(f"Call {CALL} to ")


async def test_the_report_as_json_is_all_that_is_printed_on_a_terminal_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serve(servers.EchoServer) as listening:
        out = Terminal()
        order = order_for(listening.port, 1.6, json=True, resident_port=8_081)
        assert await dial.run(reactor, order, out) == 0
    assert f":8081 --uuid {CALL} --keyboard" in capsys.readouterr().err
    answer = json.loads(out.getvalue())
    assert (answer["status"], answer["host"], answer["port"]) == ("success", "127.0.0.1", listening.port)
    [call] = answer["calls"]
    assert (call["call_id"], call["ok"], call["refused"], call["ended_by"]) == (CALL, True, False, "caller")
    assert (call["heard_rate"], call["broken"], call["saved"], call["unsaved"]) == (8_000, [], None, "")
    assert call["frames_heard"] > 50
    assert call["echo"]["delay_ms"] > 0
    assert call["seconds_sound"] > 0.5


async def test_the_json_of_calls_that_failed_or_broke_rules_says_error() -> None:
    order = order_for(1, 0.3, json=True)
    out = StringIO()
    assert await dial.run(reactor, order, out) == 1
    answer = json.loads(out.getvalue())
    [call] = answer["calls"]
    assert answer["status"] == "error"
    assert (call["ok"], call["ended_by"], call["connected_ms"], call["peak_dbfs"]) == (False, "failed", None, None)
    assert "Connection refused" in call["broken"][0]["sentence"]


async def test_many_calls_are_summarized() -> None:
    ids = tuple(UUID(int=n) for n in range(1, 9))
    async with serve(servers.EchoServer) as listening:
        out = StringIO()
        assert await dial.run(reactor, order_for(listening.port, 0.9, call_ids=ids), out) == 0
        assert {call.received[0].call_id for call in listening.calls} == set(ids)
    text = out.getvalue()
    assert "8 calls to 127.0.0.1" in text
    assert "came back in 8 of 8 calls" in text
    assert "8 by the caller" in text
    assert str(ids[0]) not in text


async def test_a_file_that_cannot_be_written_is_reported_with_status_1(tmp_path: Path) -> None:
    """The report is printed all the same."""
    save = tmp_path / "heard.wav"
    async with serve(servers.PacedServer) as listening:
        order = order_for(listening.port, 0.2, save=save)
        save.mkdir()
        out = StringIO()
        assert await dial.run(reactor, order, out) == 1
    assert "NOT SAVED" in out.getvalue()
    assert "rules        none broken" in out.getvalue()


# The summary.


def report(**changes: object) -> CallReport:
    fields: dict[str, object] = {
        "call_id": UUID(CALL),
        "connected_at": 0.0,
        "broken": (),
        "ended_by": "caller",
        "connected_ms": 0.4,
        "seconds": 5.0,
        "most_ahead_ms": 0.0,
        "closed_after_ms": 1.0,
    }
    hearing = ReceiveStats()
    for n in range(3):
        hearing.add(HeardFrame(10.0 + 20 * n, 8_000, struct.pack("<h", 1000 * (n == 1)) * 160))
    return summary(hearing, Sender(8_000, quiet=False), **{**fields, **changes})  # type: ignore[arg-type]


def test_the_summary_of_one_call() -> None:
    broken = BrokenRule(Rule.RESET, 1234.5, "reset the connection (RST)")
    text = describe(
        [CallSummary(report(broken=(broken,), ended_by="rule"), Echo(41.4, 0.97), sought=True)], "::1", 8080
    )
    assert text == (
        f"Call {CALL} to [::1]:8080\n"
        "  connected    in 0.4 ms, first frame after 10.0 ms\n"
        "  sent         0 frames\n"
        "  heard        3 frames at 8000 Hz, 0.06 s: 0.02 s sound (peak -30.3 dBFS), 0.04 s silence\n"
        "  pace         50.0 frames/s, largest gap 20 ms, none late\n"
        "  echo         what was said came back after 41 ms, 97% alike\n"
        "  ended        by the caller, because of a broken rule after 5.00 s\n"
        "  BROKEN       reset at 1234 ms: the server reset the connection (RST); Asterisk hangs up its caller\n"
        "               on a reset: send 0x00, read to the end, then close"
    )


def test_the_summary_of_many_calls() -> None:
    bad = BrokenRule(Rule.RESET, 9.0, "reset the connection (RST)")
    calls = [CallSummary(report(), Echo(20.0 + n, 1.0), sought=True) for n in range(5)]
    calls += [
        CallSummary(report(broken=(bad,), ended_by="rule")),
        CallSummary(report(ended_by="failed", connected_ms=None)),
    ]
    text = describe(calls, "h", 1)
    assert text.splitlines()[:3] == [
        "7 calls to h:1, 6 connected, the longest 5.0 s",
        "                    least    median      most",
        "  connected ms        0.4       0.4       0.4",
    ]
    assert "  echo ms            20.0      22.0      24.0" in text
    assert "came back in 5 of 5 calls" in text
    assert "5 by the caller, 1 by the caller, because of a broken rule, 1 before they began" in text
    assert f"reset in 1 call, for instance {CALL} at 9 ms" in " ".join(text.split())
    assert all(len(line) <= 100 for line in text.splitlines())


def test_the_summary_notes_our_own_lateness() -> None:
    """A gap may be due to the machine of the client."""
    late = Sender(8_000, quiet=False)
    late.start(0.0)
    late.due(0.42)
    hearing = ReceiveStats()
    for at in (0.0, 400.0):
        hearing.add(HeardFrame(at, 8_000, bytes(320)))
    call = CallSummary(
        summary(
            hearing,
            late,
            call_id=UUID(CALL),
            connected_at=0.0,
            broken=(),
            ended_by="caller",
            connected_ms=1.0,
            seconds=1.0,
            most_ahead_ms=30.0,
            closed_after_ms=None,
        )
    )
    text = " ".join(describe([call], "h", 1).split())
    assert "largest gap 400 ms, 1 late, up to 30 ms ahead (this machine itself was up to 400 ms late)" in text
    assert "only digital silence" in text
    assert "had not closed when the caller stopped waiting" in text


# The real command.


class Command(ProcessProtocol):
    """``python -m audiosocket.dial`` with its own reactor, signals and exit status."""

    def __init__(self, *arguments: str) -> None:
        self.text = ""
        self.done: Deferred[int] = Deferred()
        command = [sys.executable, "-m", "audiosocket.dial", *arguments]
        self.process = reactor.spawnProcess(
            self, sys.executable, command, env=checkout_environment(), path=str(ROOT)
        )

    def outReceived(self, data: bytes) -> None:
        self.text += data.decode()

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        assert isinstance(reason.value, ProcessDone | ProcessTerminated)
        self.done.callback(reason.value.exitCode)


@pytest.mark.deadline(20)
async def test_an_interrupt_prints_the_report() -> None:
    """SIGINT hangs up and prints the report; wrong arguments exit immediately with status 2."""
    wrong = Command("nowhere")
    async with serve(servers.PacedServer) as listening:
        command = Command(f"localhost:{listening.port}", "--seconds", "600")
        while not (listening.calls and len(listening.calls[0].received) > 10):
            await deferLater(reactor, 0.02)
        command.process.signalProcess(signal.SIGINT)
        assert await command.done == 0, command.text
    assert "ended        by the caller" in command.text
    assert "rules        none broken" in command.text
    assert await wrong.done == 2
    assert wrong.text.count("\n") == 1


@pytest.mark.deadline(20)
async def test_the_command_fails_when_a_rule_is_broken() -> None:
    async with serve(servers.sends(b"\x03\0\x015")) as listening:
        command = Command(f"127.0.0.1:{listening.port}")
        assert await command.done == 1, command.text
    assert "wrong-kind" in command.text
