"""Connections that one worker passes to another."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.transport.accept_gate import AcceptGate
from audiosocket.transport.open_files import DescriptorReserve
from audiosocket.workers import socket_passing
from audiosocket.workers.socket_passing import Inbox, PassedSocket
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import LOOPBACK, reactor, until

PASSED = PassedSocket(7, DEFAULT_EXTENSION, Role.RESIDENT, b"\x01\x00\x10" + bytes(16) + b"more")


def gate() -> AcceptGate:
    return AcceptGate(reactor, DescriptorReserve(0))


async def test_a_connection_waits_in_the_inbox_while_there_is_no_descriptor_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    into, out = socket_passing.inbox()
    ours, theirs = socket.socketpair()
    received: list[int] = []
    tries: list[int] = []
    duplicate = os.dup

    def none_left(descriptor: int) -> int:
        tries.append(descriptor)
        if len(tries) <= 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return duplicate(descriptor)

    inbox = Inbox(out, lambda passed, descriptor: received.append(descriptor), reactor, gate())
    assert socket_passing.send(into, PASSED, theirs.fileno())
    theirs.close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", none_left)
        inbox.start()
        await until(lambda: bool(received))
    inbox.stop()
    assert len(tries) > 2
    with socket.socket(fileno=received[0]) as same, ours, into, out:
        ours.sendall(b"still here")
        assert same.recv(100) == b"still here"


async def test_a_message_brings_the_socket_and_what_was_read_from_it() -> None:
    into, out = socket_passing.inbox()
    ours, theirs = socket.socketpair()
    received: list[tuple[PassedSocket, int]] = []
    inbox = Inbox(out, lambda passed, descriptor: received.append((passed, descriptor)), reactor, gate())
    assert socket_passing.send(into, PASSED, theirs.fileno())
    theirs.close()
    inbox.start()
    await until(lambda: bool(received))
    inbox.stop()
    ((passed, descriptor),) = received
    assert passed == PASSED
    with socket.socket(fileno=descriptor) as same, ours, into, out:
        ours.sendall(b"still here")
        assert same.recv(100) == b"still here"


async def test_the_socket_of_a_message_that_cannot_be_parsed_is_closed(logged_failures: LoggedFailures) -> None:
    into, out = socket_passing.inbox()
    ours, theirs = socket.socketpair()
    inbox = Inbox(out, lambda *_: pytest.fail("it was received"), reactor, gate())
    socket.send_fds(into, [b"\x00\x05abc"], [theirs.fileno()])
    theirs.close()
    inbox.start()
    ours.setblocking(True)
    assert await deferToThread(ours.recv, 1) == b""
    inbox.stop()
    assert logged_failures.flush(ValueError)
    for end in (ours, into, out):
        end.close()


def test_send_returns_false_when_the_inbox_is_full() -> None:
    into, out = socket_passing.inbox()
    with socket.socket() as connection, into, out:
        large = PassedSocket(7, DEFAULT_EXTENSION, Role.VISITOR, bytes(60_000))
        assert not all(socket_passing.send(into, large, connection.fileno()) for _ in range(1_000))


async def test_a_socket_is_detached_from_twisteds_own_transport_without_closing_the_connection() -> None:
    made: list[Protocol] = []

    class Accepted(Protocol):
        def connectionMade(self) -> None:
            made.append(self)

        def connectionLost(self, reason: object = None) -> None:
            pytest.fail("the protocol was notified of an end")

    port = reactor.listenTCP(0, Factory.forProtocol(Accepted), interface=LOOPBACK)
    with socket.create_connection((LOOPBACK, port.getHost().port)) as caller:
        await until(lambda: bool(made))
        with socket_passing.detach_socket(made[0].transport) as same:
            await port.stopListening()
            caller.sendall(b"still here")
            same.setblocking(True)
            assert await deferToThread(same.recv, 100) == b"still here"
            same.sendall(b"and here")
            assert await deferToThread(caller.recv, 100) == b"and here"
