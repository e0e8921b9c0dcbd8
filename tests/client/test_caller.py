"""The imitation of Asterisk: its rules with synthetic clocks, its grid, and a few real calls."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater

from audiosocket.client.caller import Caller, CallFailed
from audiosocket.client.report import CallReport, ReceiveStats, peak
from audiosocket.client.rules import AsteriskReader, HeardFrame, Rule
from audiosocket.client.sender import Sender
from audiosocket.errors import LocalProtocolError
from audiosocket.wire import (
    HANGUP_FRAME,
    KINDS,
    RATES,
    Audio,
    Digit,
    Identified,
    Parser,
    audio_frame,
    digit_frame,
    frame_bytes,
)
from tests.support import bad_servers as servers
from tests.support.bad_servers import FRAME, serve
from tests.support.reactor import reactor

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")


def reader() -> AsteriskReader:
    """Return a reader whose connection was made and whose UUID was sent at 0.0."""
    new = AsteriskReader(0.0)
    new.identified(0.0)
    return new


def message(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


def watch(subject: AsteriskReader, start: float, end: float) -> None:
    """Let the reader find nothing to read every 20 ms until ``end``."""
    now = start
    while now < end:
        subject.nothing_to_read(now)
        now += 0.02
    subject.nothing_to_read(end)


def rule_of(subject: AsteriskReader) -> Rule | None:
    return subject.broken.rule if subject.broken else None


# Rules without time.


def test_audio_of_every_rate_is_accepted() -> None:
    """Asterisk transcodes all nine kinds on any call."""
    for rate in RATES.values():
        subject = reader()
        pcm = bytes(range(256)) * (frame_bytes(rate) // 256 + 1)
        assert subject.receive(audio_frame(rate, pcm), 0.1) == [HeardFrame(100.0, rate, pcm)]
        assert subject.broken is None


def test_frames_of_any_length_are_accepted() -> None:
    """Asterisk accepts odd lengths and a second in one frame; it ignores the last half sample."""
    for size in (1, 2, 319, 320, 321, 1600, 16_191, 16_192, 16_193):
        subject = reader()
        [frame] = subject.receive(audio_frame(8_000, bytes(size)), 0.1)
        assert frame.pcm == bytes(size)
        assert frame.ms == size // 2 / 8
        assert subject.broken is None


MESSAGES: list[tuple[bytes, Rule | None]] = [
    (message(0x01, CALL.bytes), Rule.WRONG_KIND),
    (message(0x02, b""), Rule.WRONG_KIND),
    (message(0x03, b"5"), Rule.WRONG_KIND),
    (message(0x0F, bytes(320)), Rule.WRONG_KIND),
    (message(0x19, bytes(320)), Rule.WRONG_KIND),
    (message(0xFF, b"\x01"), Rule.WRONG_KIND),
    *((message(kind, b""), Rule.EMPTY_AUDIO) for kind in RATES),
    (message(0x10, bytes(16_194)), Rule.OVERSIZED_FRAME),
    (message(0x11, bytes(24_290)), Rule.OVERSIZED_FRAME),
    (message(0x11, bytes(24_288)), None),
    (message(0x12, bytes(32_386)), Rule.OVERSIZED_FRAME),
    (message(0x16, bytes(65_535)), None),
    (HANGUP_FRAME, None),
    (HANGUP_FRAME + b"\0", Rule.AFTER_HANGUP),
    (message(0x00, b"why"), Rule.AFTER_HANGUP),
]


def test_each_forbidden_message_breaks_its_rule() -> None:
    """As soon as its header is read; all other messages are accepted."""
    for data, rule in MESSAGES:
        subject = reader()
        subject.receive(FRAME + data, 0.1)
        assert rule_of(subject) is rule, data[:3]
        if rule not in (None, Rule.AFTER_HANGUP):
            early = reader()
            early.receive(data[:3], 0.1)
            assert rule_of(early) is rule, data[:3]


def test_nothing_is_received_after_a_broken_rule() -> None:
    """Asterisk ends the call immediately, and the first broken rule is reported."""
    subject = reader()
    frames = subject.receive(FRAME + digit_frame("5") + FRAME + message(0x10, b""), 0.1)
    assert len(frames) == 1
    assert subject.receive(FRAME, 0.2) == []
    assert rule_of(subject) is Rule.WRONG_KIND


def test_a_rule_has_a_name_a_time_and_a_sentence() -> None:
    subject = reader()
    subject.receive(digit_frame("5"), 1.25)
    assert subject.broken is not None
    assert (subject.broken.name, subject.broken.at_ms) == ("wrong-kind", 1250.0)
    assert subject.broken.sentence.startswith("the server sent a message of kind 0x03 and 1 bytes; Asterisk ends")
    assert all(rule.consequence for rule in Rule)


_messages = st.lists(
    st.one_of(
        st.builds(audio_frame, st.sampled_from(sorted(KINDS)), st.binary(min_size=1, max_size=40)),
        st.builds(message, st.integers(0, 255), st.binary(max_size=5)),
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(_messages, st.lists(st.integers(0, 400), max_size=12))
@example(FRAME + HANGUP_FRAME + FRAME, [323, 325, 326, 327])
def test_the_result_does_not_depend_on_how_bytes_are_split(data: bytes, cuts: list[int]) -> None:
    """The same bytes at the same time give the same frames and break the same rule."""
    whole, cut = reader(), reader()
    frames = whole.receive(data, 0.1)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert [frame for piece in pieces for frame in cut.receive(piece, 0.1)] == frames
    assert rule_of(cut) is rule_of(whole)
    assert (cut.hung_up, cut.next_read) == (whole.hung_up, whole.next_read)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.binary(min_size=1, max_size=700)), max_size=6))
def test_the_client_and_the_codec_decode_the_same(frames: list[tuple[int, bytes]]) -> None:
    """For valid streams the client and `wire.Parser` return the same frames."""
    data = b"".join(audio_frame(rate, pcm) for rate, pcm in frames)
    heard = AsteriskReader(0.0).receive(data, 1.0)
    assert [Audio(frame.rate, frame.pcm) for frame in heard] == Parser(expect_identity=False).receive(data)


# Rules about time.


@pytest.mark.parametrize(("first", "pause", "rule"), [(3, 0.0045, None), (3, 0.006, Rule.SPLIT_FRAME)])
def test_the_rest_of_a_frame_has_five_milliseconds(first: int, pause: float, rule: Rule | None) -> None:
    """Measured with Asterisk: a call survives 4.5 ms, not 6 ms."""
    subject = reader()
    subject.receive(FRAME[:first], 0.1)
    assert subject.next_read == pytest.approx(0.105)
    subject.nothing_to_read(0.1 + pause)
    subject.receive(FRAME[first:], 0.1 + pause)
    assert rule_of(subject) is rule


def test_each_byte_of_a_payload_starts_the_five_milliseconds_again() -> None:
    """Asterisk polls again after each read."""
    subject = reader()
    subject.receive(FRAME + FRAME[:3], 0.1)
    for at in range(3, 323):
        now = 0.1 + (at - 2) * 0.004
        subject.nothing_to_read(now - 0.0005)
        heard = subject.receive(FRAME[at : at + 1], now)
    assert len(heard) == 1
    assert subject.broken is None


def test_a_late_read_is_not_a_split_frame() -> None:
    """A late read that finds the rest is no proof that it was sent late."""
    subject = reader()
    subject.receive(FRAME[:100], 0.1)
    assert len(subject.receive(FRAME[100:], 0.9)) == 1
    assert subject.broken is None


def test_a_header_may_be_partial_for_a_second() -> None:
    """Asterisk would wait without limit; frames before and after are accepted."""
    subject = reader()
    subject.receive(FRAME + FRAME[:2], 0.1)
    watch(subject, 0.1, 1.0)
    assert subject.next_read is None
    assert len(subject.receive(FRAME[2:] + FRAME[:1], 1.0)) == 1
    watch(subject, 1.0, 1.9)
    subject.receive(FRAME[1:2], 1.9)
    assert subject.broken is None
    watch(subject, 1.9, 2.1)
    assert rule_of(subject) is Rule.PARTIAL_HEADER


def test_the_first_frame_is_due_within_500_ms_of_the_uuid() -> None:
    subject = AsteriskReader(0.0)
    watch(subject, 0.0, 5.0)
    assert subject.broken is None, "without a UUID the server owes nothing"
    subject.identified(5.0)
    watch(subject, 5.0, 5.48)
    assert subject.broken is None
    watch(subject, 5.48, 5.54)
    assert rule_of(subject) is Rule.NO_FIRST_FRAME


def test_a_gap_may_last_1900_ms() -> None:
    subject = reader()
    subject.receive(FRAME, 0.1)
    watch(subject, 0.1, 1.98)
    subject.receive(FRAME, 1.99)
    watch(subject, 2.0, 3.88)
    assert subject.broken is None
    watch(subject, 3.88, 3.94)
    assert rule_of(subject) is Rule.SILENT_GAP


def test_a_server_may_send_before_the_uuid() -> None:
    """Asterisk accepts it; after that the limit for gaps applies."""
    subject = AsteriskReader(0.0)
    assert subject.receive(FRAME, 0.01)
    subject.identified(0.02)
    watch(subject, 0.02, 1.0)
    assert subject.broken is None


def test_our_own_delay_is_not_a_gap_of_the_server() -> None:
    """Time in which we did not read does not count, neither for the first frame nor for a gap."""
    subject = reader()
    subject.nothing_to_read(30.0)
    subject.receive(FRAME, 30.1)
    subject.nothing_to_read(60.0)
    subject.receive(FRAME[:2], 60.1)
    subject.nothing_to_read(90.0)
    assert subject.broken is None


@pytest.mark.parametrize(("ahead", "rule"), [(6, None), (7, Rule.AHEAD_OF_TIME), (250, Rule.AHEAD_OF_TIME)])
def test_a_frame_may_begin_120_ms_early(ahead: int, rule: Rule | None) -> None:
    """``ahead`` frames more than real time allows, after one second."""
    subject = reader()
    for tick in range(50):
        subject.nothing_to_read(0.02 * tick)
        subject.receive(FRAME, 0.02 * tick)
    subject.receive(FRAME * (ahead + 1), 1.0)
    assert rule_of(subject) is rule
    assert subject.most_ahead_ms >= min(ahead, 6) * 20 - 1


def test_a_burst_is_detected_although_the_first_frame_was_late() -> None:
    """Real time counts from the first frame, not from the UUID."""
    subject = reader()
    watch(subject, 0.0, 0.4)
    subject.receive(FRAME * 8, 0.4)
    assert rule_of(subject) is Rule.AHEAD_OF_TIME


def test_long_frames_in_real_time_are_not_early() -> None:
    """Its start counts: a frame of one second in every second is real time."""
    subject = reader()
    for second in range(5):
        subject.nothing_to_read(second)
        subject.receive(audio_frame(8_000, bytes(16_000)), float(second))
        watch(subject, second, second + 0.98)
    assert subject.broken is None


@pytest.mark.parametrize(
    ("data", "reset", "rule"),
    [
        (FRAME, False, None),
        (FRAME, True, Rule.RESET),
        (FRAME + FRAME[:2], False, Rule.CUT_FRAME),
        (FRAME + FRAME[:100], False, Rule.CUT_FRAME),
        (FRAME + HANGUP_FRAME, False, None),
        (FRAME + HANGUP_FRAME, True, None),
        (b"", False, None),
    ],
)
def test_the_rules_for_the_end_of_a_connection(data: bytes, reset: bool, rule: Rule | None) -> None:
    """A FIN between frames is accepted like 0x00; after 0x00 even a reset is harmless."""
    subject = reader()
    subject.receive(data, 0.1)
    subject.ended(0.1, reset=reset)
    assert rule_of(subject) is rule


def test_no_rule_is_checked_after_our_own_hangup() -> None:
    """Asterisk would not see it; frames are still received."""
    subject = reader()
    subject.receive(FRAME[:100], 0.1)
    subject.stop_checking()
    watch(subject, 0.1, 4.0)
    assert len(subject.receive(FRAME[100:] + FRAME * 20 + message(0x77, b"x"), 4.0)) == 21
    subject.ended(5.0, reset=True)
    assert subject.broken is None


# Servers on a busy machine.


def play(server_writes: list[tuple[float, bytes]], looks: list[tuple[float, float]]) -> AsteriskReader:
    """Read at each ``(asked, done)`` what was written until ``asked``; without data the reader finds nothing."""
    subject, waiting = reader(), list(server_writes)
    for asked, done in looks:
        data = b""
        while waiting and waiting[0][0] <= asked:
            data += waiting.pop(0)[1]
        if data:
            subject.receive(data, done)
        else:
            subject.nothing_to_read(asked)
    return subject


def paced(stalls: list[tuple[float, float]], ahead: int, seconds: float) -> list[tuple[float, bytes]]:
    """Return what a driftless pacer writes that is ``ahead`` frames ahead and suspended during ``stalls``."""
    writes: list[tuple[float, bytes]] = []
    sent, now = 0, 0.0
    while now < seconds:
        asleep = [start + length for start, length in stalls if start <= now < start + length]
        if asleep:
            now = max(asleep)
            continue
        due = int(round(now / 0.02, 6)) + 1 + ahead
        writes.extend((now, FRAME) for _ in range(due - sent))
        sent = due
        now += 0.02
    return writes


def look_times(naps: list[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Return times of reads every 10 ms with delays between two reads or between a read and its time."""
    looks, now = [], 0.0
    naps = sorted(naps)
    while now < seconds:
        asked = now
        while naps and naps[0][0] <= now:
            now += naps.pop(0)[1]
        looks.append((asked, now + 0.0001))
        now += 0.01
    return looks


_naps = st.lists(st.tuples(st.floats(0.1, 4.0), st.floats(0.0, 1.7)), max_size=6)


@settings(max_examples=100, deadline=None)
@given(
    server=_naps, caller=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 6)), max_size=8), ahead=st.integers(0, 5)
)
def test_a_paced_server_never_breaks_a_rule(
    server: list[tuple[float, float]], caller: list[tuple[float, float]], ahead: int
) -> None:
    """Whatever the delays of the client, and those of the server within the rules."""
    quiet: list[tuple[float, float]] = []
    for start, length in sorted(server):  # far enough apart that no two stalls make one
        if not quiet or start > sum(quiet[-1]) + 0.1:
            quiet.append((start, length))
    subject = play(paced(quiet, ahead, 6.0), look_times(caller, 5.9))
    assert subject.broken is None


def test_the_same_simulation_finds_the_faults_of_a_bad_server() -> None:
    """So that the property above can fail."""
    looks = look_times([], 5.9)
    assert rule_of(play(paced([], 8, 6.0), looks)) is Rule.AHEAD_OF_TIME
    assert rule_of(play(paced([(1.0, 2.0)], 0, 6.0), looks)) is Rule.SILENT_GAP
    assert rule_of(play([(0.6, FRAME)], looks)) is Rule.NO_FIRST_FRAME
    halves = [(0.1, FRAME[:10]), (0.12, FRAME[10:])]
    assert rule_of(play(halves, looks)) is Rule.SPLIT_FRAME
    assert rule_of(play(halves, look_times([(0.1, 0.03)], 0.4))) is None


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
        await deferLater(reactor, 0.05)
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
