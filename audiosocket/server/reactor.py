"""The interface of the reactor that the server runs on."""

from __future__ import annotations

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorProcess,
    IReactorSocket,
    IReactorThreads,
)

from audiosocket.outbound.endpoints import IConnectingReactor


class ServerReactor(
    IReactorCore, IReactorFDSet, IReactorProcess, IReactorSocket, IReactorThreads, IConnectingReactor
):
    """All that the parts of a server need; a part that needs a single interface takes that one."""
