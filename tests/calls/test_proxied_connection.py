"""Connections that a load balancer opens for callers: their PROXY header, and whose address counts."""

from __future__ import annotations

from uuid import UUID

import pytest

from audiosocket.calls.protocol.connection import HANDSHAKE_SECONDS, AudioSocketProtocol
from audiosocket.extensions.model import Role
from audiosocket.proxy_header import SIGNATURE
from audiosocket.wire import uuid_frame
from tests.support.in_memory import CALL, FRAME, AsteriskConnection, Echo, InMemoryServer, peer_address
from tests.support.loopback_server import CapturedLog

PROXY = "198.51.100.1"
TEXT = b"PROXY TCP4 10.0.0.7 10.0.0.31 40123 8101\r\n"
BINARY = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((10, 0, 0, 7, 10, 0, 0, 31, 0x9C, 0xBB, 0x1F, 0xA5))
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
OUTSIDE = b"PROXY TCP4 8.8.8.8 10.0.0.31 40123 8101\r\n"
CALLER = "10.0.0.7:40123"


def server() -> InMemoryServer:
    return InMemoryServer(Echo(), proxies=f"{PROXY}/32")


def peers(of: InMemoryServer) -> list[str]:
    call = of.registry.get(CALL)
    return [] if call is None else [leg["peer"] for leg in call.to_json(of.now)["legs"]]


def waits(line: AsteriskConnection) -> bool:
    return not line.aborted and not line.writes


@pytest.mark.parametrize("header", [TEXT, BINARY], ids=["version 1", "version 2"])
def test_a_leg_behind_a_proxy_has_its_callers_address(header: bytes) -> None:
    exchange = server()
    line = exchange.connect(host=PROXY)
    line.send(header + uuid_frame(CALL) + FRAME)
    assert peers(exchange) == [CALLER]
    exchange.run(100, line)
    assert line.audio()
    assert not any(exchange.admission.rejected_total.values())
    line.hang_up()


@pytest.mark.parametrize("header", [TEXT, BINARY], ids=["version 1", "version 2"])
def test_the_header_may_come_in_pieces_of_one_byte(header: bytes) -> None:
    exchange = server()
    line = exchange.connect(host=PROXY)
    for byte in (header + uuid_frame(CALL))[:-1]:
        line.send(bytes((byte,)))
    assert waits(line)
    line.send(uuid_frame(CALL)[-1:])
    assert peers(exchange) == [CALLER]
    line.hang_up()


def test_a_proxy_must_send_a_header() -> None:
    exchange = server()
    line = exchange.connect(host=PROXY)
    log = CapturedLog()
    line.send(uuid_frame(CALL))
    log.close()
    assert line.aborted
    assert peers(exchange) == []
    assert exchange.admission.rejected_total == {"peer": 0, "handshake": 1, "crowded": 0}
    (text,) = log.containing("PROXY header")
    assert f"{PROXY}:50123" in text


@pytest.mark.parametrize("header", [TEXT, BINARY], ids=["version 1", "version 2"])
def test_a_header_from_anywhere_else_is_refused(header: bytes) -> None:
    exchange = server()
    line = exchange.connect()
    log = CapturedLog()
    line.send(header + uuid_frame(CALL))
    log.close()
    assert line.aborted
    assert peers(exchange) == []
    assert log.containing("PROXY_PEERS")
    # without PROXY_PEERS as well
    alone = InMemoryServer(Echo())
    other = alone.connect()
    other.send(header + uuid_frame(CALL))
    assert other.aborted


def test_allowed_peers_are_asked_about_the_caller_and_not_about_the_proxy() -> None:
    exchange = server()
    assert exchange.admission.may_connect(peer_address(PROXY))
    line = exchange.connect(host=PROXY)
    log = CapturedLog()
    line.send(OUTSIDE + uuid_frame(CALL))
    log.close()
    assert line.aborted
    assert peers(exchange) == []
    assert exchange.admission.rejected_total == {"peer": 1, "handshake": 0, "crowded": 0}
    assert log.containing("8.8.8.8")
    assert not log.containing(PROXY)


def test_the_limit_for_a_peer_counts_callers_and_not_the_proxy() -> None:
    exchange = InMemoryServer(Echo(), proxies=f"{PROXY}/32", most_per_peer=2)
    lines = [exchange.connect(host=PROXY) for _ in range(4)]
    for line in lines[:3]:
        line.send(TEXT)
    lines[3].send(TEXT.replace(b"10.0.0.7", b"10.0.0.8"))
    assert [line.aborted for line in lines] == [False, False, True, False]
    assert exchange.admission.reached_total == {"connections": 0, "peer_connections": 1}
    lines[0].hang_up()
    again = exchange.connect(host=PROXY)
    again.send(TEXT)
    assert waits(again)
    for line in (*lines, again):
        line.hang_up()
    exchange.run(5)
    assert exchange.admission.connections == set()


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNKNOWN"])
def test_a_health_check_of_the_proxy_is_neither_an_error_nor_a_log_line(header: bytes) -> None:
    exchange = server()
    line = exchange.connect(host=PROXY)
    log = CapturedLog()
    line.send(header)
    assert waits(line)
    line.hang_up()
    log.close()
    assert log == []
    assert not any(exchange.admission.rejected_total.values())
    assert exchange.idle


def test_a_proxy_that_calls_itself_needs_to_be_in_allowed_peers() -> None:
    exchange = server()
    line = exchange.connect(host=PROXY)
    line.send(LOCAL)
    line.send(uuid_frame(CALL))
    assert line.aborted
    assert exchange.admission.rejected_total["peer"] == 1
    near = InMemoryServer(Echo(), proxies="127.0.0.0/8")
    line = near.connect()
    line.send(LOCAL)
    line.send(uuid_frame(CALL))
    assert peers(near) == ["127.0.0.1:50123"]
    line.hang_up()


@pytest.mark.parametrize("sent", [b"", TEXT[:20], BINARY[:-1], TEXT, LOCAL], ids=str)
def test_a_proxy_that_does_not_finish_is_aborted_in_time(sent: bytes) -> None:
    exchange = server()
    other = exchange.join()
    line = exchange.connect(host=PROXY)
    line.send(sent)
    exchange.run(HANDSHAKE_SECONDS * 1000 + 100, other)
    assert line.aborted
    assert not other.aborted
    assert exchange.admission.rejected_total["handshake"] == 1
    other.hang_up()


def test_a_header_that_cannot_be_one_costs_its_own_connection_only() -> None:
    exchange = server()
    other = exchange.join()
    for sent in (
        b"PROXY TCP4 x\r\n",
        SIGNATURE + b"\x31\x11\x00\x0c",
        TEXT + TEXT + uuid_frame(CALL),
        b"\x00" * 600,
    ):
        line = exchange.connect(host=PROXY)
        line.send(sent)
        assert line.aborted, sent
    exchange.run(100, other)
    assert other.audio()
    assert exchange.admission.rejected_total["handshake"] == 4
    other.hang_up()


def test_what_another_process_is_passed_begins_with_the_header() -> None:
    exchange = server()
    passed: list[tuple[str, bytes]] = []
    factory = exchange.factory(Role.VISITOR)

    def pass_on(connection: AudioSocketProtocol, call_id: UUID, unread: bytes) -> bool:
        passed.append((connection.peer, unread))
        return True

    factory.pass_on = pass_on
    line = exchange.connect(host=PROXY)
    line.send(BINARY + uuid_frame(CALL)[:5])
    line.send(uuid_frame(CALL)[5:] + FRAME)
    assert passed == [(CALLER, BINARY + uuid_frame(CALL) + FRAME)]
    line.hang_up()
