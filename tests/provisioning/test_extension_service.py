"""The listeners of one extension: opened, failed, renamed, closed; and addresses of this machine."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

import pytest
from twisted.internet.error import CannotListenError

from audiosocket.calls.protocol.factory import AudioSocketFactory
from audiosocket.calls.protocol.socket_options import SEND_BUFFER_BYTES, USER_TIMEOUT_MS
from audiosocket.extensions.model import Extension, Role
from audiosocket.provisioning.extension_service import (
    ExtensionService,
    ListenAddress,
    ListenFailure,
    explained,
    is_local,
    is_taken,
)
from audiosocket.transport.clock import MediaClock
from audiosocket.transport.ticker import TimerTicker
from tests.support.loopback_server import (
    LOOPBACK,
    extension,
    is_closed,
    occupied,
    reactor,
    socket_inode,
    until,
)
from tests.support.ports import free_ports

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT


class ClosedObserver:
    """An observer that admits no connection."""

    def may_connect(self, address: object) -> bool:
        return False


def make(of: Extension, role: Role) -> AudioSocketFactory:
    observer: Any = ClosedObserver()
    clock = MediaClock(TimerTicker(reactor, reactor.seconds), reactor.seconds)
    return AudioSocketFactory(of, role, observer.may_connect, observer, clock)


def place(port: int, configured: int | None = None) -> ListenAddress:
    return ListenAddress(LOOPBACK, configured or port, port)


def cannot(number: int, port: int = 80) -> CannotListenError:
    return CannotListenError(LOOPBACK, port, OSError(number, "an error of the system"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not copy all options to accepted sockets")
async def test_accepted_sockets_have_the_options_of_a_connection_from_the_listening_one() -> None:
    service = ExtensionService(extension(1, free_ports(1)[0]))
    service.startService()
    service.open(make, VISITOR, place(service.extension.port), reactor)
    accepted: list[tuple[int, int, int, int]] = []

    def note(handle: socket.socket, *_: object) -> None:
        with handle:
            accepted.append(
                (
                    handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                    handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                )
            )

    listener = service.listeners[VISITOR]
    port: Any = listener._port
    port._connect = note
    with socket.create_connection((LOOPBACK, listener.port)):
        await until(lambda: bool(accepted))
    # The kernel doubles the size of a buffer, for its own records.
    assert accepted == [(1, 1, 2 * SEND_BUFFER_BYTES, USER_TIMEOUT_MS)]
    assert listener.factory.prepared  # type: ignore[attr-defined]
    await service.stopService()


async def test_the_child_services_are_the_open_listeners() -> None:
    first, second = free_ports(2)
    service = ExtensionService(extension(1, first, second))
    service.startService()
    visitors = service.open(make, VISITOR, place(first), reactor)
    residents = service.open(make, RESIDENT, place(second), reactor)
    assert service.listeners == {VISITOR: visitors, RESIDENT: residents}
    assert visitors.settled
    assert not await is_closed(first)
    await visitors.close()
    assert service.listeners == {RESIDENT: residents}
    assert await is_closed(first)
    assert not await is_closed(second)
    await service.stopService()
    assert await is_closed(second)


async def test_a_port_that_cannot_be_opened_leaves_nothing_and_concerns_no_other() -> None:
    first, second = free_ports(2)
    service = ExtensionService(extension(1, first, second))
    service.startService()
    residents = service.open(make, RESIDENT, place(second), reactor)
    before = socket_inode(residents)
    with occupied(first):
        for _ in range(2):
            with pytest.raises(CannotListenError) as caught:
                service.open(make, VISITOR, place(first), reactor)
            assert is_taken(caught.value)
            assert service.listeners == {RESIDENT: residents}
            assert list(service) == [residents]
    assert service.open(make, VISITOR, place(first), reactor).settled
    assert socket_inode(residents) == before
    await service.stopService()


async def test_a_listener_lingers_under_another_name_and_new_calls_get_the_new_values() -> None:
    first, second = free_ports(2)
    service = ExtensionService(extension(1, first))
    service.startService()
    alternative = service.open(make, VISITOR, place(second, configured=first), reactor)
    assert not alternative.settled
    service.linger(alternative)
    assert service.listeners == {}
    assert service.lingering == [alternative]
    regained = service.open(make, VISITOR, place(first), reactor)
    assert service.listeners == {VISITOR: regained}
    relabelled = extension(1, first, number="other")
    service.relabel(relabelled)
    assert {listener.factory.extension for listener in service.children()} == {relabelled}
    await alternative.close()
    assert service.children() == [regained]
    await service.stopService()


def test_a_state_has_the_time_at_which_it_was_first_seen() -> None:
    service = ExtensionService(extension(1, 8080))
    assert service.state(5.0) == ("degraded", "visitor port 8080 is not open yet", 5.0)
    assert service.state(7.0)[2] == 5.0
    service.failed[VISITOR] = ListenFailure(LOOPBACK, 8080, "port 8080 is in use by another program")
    assert service.state(9.0) == ("failed", "visitor port 8080 is in use by another program", 9.0)


def test_errors_say_what_to_do() -> None:
    assert is_taken(cannot(errno.EADDRINUSE))
    assert not is_taken(cannot(errno.EACCES))
    assert not is_taken(CannotListenError(LOOPBACK, 80, "no such interface"))
    assert explained(cannot(errno.EADDRINUSE)) == "port 80 is in use by another program"
    assert "CAP_NET_BIND_SERVICE" in explained(cannot(errno.EACCES))
    assert "an error of the system" in explained(cannot(errno.EADDRNOTAVAIL))


def test_addresses_of_this_machine() -> None:
    for address in ("127.0.0.1", "127.1.2.3", "0.0.0.0"):
        assert is_local(address), address
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            has_ipv6 = False
        else:
            has_ipv6 = True
    assert is_local("::1") == has_ipv6


def test_texts_that_are_no_address_of_this_machine() -> None:
    names = ("localhost", "", " ", "127.0.0.1:80", "127.1", "0x7f000001", "300.1.1.1", "pbx.example", "\0", "1\n")
    elsewhere = ("192.0.2.1", "203.0.113.7", "2001:db8::1", "fe80::1%nosuchcard")
    not_for_calls = ("255.255.255.255", "224.0.0.1", "127.255.255.255", "ff02::1")
    for address in (*names, *elsewhere, *not_for_calls):
        assert not is_local(address), address
