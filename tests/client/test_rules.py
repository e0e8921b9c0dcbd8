"""What the imitation of Asterisk accepts from a server: its rules, with synthetic clocks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audiosocket.client.rules import AsteriskReader, HeardFrame, Rule
from audiosocket.wire import HANGUP_FRAME, KINDS, RATES, Audio, Parser, audio_frame, digit_frame, frame_bytes
from tests.support.bad_servers import CALL, FRAME, message


def reader() -> AsteriskReader:
    """Return a reader whose connection was made and whose UUID was sent at 0.0."""
    new = AsteriskReader(0.0)
    new.identified(0.0)
    return new


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
