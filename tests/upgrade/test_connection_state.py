"""The state of one connection, as the next process gets it."""

from __future__ import annotations

import socket
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred

from audiosocket.extensions.model import Role
from audiosocket.upgrade.connection_state import save
from audiosocket.wire import uuid_frame
from tests.support.in_memory import CALL, InMemoryServer


def state_of(connection: Any) -> dict[str, Any]:
    """Return what `save` returns of a connection, whose transport gets a socket for it."""
    with socket.socket() as skt:
        connection._socket, connection._queue = skt, b""
        saved = save(connection.protocol)
    assert saved is not None
    return saved[0]


@pytest.mark.parametrize("size", range(1, len(uuid_frame(CALL))))
def test_an_incomplete_uuid_is_handed_over(size: int) -> None:
    server = InMemoryServer()
    connection = server.connect(Role.VISITOR)
    connection.send(uuid_frame(CALL)[:size])
    assert state_of(connection)["first"] == uuid_frame(CALL)[:size]


def test_a_uuid_whose_call_is_still_looked_for_is_handed_over() -> None:
    """The next process receives it again, and looks for the call itself."""
    server, looking = InMemoryServer(), Deferred[str]()

    def locate(_: object, call_id: UUID) -> Deferred[str]:
        assert call_id == CALL
        return looking

    server.factory(Role.VISITOR).locate = locate
    connection = server.connect(Role.VISITOR)
    connection.send(uuid_frame(CALL))
    assert state_of(connection)["first"] == uuid_frame(CALL)
    looking.callback("")
    assert state_of(connection)["first"] == b""
