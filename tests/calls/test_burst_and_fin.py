"""A FIN right behind a burst, over real sockets: all messages of the burst are handled before the end."""

from __future__ import annotations

import socket

from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import Role
from audiosocket.wire import digit_frame, uuid_frame
from tests.support.in_memory import CALL
from tests.support.loopback_server import LOOPBACK, extension, loopback_server, until
from tests.support.ports import free_ports

#: Far more than are handled together, and less than what ends a leg.
DIGITS = 300


async def test_a_fin_behind_a_burst_of_messages_loses_none_of_them() -> None:
    (port,) = free_ports(1)
    async with loopback_server() as here:
        await here.apply(extension(1, port))
        with socket.create_connection((LOOPBACK, port)) as peer:
            peer.sendall(uuid_frame(CALL) + digit_frame("5") * DIGITS)
            peer.shutdown(socket.SHUT_WR)
            registry = here.switchboard.registry
            await until(lambda: registry.started_total == 1 and len(registry) == 0)
            call = registry.get(CALL)
            assert call is not None
            assert call.legs[Role.VISITOR].digits == DIGITS
            assert call.legs[Role.VISITOR].outcome is LegOutcome.CALLER_HANGUP


async def test_a_peer_that_closes_behind_a_burst_and_resets_what_it_is_sent_loses_none_of_them() -> None:
    (port,) = free_ports(1)
    async with loopback_server() as here:
        await here.apply(extension(1, port))
        with socket.create_connection((LOOPBACK, port)) as peer:
            peer.sendall(uuid_frame(CALL) + digit_frame("5") * DIGITS)
        registry = here.switchboard.registry
        await until(lambda: registry.started_total == 1 and len(registry) == 0)
        call = registry.get(CALL)
        assert call is not None
        assert call.legs[Role.VISITOR].digits == DIGITS
