"""Workers that are started, replaced and given up."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from audiosocket.errors import WorkerGone
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.workers import socket_passing
from audiosocket.workers.child_process import Launch
from audiosocket.workers.pool import WorkerPool
from audiosocket.workers.shared_ports import SharedPortFactory
from audiosocket.workers.socket_passing import PassedSocket
from tests.support.loopback_server import LOOPBACK, reactor, until
from tests.support.ports import free_ports

PASSED = PassedSocket(7, DEFAULT_EXTENSION, Role.RESIDENT, b"\x01\x00\x10" + bytes(16))


@pytest.mark.deadline(30)
async def test_connections_of_a_worker_that_dies_again_and_again_are_half_closed() -> None:
    (number,) = free_ports(1)
    pool = WorkerPool(1, Launch([sys.executable, "-c", "raise SystemExit(3)"], os.environ, {}), reactor)
    pool.startService()
    pool.ports.listenTCP(number, SharedPortFactory(DEFAULT_EXTENSION, Role.VISITOR), interface=LOOPBACK)
    (worker,) = pool.workers
    assert pool.problems() == ["worker 0 is starting"]
    await until(lambda: worker.out)
    with pytest.raises(ConnectionRefusedError):
        await deferToThread(socket.create_connection, (LOOPBACK, number))
    with socket.create_server((LOOPBACK, 0)) as server, socket.socket() as caller:
        caller.connect(server.getsockname())
        accepted, _ = server.accept()
        into, _ = pool._inboxes[0]
        assert socket_passing.send(into, PASSED, accepted.fileno())
        accepted.close()
        caller.sendall(b"audio that is dropped")
        assert await deferToThread(caller.recv, 100) == b""  # a FIN, and no hangup frame
    assert worker.restarts > 0
    with pytest.raises(WorkerGone):
        await worker.request("calls")
    await ensureDeferred(pool.stopService())
    pool.ports.close()
