"""Which connections are accepted, and what invalid ones cost."""

from __future__ import annotations

from uuid import UUID

import pytest
from twisted.internet.address import UNIXAddress

from audiosocket.extensions.model import Role
from audiosocket.server import admission
from audiosocket.server.admission import LINES_PER_PEER, LINES_PER_SECOND
from audiosocket.wire import uuid_frame
from tests.support.in_memory import CALL, FRAME, OTHER_CALL, Echo, InMemoryServer, RecordingApp, peer_address


def test_only_allowed_peers_may_connect() -> None:
    exchange = InMemoryServer(Echo())
    inside = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.9"]
    inside += ["::1", "fd00::7", "fe80::1", "::ffff:10.1.2.3", "::ffff:127.0.0.1", "fe80::1%eth0"]
    outside = ["8.8.8.8", "172.32.0.1", "11.0.0.1", "192.169.0.1", "2001:db8::1", "::ffff:8.8.8.8", "::ffff:0:1"]
    for host in inside:
        assert exchange.admission.may_connect(peer_address(host)), host
        assert exchange.factory().buildProtocol(peer_address(host)) is not None
    assert exchange.admission.rejected_total["peer"] == 0
    for host in outside:
        assert not exchange.admission.may_connect(peer_address(host)), host
        assert exchange.factory().buildProtocol(peer_address(host)) is None
    assert exchange.admission.rejected_total["peer"] == 2 * len(outside)
    assert not exchange.admission.may_connect(UNIXAddress("/run/peer"))
    assert exchange.factory().buildProtocol(None) is None


def test_allowed_peers_are_those_of_the_setting() -> None:
    exchange = InMemoryServer(Echo(), allowed="203.0.113.0/24,2001:db8::/32")
    for host in ("203.0.113.9", "::ffff:203.0.113.9", "2001:db8::5"):
        assert exchange.admission.may_connect(peer_address(host))
    for host in ("127.0.0.1", "203.0.114.1", "2001:db9::5"):
        assert not exchange.admission.may_connect(peer_address(host))


def test_the_oldest_connection_without_a_uuid_is_aborted_when_too_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert admission.MAX_WAITING == 2_048
    monkeypatch.setattr(admission, "MAX_WAITING", 100)
    exchange = InMemoryServer(Echo())
    lines = [exchange.connect() for _ in range(100)]
    lines[0].send(uuid_frame(CALL))  # identified: it waits no more
    extra = exchange.connect()
    assert not any(line.aborted for line in [*lines, extra])
    more = [exchange.connect() for _ in range(3)]
    assert [line.aborted for line in lines[:6]] == [False, True, True, True, False, False]
    assert not any(line.aborted for line in [*lines[4:], extra, *more])
    assert exchange.admission.rejected_total == {"peer": 0, "handshake": 0, "crowded": 3}
    exchange.run(5_100, lines[0], step=20)
    assert [line.closed for line in lines[:3]] == [False, True, True]
    assert exchange.admission.rejected_total["handshake"] == 100
    lines[0].hang_up()
    assert exchange.idle
    assert exchange.admission.connections == set()


def test_rejected_connections_and_refused_legs_cost_at_most_five_log_lines_a_second(log: list[str]) -> None:
    exchange = InMemoryServer(Echo())

    def logged() -> list[str]:
        return [text for text in log if "rejected a connection" in text or "refused the" in text]

    for n in range(50):
        exchange.admission.may_connect(peer_address("8.8.8.8"))
        exchange.connect().send(b"GET / HTTP/1.1\r\n")
        exchange.join(call_id=UUID(int=n), role=Role.RESIDENT)
    assert len(logged()) == LINES_PER_SECOND == 5
    assert logged()[0] == ("rejected a connection (1 so far): 8.8.8.8 is in none of the networks of ALLOWED_PEERS")
    exchange.run(1_010)
    exchange.connect().send(b"GET / HTTP/1.1\r\n")
    assert logged()[5:] == [
        "rejected a connection (101 so far): 127.0.0.1:50123 on port 8080: the first message has kind 0x47, "
        "not a UUID (0x01) (and 97 more of this peer) (1 similar lines were suppressed)"
    ]
    exchange.run(2_100)
    assert exchange.idle


def test_connections_are_limited_in_all_and_for_each_peer(log: list[str]) -> None:
    exchange = InMemoryServer(Echo(), most_connections=5, most_per_peer=3)
    lines = [exchange.connect(host="10.0.0.1") for _ in range(3)]
    assert exchange.factory().buildProtocol(peer_address("10.0.0.1")) is None
    lines += [exchange.connect(host="10.0.0.2") for _ in range(2)]
    assert exchange.factory().buildProtocol(peer_address("10.0.0.3")) is None
    assert exchange.admission.reached_total == {"connections": 1, "peer_connections": 1}
    assert exchange.admission.rejected_total["crowded"] == 2
    assert len([text for text in log if "MAX_CONNECTIONS" in text]) == 2
    for line in lines:
        line.hang_up()
    for host in ("10.0.0.1", "10.0.0.3"):
        assert exchange.factory().buildProtocol(peer_address(host)) is not None


def test_a_peer_that_is_rejected_again_and_again_hides_no_other_one(log: list[str]) -> None:
    exchange = InMemoryServer(Echo())
    for host in ["8.8.8.8"] * 1_000 + ["9.9.9.9"] * 1_000:
        exchange.admission.may_connect(peer_address(host))
    assert len([text for text in log if "8.8.8.8" in text]) == LINES_PER_PEER
    assert len([text for text in log if "9.9.9.9" in text]) == LINES_PER_SECOND - LINES_PER_PEER


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x42\x00\x02hi" * 50, "sent a message of kind 0x42, ignored: unknown kind"),
        (b"\x02\x00\x00" * 300, "sent a message of kind 0x02, ignored: unknown kind"),
        (b"\x10\x00\x00" * 300, "sent a message of kind 0x10, ignored: audio without samples"),
        (b"\xff\x00\x01\x02", "reports an error: frame could not be forwarded"),
        (uuid_frame(OTHER_CALL), "dropped: a second UUID on one connection"),
    ],
)
def test_a_protocol_error_of_a_peer_is_logged_once(data: bytes, line: str, log: list[str]) -> None:
    exchange = InMemoryServer(RecordingApp())
    exchange.join().send(data)
    exchange.run(5)
    assert log.count(f"127.0.0.1:50123 on port 8080: {line}") == 1
    assert len([text for text in log if "unknown kind" in text]) <= 1
    assert len([text for text in log if "error" in text]) <= 1


def test_a_thousand_invalid_connections_leave_nothing_behind_and_do_not_disturb_a_call() -> None:
    exchange = InMemoryServer(Echo())
    line = exchange.join()
    start = len(line.audio())
    sent = [b"", b"\x10\xff\xff", b"\x01\x00\x10half", b"\x00\x00\x00", bytes(range(256)), uuid_frame(CALL)]
    frames: list[bytes] = []
    for turn in range(100):
        for n in range(10):
            other = exchange.connect()
            other.send(sent[n % len(sent)])
            (other.reset, other.hang_up, lambda: None)[n % 3]()
        frame = FRAME[:3] + bytes([turn + 1]) * 320
        frames.append(frame[3:])
        exchange.run(20, line, frame=frame)
    assert [pcm for _, _, pcm in line.audio()[start:] if any(pcm)] == frames
    line.hang_up()
    exchange.run(8_000, step=20)
    assert exchange.idle
    assert exchange.admission.connections == exchange.factory().connections == set()
    assert len(exchange.registry) == 0
