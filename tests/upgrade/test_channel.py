"""The messages between a process and its successor."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiosocket.upgrade.channel import BEGIN, DESCRIPTORS, PACKET_BYTES, READY, ChannelClosed, HandOverChannel


@pytest.fixture
def ends() -> Iterator[tuple[HandOverChannel, HandOverChannel]]:
    old, theirs = HandOverChannel.pair()
    new = HandOverChannel.of(theirs.detach())
    yield old, new
    old.close()
    new.close()


@pytest.mark.parametrize("size", [0, 1, PACKET_BYTES, 20 * PACKET_BYTES + 1])
def test_bytes_of_any_length_arrive_with_more_descriptors_than_a_packet_holds(
    ends: tuple[HandOverChannel, HandOverChannel], tmp_path: Path, size: int
) -> None:
    old, new = ends
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    count = DESCRIPTORS + 3
    files = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(count)]
    sending = threading.Thread(target=old.send_all, args=(data, files))
    sending.start()
    received, descriptors = new.receive_all()
    sending.join()
    assert received == data
    assert [os.fstat(number).st_ino for number in descriptors] == [os.fstat(number).st_ino for number in files]
    assert not any(os.get_inheritable(number) for number in descriptors)
    for number in [*files, *descriptors]:
        os.close(number)


def test_short_messages_keep_their_order(ends: tuple[HandOverChannel, HandOverChannel]) -> None:
    old, new = ends
    new.send(READY)
    new.send(BEGIN)
    assert old.receive() == READY
    with pytest.raises(ChannelClosed, match="answered b'begin'"):
        old.expect(READY)


def test_an_end_that_is_closed_is_noticed(ends: tuple[HandOverChannel, HandOverChannel]) -> None:
    old, new = ends
    new.close()
    with pytest.raises(ChannelClosed, match="is gone"):
        old.receive()
    with pytest.raises(OSError, match=r"."):
        old.send(READY)


def test_what_was_received_of_a_hand_over_that_breaks_off_is_closed(
    ends: tuple[HandOverChannel, HandOverChannel],
) -> None:
    old, new = ends
    with socket.socket() as one:
        socket.send_fds(old._socket, [b"f"], [one.fileno()])
    before = set(os.listdir("/proc/self/fd"))
    old.close()
    with pytest.raises(ChannelClosed):
        new.receive_all()
    assert set(os.listdir("/proc/self/fd")) <= before
