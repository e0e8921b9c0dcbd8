"""The codec: events do not depend on how a stream is split, and encoders produce only what Asterisk accepts."""

from __future__ import annotations

import itertools
import struct
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audiosocket.errors import LocalProtocolError
from audiosocket.wire import (
    AUDIO,
    DIGITS,
    DTMF,
    ERROR,
    ERROR_TEXTS,
    HANGUP,
    HANGUP_FRAME,
    IDENTITY,
    KINDS,
    MAX_PAYLOAD_BYTES,
    RATES,
    Audio,
    Digit,
    Event,
    HungUp,
    Identified,
    Ignored,
    Parser,
    PeerError,
    Violation,
    audio_frame,
    digit_frame,
    frame_bytes,
    uuid_frame,
)

CALL = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")


def message(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


def after_identity(data: bytes) -> list[Event]:
    """Return the events of ``data`` after the UUID."""
    return Parser().receive(uuid_frame(CALL) + data)[1:]


def in_pieces(data: bytes, cuts: list[int], *, expect_identity: bool = True) -> tuple[list[Event], int]:
    """Return the events of ``data`` split at ``cuts``, and the largest number of bytes stored in between."""
    parser = Parser(expect_identity=expect_identity)
    events: list[Event] = []
    most = 0
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        events += parser.receive(data[start:end])
        most = max(most, len(parser.rest))
    return events, most


# messages


def test_a_uuid_message_identifies_the_call() -> None:
    assert Parser().receive(b"\x01\x00\x10" + CALL.bytes) == [Identified(CALL)]


def test_every_kind_of_audio_has_its_rate() -> None:
    rates = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]
    heard = after_identity(b"".join(message(0x10 + n, bytes([n, 1])) for n in range(9)))
    assert heard == [Audio(rate, bytes([n, 1])) for n, rate in enumerate(rates)]


def test_audio_may_have_any_length_that_fits_the_header() -> None:
    for length in (1, 159, 160, 319, 320, 321, 65_534, 65_535):
        assert after_identity(message(AUDIO, b"\x7f" * length)) == [Audio(8_000, b"\x7f" * length)]


def test_audio_without_samples_is_ignored() -> None:
    assert after_identity(message(0x10) + message(0x18)) == [
        Ignored(0x10, 0, "audio without samples"),
        Ignored(0x18, 0, "audio without samples"),
    ]


def test_every_digit_is_decoded_and_lower_case_becomes_upper_case() -> None:
    pressed = "0123456789*#ABCDabcd"
    heard = after_identity(b"".join(message(DTMF, digit.encode()) for digit in pressed))
    assert heard == [Digit(digit) for digit in pressed.upper()]


def test_a_dtmf_message_without_a_digit_is_ignored() -> None:
    for payload in (b"", b"12", b"E", b" ", b"\0", b"\xdf", b"\xb2", b"\xff", b"1" * 65_535):
        assert after_identity(message(DTMF, payload)) == [Ignored(DTMF, len(payload), "not a digit")]


def test_a_hangup_message_may_have_any_length() -> None:
    """Asterisk does not check the length of 0x00 either."""
    assert after_identity(message(HANGUP) + message(HANGUP, b"bye")) == [HungUp(), HungUp()]


def test_an_error_may_carry_a_code() -> None:
    heard = after_identity(message(ERROR) + message(ERROR, b"\x04") + message(ERROR, b"\x77more"))
    assert heard == [PeerError(None), PeerError(4), PeerError(0x77)]
    assert [event.text for event in heard if isinstance(event, PeerError)] == [
        "unspecified",
        "out of memory",
        "code 0x77",
    ]
    assert {PeerError(code).text for code in ERROR_TEXTS} == set(ERROR_TEXTS.values())


def test_unknown_kinds_are_skipped_with_their_payload() -> None:
    known = {HANGUP, IDENTITY, DTMF, ERROR, *RATES}
    unknown = [kind for kind in range(256) if kind not in known]
    assert len(unknown) == 256 - 13
    for kind in unknown:
        payload = bytes([kind]) * (kind % 7)
        assert after_identity(message(kind, payload) + message(DTMF, b"5")) == [
            Ignored(kind, len(payload), "unknown kind"),
            Digit("5"),
        ]


# violations


def test_a_first_message_that_is_no_uuid_is_rejected_at_its_header() -> None:
    for kind in set(range(256)) - {IDENTITY}:
        parser = Parser()
        assert parser.receive(bytes([kind, 0xFF])) == []
        [broken] = parser.receive(b"\xff")
        assert broken == Violation(f"the first message has kind 0x{kind:02x}, not a UUID (0x01)")


def test_a_uuid_of_another_length_is_rejected_at_its_header() -> None:
    for length in (0, 1, 15, 17, 36, 65_535):
        broken = Violation(f"the UUID message has {length} bytes, not 16")
        assert Parser().receive(struct.pack(">BH", 1, length)) == [broken]


def test_a_second_uuid_is_rejected() -> None:
    assert after_identity(message(DTMF, b"1") + uuid_frame(CALL)) == [
        Digit("1"),
        Violation("a second UUID on one connection"),
    ]


def test_nothing_is_decoded_or_stored_after_a_violation() -> None:
    parser = Parser()
    parser.receive(b"GET / HTTP/1.1\r\n")
    assert len(parser.rest) == 0
    assert parser.receive(uuid_frame(CALL)) == []
    assert len(parser.rest) == 0


def test_a_reader_of_the_other_direction_expects_no_uuid() -> None:
    parser = Parser(expect_identity=False)
    assert parser.receive(audio_frame(8_000, b"ab") + HANGUP_FRAME) == [Audio(8_000, b"ab"), HungUp()]
    assert parser.receive(uuid_frame(CALL)) == [Violation("a second UUID on one connection")]


def test_at_most_one_unfinished_message_is_stored() -> None:
    parser = Parser()
    parser.receive(uuid_frame(CALL) + message(AUDIO, bytes(65_535)) * 3 + message(AUDIO, bytes(65_535))[:-1])
    assert len(parser.rest) == 3 + 65_535 - 1
    assert parser.receive(b"\0") == [Audio(8_000, bytes(65_535))]
    assert len(parser.rest) == 0


# any bytes, any split

MESSAGES = st.builds(
    message,
    st.one_of(
        st.sampled_from([HANGUP, IDENTITY, DTMF, ERROR, *RATES]),
        st.integers(0, 255),
    ),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"5", b"#", CALL.bytes, bytes(320)])),
)
STREAMS = st.one_of(
    st.binary(max_size=200),
    st.lists(MESSAGES, max_size=8).map(b"".join),
    st.lists(MESSAGES, max_size=8).map(lambda them: uuid_frame(CALL) + b"".join(them)),
    st.tuples(st.lists(MESSAGES, max_size=5), st.binary(max_size=20)).map(
        lambda both: uuid_frame(CALL) + b"".join(both[0]) + both[1]
    ),
)


@given(STREAMS, st.lists(st.integers(0, 2_000), max_size=12), st.booleans())
@example(b"\x01", [0], True)
@example(uuid_frame(CALL) + b"\x10\xff\xff" + bytes(65_530), [21, 22], True)
@settings(max_examples=150, deadline=None)
def test_any_bytes_in_any_split_give_the_same_events(data: bytes, cuts: list[int], expect: bool) -> None:
    whole, _ = in_pieces(data, [], expect_identity=expect)
    pieces, most = in_pieces(data, cuts, expect_identity=expect)
    every_byte = list(range(len(data) + 1)) if len(data) < 1_000 else []
    singly, most_singly = in_pieces(data, every_byte, expect_identity=expect)
    assert pieces == whole
    assert singly == whole
    assert max(most, most_singly) < 3 + MAX_PAYLOAD_BYTES


@given(st.lists(MESSAGES, max_size=8))
@settings(max_examples=100, deadline=None)
def test_every_message_becomes_exactly_one_event(messages: list[bytes]) -> None:
    messages = [each for each in messages if each[0] != IDENTITY]
    events = after_identity(b"".join(messages))
    assert len(events) == len(messages)
    assert not [event for event in events if isinstance(event, Identified | Violation)]


@given(st.sampled_from(sorted(KINDS)), st.binary(min_size=1, max_size=2_000))
@settings(max_examples=50, deadline=None)
def test_a_decoded_frame_equals_the_encoded_one(rate: int, pcm: bytes) -> None:
    assert after_identity(audio_frame(rate, pcm)) == [Audio(rate, pcm)]


# encoders


@given(st.integers(-1, 200_000) | st.sampled_from(sorted(KINDS)), st.binary(max_size=64), st.integers(0, 70_000))
@settings(max_examples=200, deadline=None)
def test_audio_frame_produces_only_what_asterisk_accepts(rate: int, pcm: bytes, more: int) -> None:
    pcm += bytes(more)
    if rate not in KINDS or not 0 < len(pcm) <= 65_535:
        with pytest.raises(LocalProtocolError, match=f"{rate} Hz|{len(pcm)} bytes"):
            audio_frame(rate, pcm)
        return
    frame = audio_frame(rate, pcm)
    kind, length = struct.unpack_from(">BH", frame)
    assert 0x10 <= kind <= 0x18
    assert RATES[kind] == rate
    assert length == len(pcm) > 0
    assert frame[3:] == pcm


def test_the_hangup_frame_is_three_zero_bytes() -> None:
    assert HANGUP_FRAME == b"\0\0\0"


def test_digit_frame_rejects_what_is_not_a_digit() -> None:
    assert {digit_frame(digit) for digit in DIGITS} == {message(3, digit.encode()) for digit in DIGITS}
    for wrong in ("", "12", "a", "E", "é", "\0"):
        with pytest.raises(LocalProtocolError, match="is not a DTMF digit"):
            digit_frame(wrong)


def test_20_ms_have_the_size_that_asterisk_sends() -> None:
    """Measured on Asterisk 22.10 for ``c(slin)`` to ``c(slin192)``."""
    sizes = [320, 480, 640, 960, 1_280, 1_764, 1_920, 3_840, 7_680]
    assert [frame_bytes(rate) for rate in RATES.values()] == sizes
