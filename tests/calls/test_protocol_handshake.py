"""What is kept of a connection until it has a leg."""

from __future__ import annotations

import pytest

from audiosocket.calls.protocol.handshake import Handshake
from audiosocket.errors import InvalidProxyHeader
from audiosocket.wire import uuid_frame
from tests.support.in_memory import CALL

HEADER = b"PROXY TCP4 10.0.0.7 10.0.0.31 40123 8101\r\n"
OF_THE_BALANCER = b"PROXY UNKNOWN\r\n"
UUID_MESSAGE = uuid_frame(CALL)


def behind_proxy(data: bytes) -> Handshake:
    handshake = Handshake()
    handshake.behind_proxy, handshake.data = True, data
    return handshake


@pytest.mark.parametrize("size", range(len(HEADER)))
def test_an_incomplete_header_is_waited_for(size: int) -> None:
    handshake = behind_proxy(HEADER[:size])
    assert handshake.proxy_header() is None
    assert handshake.behind_proxy


def test_a_header_names_the_caller_and_is_followed_by_the_rest() -> None:
    handshake = behind_proxy(HEADER + UUID_MESSAGE)
    assert handshake.proxy_header() == (UUID_MESSAGE, "10.0.0.7:40123")
    assert handshake.proxied
    assert not handshake.behind_proxy


def test_a_balancer_that_speaks_for_itself_is_no_caller_until_it_says_more() -> None:
    handshake = behind_proxy(OF_THE_BALANCER)
    assert handshake.proxy_header() is None
    assert handshake.behind_proxy
    handshake.data += UUID_MESSAGE
    assert handshake.proxy_header() == (UUID_MESSAGE, None)
    assert not handshake.behind_proxy
    assert not handshake.proxied
    assert handshake.unanswered == handshake.data


def test_what_is_no_header_is_refused() -> None:
    with pytest.raises(InvalidProxyHeader):
        behind_proxy(UUID_MESSAGE).proxy_header()


def test_what_was_received_is_taken_once_with_its_header() -> None:
    handshake = behind_proxy(HEADER + UUID_MESSAGE)
    handshake.proxy_header()
    assert handshake.take() == HEADER + UUID_MESSAGE
    assert handshake.take() == b""


def test_what_is_held_has_no_header_and_is_returned_once() -> None:
    handshake = behind_proxy(HEADER + UUID_MESSAGE)
    handshake.proxy_header()
    handshake.hold(handshake.take())
    assert handshake.held == UUID_MESSAGE
    assert handshake.unanswered == UUID_MESSAGE
    assert handshake.go_on("it is elsewhere") == UUID_MESSAGE
    assert handshake.refusal == "it is elsewhere"
    assert handshake.held is None
    assert handshake.go_on("") == b""


@pytest.mark.parametrize(
    ("data", "looks"), [(HEADER, True), (OF_THE_BALANCER, True), (UUID_MESSAGE, False), (b"", False)]
)
def test_a_header_of_a_peer_that_may_send_none_is_recognised(data: bytes, looks: bool) -> None:
    handshake = Handshake()
    handshake.data = data
    assert handshake.has_unexpected_header is looks
