"""The imitation of Asterisk: its grid, and a few real calls."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from audiosocket.client.caller import Caller, CallFailed
from audiosocket.client.report import CallReport, ReceiveStats, peak
from audiosocket.client.rules import HeardFrame
from audiosocket.client.sender import Sender
from audiosocket.errors import LocalProtocolError
from audiosocket.wire import HANGUP_FRAME, Audio, Digit, Identified, Parser, audio_frame, digit_frame
from tests.support import bad_servers as servers
from tests.support.bad_servers import CALL, FRAME, message, serve
from tests.support.loopback_server import until
from tests.support.reactor import reactor

# What is sent, and when.


def frames_of(messages: list[bytes]) -> list[Any]:
    return list(Parser(expect_identity=False).receive(b"".join(messages)))


def speech(*, quiet: bool = False, rate: int = 8_000) -> Sender:
    new = Sender(rate, quiet=quiet)
    new.start(10.0)
    return new


def test_frames_are_sent_on_an_absolute_grid() -> None:
    """A late tick does not delay the next one, and what is overdue is sent at once."""
    subject = speech()
    assert subject.next_at == pytest.approx(10.02)
    assert subject.due(10.0199) == []
    assert frames_of(subject.due(10.0201)) == [Audio(8_000, bytes(320))]
    assert len(subject.due(10.0999)) == 3
    assert subject.next_at == pytest.approx(10.10)
    assert subject.max_late == pytest.approx(0.0599)


def test_audio_is_cut_into_frames_and_padded() -> None:
    subject = speech(rate=44_100)
    pcm = bytes(range(1, 251)) * 8
    subject.say(pcm[:900])
    subject.say(pcm[900:])
    heard = [event.pcm for event in frames_of(subject.due(10.06))]
    assert [len(frame) for frame in heard] == [1764] * 3
    assert b"".join(heard) == pcm + bytes(3 * 1764 - len(pcm))
    assert subject.idle
    assert subject.first_said_at == 10.06


def test_exact_frames_and_audio_keep_their_order() -> None:
    subject = speech()
    subject.say(b"a" * 330)
    subject.say_frame(b"b" * 7)
    subject.say_frame(b"c" * 16_192)
    subject.say(b"d" * 320)
    heard = [event.pcm for event in frames_of(subject.due(10.101))]
    assert heard == [b"a" * 320, b"a" * 10 + bytes(310), b"b" * 7, b"c" * 16_192, b"d" * 320]


def test_a_quiet_caller_sends_only_queued_audio() -> None:
    subject = speech(quiet=True)
    assert subject.due(10.5) == []
    subject.say(b"x" * 320)
    assert frames_of(subject.due(10.6)) == [Audio(8_000, b"x" * 320)]
    assert subject.frames == 1


def test_digits_are_sent_100_ms_apart() -> None:
    subject = speech(quiet=True)
    subject.press("1#")
    subject.press("D")
    pressed = [(tick, subject.due(10.0001 + tick * 0.02)) for tick in range(1, 20)]
    assert [(tick, data) for tick, data in pressed if data] == [
        (1, [digit_frame("1")]),
        (6, [digit_frame("#")]),
        (11, [digit_frame("D")]),
    ]
    assert (subject.digits, subject.idle) == ("1#D", True)


@pytest.mark.parametrize("digits", ["1x", "E", "१", " "])
def test_invalid_digits_are_an_error(digits: str) -> None:
    subject = speech()
    with pytest.raises(LocalProtocolError):
        subject.press(digits)
    assert subject.idle, "nothing of it is queued"


def test_beyond_96_frames_the_grid_moves_and_nothing_is_lost() -> None:
    """Asterisk's queue holds 96 frames; ours loses no frame in a delay of our own."""
    subject = speech()
    numbered = [struct.pack("<H", n) * 160 for n in range(300)]
    for payload in numbered:
        subject.say_frame(payload)
    heard = frames_of(subject.due(15.0))
    assert len(heard) == 97
    for tick in range(300):
        heard += frames_of(subject.due(15.0 + tick * 0.02))
    assert [event.pcm for event in heard][:300] == numbered
    assert subject.next_at == pytest.approx(15.0 + 300 * 0.02, abs=0.021)


def test_more_audio_is_counted_than_kept() -> None:
    hearing = ReceiveStats(keep_seconds=0.1)
    loud = struct.pack("<hh", -32768, 100) * 80
    for n in range(10):
        hearing.add(HeardFrame(n * 20.0 + (30 if n >= 5 else 0), 8_000, bytes(320) if n % 2 else loud))
    assert (hearing.count, hearing.ms, hearing.sound_ms, hearing.peak) == (10, 200.0, 100.0, 32768)
    assert (hearing.largest_gap_ms, hearing.late) == (50.0, 1)
    assert len(hearing.frames) == 5
    assert len(hearing.pcm) == 1600
    assert hearing.frames_per_second == pytest.approx(9000 / 210)


@pytest.mark.parametrize(("pcm", "loudest"), [(b"", 0), (b"\0" * 9, 0), (b"\1", 0), (b"\1\0\xfe\xff\7", 2)])
def test_peak_ignores_half_a_sample(pcm: bytes, loudest: int) -> None:
    assert peak(pcm) == loudest


# Real calls.


async def call_for(seconds: float, server: type[servers.Server]) -> CallReport:
    async with serve(server) as listening:
        caller = Caller(reactor)
        await caller.dial("127.0.0.1", listening.port)
        timer = reactor.callLater(seconds, caller.hang_up)
        report = await caller.ended
        if timer.active():
            timer.cancel()
        assert report.broken == caller.broken
        return report


def together(calls: list[type[servers.Server]], seconds: float) -> Deferred[list[CallReport]]:
    return gatherResults([ensureDeferred(call_for(seconds, server)) for server in calls], consumeErrors=True)


WRONG: dict[type[servers.Server], str] = {
    servers.SplitsFrames: "split-frame",
    servers.SplitsPayload: "split-frame",
    servers.NeverFinishesHeader: "partial-header",
    servers.CutsFrame: "cut-frame",
    servers.Resets: "reset",
    servers.SendsAfterHangup: "data-after-hangup",
    servers.StopsSending: "silent-gap",
    servers.Server: "no-first-frame",
    servers.sends(message(0x03, b"5")): "wrong-kind",
    servers.sends(message(0x10, b"")): "empty-audio",
    servers.sends(message(0x10, bytes(16_194))): "oversized-frame",
    servers.sends(FRAME * 250): "ahead-of-time",
    servers.sends(HANGUP_FRAME + b"bye"): "data-after-hangup",
}


@pytest.mark.deadline(15)
async def test_every_faulty_server_breaks_its_rule() -> None:
    """On real sockets; the call ends as soon as the rule is broken."""
    reports = await together(list(WRONG), 6.0)
    assert [report.broken[0].name for report in reports] == list(WRONG.values())
    assert {report.ended_by for report in reports} == {"rule"}
    assert not any(report.ok for report in reports)


async def test_correct_servers_break_no_rule() -> None:
    """Paced, echo, a pause within a header, closing with 0x00 or with a FIN only."""
    right = [
        servers.PacedServer,
        servers.EchoServer,
        servers.PausesInHeader,
        servers.ClosesWithoutHangup,
        servers.HangsUp,
    ]
    reports = await together(right, 1.0)
    assert [report.broken for report in reports] == [()] * 5
    assert [report.ended_by for report in reports] == ["caller", "caller", "caller", "server", "server"]
    assert all(report.ok and report.silence_only for report in reports)
    assert all(report.closed_after_ms is not None for report in reports)


async def test_a_server_that_stops_reading_is_detected_by_a_short_write() -> None:
    """In Asterisk the first write that does not fit ends an app call. Small buffers fill soon."""
    async with serve(servers.NeverReads, receive_buffer=4096) as listening:
        caller = Caller(reactor, send_buffer=4096)
        await caller.dial("127.0.0.1", listening.port)
        report = await caller.ended
        assert [broken.name for broken in report.broken] == ["not-reading"]
        assert report.ended_by == "rule"


async def test_audio_and_digits_are_sent_and_the_echo_received() -> None:
    """The UUID first, audio in 20 ms frames, digits; the echo equals the audio."""
    said = bytes(range(256)) * 10
    async with serve(servers.EchoServer) as listening:
        caller = Caller(reactor, CALL)
        await caller.dial("127.0.0.1", listening.port)
        caller.say(said)
        caller.press("12#")
        await caller.until_said()
        await caller.until_heard(lambda heard: said in heard)
        caller.hang_up()
        report = await caller.ended
        [call] = listening.calls
        assert call.received[0] == Identified(CALL)
        assert call.digits == "12#"
        assert said in b"".join(event.pcm for event in call.received if isinstance(event, Audio))
        assert {len(event.pcm) for event in call.received if isinstance(event, Audio)} == {320}
    assert report.ok
    assert (report.call_id, report.digits_sent, report.ended_by) == (CALL, "12#", "caller")
    assert report.frames_heard == len(caller.heard_frames)
    assert caller.heard == b"".join(frame.pcm for frame in caller.heard_frames)
    assert (caller.heard_rate, report.heard_rate) == (8_000, 8_000)
    assert report.seconds_sound == pytest.approx(0.16)
    assert report.first_said_ms is not None


async def test_hangs_up_with_a_fin_and_reads_to_the_end() -> None:
    """A caller sends no 0x00, receives the rest of the stream, and every `ended` is a Deferred of its own."""

    class SaysGoodbye(servers.PacedServer):
        def readConnectionLost(self) -> None:
            self.transport.write(audio_frame(8_000, b"bye!"))
            super().readConnectionLost()

    async with serve(SaysGoodbye) as listening:
        caller = Caller(reactor)
        ended = caller.ended
        await caller.dial("127.0.0.1", listening.port)
        await caller.until_heard(640)
        caller.hang_up()
        caller.hang_up()
        report = await ended
        assert await caller.ended is report is caller.report
        assert caller.heard.endswith(b"bye!")
        assert not [e for e in listening.calls[0].received if not isinstance(e, Identified | Audio)]
    assert (report.ended_by, report.broken) == ("caller", ())


async def test_resets_like_a_broken_network() -> None:
    async with serve(servers.EchoServer) as listening:
        caller = Caller(reactor)
        await caller.dial("127.0.0.1", listening.port)
        await caller.until_heard(640)
        caller.reset()
        report = await caller.ended
        await until(lambda: bool(listening.calls[0].notes))
        assert listening.calls[0].notes == ["ConnectionLost"]
    assert report.ended_by == "caller"


async def test_closes_immediately_on_the_servers_hangup() -> None:
    """The server that sent 0x00 receives our FIN, without having closed its side."""

    class WaitsForFin(servers.FaultyServer):
        def misbehave(self) -> None:
            self.stop()
            self.transport.write(HANGUP_FRAME)

    report = await call_for(3.0, WaitsForFin)
    assert (report.ended_by, report.broken) == ("server", ())
    assert report.closed_after_ms is not None


async def test_without_a_uuid_no_frame_is_due() -> None:
    """A hostile client: only raw bytes are sent, in order."""
    async with serve(servers.Server) as listening:
        caller = Caller(reactor, identify=False, quiet=True, send_buffer=4096)
        await caller.dial("127.0.0.1", listening.port)
        await deferLater(reactor, 0.7)
        assert listening.calls[0].received == []
        caller.send_raw(message(0x01, CALL.bytes)[:7])
        caller.send_raw(message(0x01, CALL.bytes)[7:] + audio_frame(8_000, b"xy") * 10_000)
        caller.press("9")
        await caller.until(lambda: Digit("9") in listening.calls[0].received)
        assert listening.calls[0].received[0] == Identified(CALL)
        assert listening.calls[0].received.count(Audio(8_000, b"xy")) == 10_000
        caller.hang_up()
        assert (await caller.ended).ok


async def test_a_call_to_a_closed_port_fails_with_a_report() -> None:
    async with serve(servers.Server) as listening:
        port = listening.port
    caller = Caller(reactor)
    with pytest.raises(CallFailed, match=f"cannot be reached at 127.0.0.1 port {port}: Connection refused"):
        await caller.dial("127.0.0.1", port)
    report = await caller.ended
    assert (report.ended_by, report.broken[0].name, report.ok) == ("failed", "unreachable", False)
    with pytest.raises(CallFailed):
        caller.dial("127.0.0.1", port)


async def test_a_name_is_resolved_and_an_unknown_one_reported() -> None:
    async with serve(servers.EchoServer) as listening:
        caller = Caller(reactor)
        await caller.dial("localhost", listening.port)
        await caller.until_heard(320)
        caller.hang_up()
        assert (await caller.ended).ok
    unknown = Caller(reactor)
    with pytest.raises(CallFailed, match=r"no-such-host\.invalid"):
        await unknown.dial("no-such-host.invalid", 8080)


async def test_hanging_up_before_the_connection_cancels_it() -> None:
    caller = Caller(reactor)
    dialling = caller.dial("127.0.0.1", 9)
    caller.hang_up()
    with pytest.raises(CallFailed):
        await dialling
    assert (await caller.ended).ended_by in ("caller", "failed")  # a refusal on loopback may come first


async def test_a_wait_that_cannot_succeed_fails_with_the_reason() -> None:
    """A condition that can no longer be met fails with the reason; one that raises fails with its exception."""
    async with serve(servers.sends(digit_frame("5"))) as listening:
        caller = Caller(reactor)
        await caller.dial("127.0.0.1", listening.port)
        empty: dict[int, bool] = {}
        broken = caller.until(lambda: empty[1])
        with pytest.raises(KeyError):
            await broken
        with pytest.raises(CallFailed, match="kind 0x03") as failed:
            await caller.until_heard(10_000_000)
        assert failed.value.report is caller.report
        with pytest.raises(CallFailed, match="kind 0x03"):
            await caller.until_heard(lambda heard: b"never" in heard)
        await caller.until_heard(320)  # this was heard in time


def _until_heard(caller: Caller, payload: bytes) -> Deferred[None]:
    return caller.until_heard(lambda heard: payload in heard)


async def test_many_callers_at_once_have_their_own_calls() -> None:
    async with serve(servers.EchoServer) as listening:
        callers = [Caller(reactor, uuid4(), rate=16_000) for _ in range(20)]
        await gatherResults([caller.dial("127.0.0.1", listening.port) for caller in callers])
        for number, caller in enumerate(callers, 1):
            caller.say_frame(bytes([number]) * 640)
        said = [bytes([number]) * 640 for number in range(1, 21)]
        waits = [_until_heard(caller, each) for caller, each in zip(callers, said, strict=True)]
        await gatherResults(waits)
        for caller in callers:
            caller.hang_up()
        reports = await gatherResults([caller.ended for caller in callers])
        assert [report.broken for report in reports] == [()] * 20
        assert {call.received[0].call_id for call in listening.calls} == {c.call_id for c in callers}
        assert replace(reports[0], broken=()).ok
