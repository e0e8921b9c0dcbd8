"""Messages, requests, responses and descriptors between two ends of a channel."""

from __future__ import annotations

import os
import socket

import pytest
from twisted.internet.defer import Deferred

from audiosocket.errors import AudioSocketError, UnknownCall, WorkerGone
from audiosocket.workers.channel import Channel, Message, MessageHandler, attach
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import reactor, until


class ChannelPair:
    """Both ends of a channel; the far one handles messages with ``handle``."""

    def __init__(self, handle: MessageHandler) -> None:
        self.lost: list[str] = []
        self.near = Channel("far", lambda message, descriptors: None, lambda: self.lost.append("near"), reactor)
        self.far = Channel("near", handle, lambda: self.lost.append("far"), reactor)
        for channel, end in zip((self.near, self.far), socket.socketpair(), strict=True):
            end.setblocking(False)
            with end:
                attach(channel, end, reactor)

    async def close(self) -> None:
        self.near.transport.loseConnection()
        await until(lambda: len(self.lost) == 2)


async def test_a_request_gets_its_response_and_descriptors_arrive_with_their_message() -> None:
    def handle(message: Message, descriptors: list[int]) -> object:
        if message["kind"] == "count":
            return sum(message["numbers"])
        with os.fdopen(descriptors[0], "rb") as one, os.fdopen(descriptors[1], "rb") as other:
            return [one.read().decode(), other.read().decode()]

    pair = ChannelPair(handle)
    assert await pair.near.request("count", numbers=list(range(100_000))) == sum(range(100_000))
    ends = []
    for text in (b"one", b"two"):
        end, write = os.pipe()
        os.write(write, text)
        os.close(write)
        ends.append(end)
    assert await pair.near.request("read", ends) == ["one", "two"]
    for end in ends:
        os.close(end)
    await pair.close()


async def test_an_audiosocket_error_is_raised_at_the_requester_and_other_errors_are_logged(
    logged_failures: LoggedFailures,
) -> None:
    def handle(message: Message, _: list[int]) -> object:
        raise UnknownCall("no such call") if message["kind"] == "known" else ValueError("a bug")

    pair = ChannelPair(handle)
    with pytest.raises(UnknownCall, match="no such call"):
        await pair.near.request("known")
    with pytest.raises(AudioSocketError, match="the log says why"):
        await pair.near.request("bug")
    assert len(logged_failures.flush(ValueError)) == 1
    await pair.close()


async def test_requests_fail_when_the_other_side_goes_away() -> None:
    pair = ChannelPair(lambda message, _: Deferred())
    response = pair.near.request("never")
    pair.far.transport.loseConnection()
    with pytest.raises(WorkerGone, match="far is gone"):
        await response
    with pytest.raises(WorkerGone, match="far is not connected"):
        await pair.near.request("later")
    pair.near.notify("anything")
    await until(lambda: len(pair.lost) == 2)


def test_a_channel_calls_drained_when_the_other_side_reads_again() -> None:
    drained: list[bool] = []
    channel = Channel("far", lambda *_: None, lambda: None, reactor, lambda: drained.append(channel.full))
    channel.pauseProducing()
    assert channel.full
    channel.resumeProducing()
    assert drained == [False]
