"""Whole messages without wsproto: the same bytes and the same messages as with it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto import events as ws
from wsproto.connection import Connection

from audiosocket.outbound.websocket_frames import (
    BINARY,
    MAX_COLLECTED,
    PING,
    PONG,
    TEXT,
    Control,
    FrameReader,
    Masks,
    client_frame,
)

messages = st.one_of(st.text(max_size=300), st.binary(max_size=300))


def server_frames(*sent: str | bytes) -> bytes:
    server = Connection(ConnectionType.SERVER)
    return b"".join(server.send(ws.TextMessage(m) if isinstance(m, str) else ws.BytesMessage(m)) for m in sent)


def read(reader: FrameReader, data: bytes) -> tuple[list[str | bytes | Control], bytes]:
    """The messages, pings and pongs, and what is left for wsproto."""
    whole: list[str | bytes | Control] = []
    rest = b""
    for one in reader.feed(data):
        if isinstance(one, memoryview):
            rest += bytes(one)
        else:
            whole.append(one)
    return whole, rest


@given(st.one_of(messages, st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536])))
def test_a_server_reads_what_was_sent(message: str | bytes) -> None:
    server = Connection(ConnectionType.SERVER)
    text = isinstance(message, str)
    payload = message.encode() if isinstance(message, str) else message
    server.receive_data(client_frame(TEXT if text else BINARY, payload, Masks().next()))
    parts = [event.data for event in server.events() if isinstance(event, ws.TextMessage | ws.BytesMessage)]
    assert (("" if text else b"").join(parts)) == message  # type: ignore[arg-type]


@given(st.lists(messages, max_size=8), st.lists(st.integers(1, 50), max_size=30))
def test_messages_are_read_however_the_stream_is_cut(sent: list[str | bytes], cuts: list[int]) -> None:
    stream, reader, whole = server_frames(*sent), FrameReader(), list[str | bytes | Control]()
    at = 0
    for cut in [*cuts, len(stream)]:
        found, rest = read(reader, stream[at : at + cut])
        whole += found
        at += cut
        assert rest == b""
    assert whole == sent


def test_pings_and_pongs_are_read_and_fragments_and_violations_left_to_wsproto() -> None:
    server = Connection(ConnectionType.SERVER)
    ping = server.send(ws.Ping(b"p"))
    begin = server.send(ws.TextMessage("a", message_finished=False))
    middle = server.send(ws.Pong(b""))
    end = server.send(ws.TextMessage("b"))
    invalid = b"\x81\x01\xff"
    reader = FrameReader()
    whole, rest = read(reader, ping + begin + middle + end + server_frames("c") + invalid)
    assert whole == [Control(PING, b"p"), Control(PONG, b""), "c"]
    assert rest == begin + end + invalid


def test_pings_that_break_a_rule_are_left_to_wsproto() -> None:
    for wrong in (b"\x09\x00", b"\x89\x80" + bytes(4), b"\x89\x7e\x00\x7e" + bytes(126), b"\xc9\x00"):
        assert read(FrameReader(), wrong) == ([], wrong)


def test_a_data_frame_between_fragments_is_left_to_wsproto() -> None:
    begin = Connection(ConnectionType.SERVER).send(ws.TextMessage("a", message_finished=False))
    whole, rest = read(FrameReader(), begin + server_frames("b"))
    assert whole == []
    assert rest == begin + server_frames("b")


def test_a_large_frame_is_passed_on_as_it_comes_and_what_follows_is_read() -> None:
    stream = server_frames(b"x" * (MAX_COLLECTED + 1), "next")
    reader, rest, whole = FrameReader(), b"", list[str | bytes | Control]()
    for at in range(0, len(stream), 1000):
        found, left = read(reader, stream[at : at + 1000])
        whole += found
        rest += left
    assert whole == ["next"]
    assert rest == stream[: -len(server_frames("next"))]


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_are_messages_or_left_to_wsproto_in_order(stream: bytes, cut: int) -> None:
    reader = FrameReader()
    for at in range(0, len(stream), cut):
        read(reader, stream[at : at + cut])


def test_masks_differ() -> None:
    masks = Masks()
    found = {masks.next() for _ in range(3000)}
    assert len(found) > 2990
    assert {len(mask) for mask in found} == {4}


@given(
    st.lists(messages, max_size=12),
    st.lists(st.integers(1, 400), max_size=30),
    st.integers(1, 4),
)
def test_a_limited_number_of_messages_at_a_time_gives_the_same_ones(
    sent: list[str | bytes], cuts: list[int], most: int
) -> None:
    stream, reader, found = server_frames(*sent), FrameReader(), list[object]()
    at = 0
    for cut in [*cuts, len(stream)]:
        data, at = stream[at : at + cut], at + cut
        whole = reader.whole(data)
        if whole is not None:
            found.append(whole)
            continue
        while True:
            some = list(reader.feed(data, most))
            assert len(some) <= most
            found += some
            data = b""
            if not reader.more:
                break
    assert found == sent


@given(
    st.binary(max_size=300), st.sampled_from([0x81, 0x82, 0x01, 0x80, 0x89, 0xC1]), st.booleans(), st.booleans()
)
def test_a_message_that_is_all_of_a_read_is_the_one_that_is_read_otherwise(
    payload: bytes, first: int, half_frame_before: bool, in_fragments: bool
) -> None:
    readers = FrameReader(), FrameReader()
    for reader in readers:
        list(reader.feed((b"\x01\x01a" if in_fragments else b"") + (b"\x81" if half_frame_before else b"")))
    data = bytes((first, 126)) + len(payload).to_bytes(2, "big") + payload
    whole = readers[0].whole(data)
    if whole is not None:
        assert [whole] == list(readers[1].feed(data))
    assert list(readers[0].feed(data)) == list(FrameReader().feed(data)) or half_frame_before or in_fragments


def test_what_is_no_single_message_is_left_to_the_reader() -> None:
    for data in (b"", b"\x81\x7e\x00", b"\x81\x7e\x00\x05abcd", b"\x81\x7e\x00\x01\xff", b"\x81\x01a"):
        assert FrameReader().whole(data) is None
    assert FrameReader().whole(b"\x81\x7e\x00\x01a") == "a"
    assert FrameReader().whole(b"\x82\x7e\x00\x01\xff") == b"\xff"
