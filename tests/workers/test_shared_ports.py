"""Ports that all workers listen on."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError

from audiosocket.errors import WorkerGone
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.workers.shared_ports import SharedPort, SharedPortFactory, SharedPorts
from tests.support.loopback_server import LOOPBACK, reactor
from tests.support.ports import free_ports


class RecordingWorker:
    """A worker as its ports see it, which dies when it is asked to close one."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def open_port(self, port: SharedPort) -> None:
        self.seen.append(("open", port.token))

    def close_port(self, port: SharedPort) -> Deferred[object]:
        self.seen.append(("close", port.token))
        return fail(WorkerGone("it has died"))

    def relabel_port(self, port: SharedPort) -> None:
        self.seen.append(("relabel", port.token))


async def test_a_port_is_opened_once_for_all_workers_and_shared_with_no_other_program() -> None:
    (number,) = free_ports(1)
    workers = [RecordingWorker(), RecordingWorker()]
    ports = SharedPorts(workers, reactor)
    factory = SharedPortFactory(DEFAULT_EXTENSION, Role.VISITOR)
    port = ports.listenTCP(number, factory, interface=LOOPBACK)
    with pytest.raises(CannotListenError):  # not by this process either
        ports.listenTCP(number, SharedPortFactory(DEFAULT_EXTENSION, Role.VISITOR), interface=LOOPBACK)
    factory.extension = DEFAULT_EXTENSION
    assert [worker.seen for worker in workers] == [[("open", 1), ("relabel", 1)]] * 2
    ports.count(0, {"1": 3})
    ports.count(1, {"1": 2})
    assert len(factory.connections) == 5
    emptied: list[str] = []
    factory.when_empty(lambda: emptied.append("now"))
    await port.stopListening()
    with socket.socket() as again:
        again.bind((LOOPBACK, number))
    ports.forget(0)
    assert not emptied
    ports.count(1, {"1": 0})
    assert emptied == ["now"]
    assert not ports.factories
