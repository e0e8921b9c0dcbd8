"""The interface of the reactor that the server runs on."""

from __future__ import annotations

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorProcess,
    IReactorSocket,
    IReactorThreads,
)

from audiosocket.outbound.endpoints import IConnectingReactor
from audiosocket.postgres.connection import IDatabaseReactor
from audiosocket.provisioning.listeners import IListeningReactor


class ServerReactor(
    IReactorCore,
    IReactorProcess,
    IReactorSocket,
    IReactorThreads,
    IConnectingReactor,
    IDatabaseReactor,
    IListeningReactor,
):
    """All that the parts of a server need; a part that needs a single interface takes that one."""
