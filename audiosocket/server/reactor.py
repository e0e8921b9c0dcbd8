"""The interface of the reactor that the server runs on."""

from __future__ import annotations

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorProcess,
    IReactorSocket,
    IReactorThreads,
)

from audiosocket.fleet.this_node import INodeReactor
from audiosocket.provisioning.listeners import IListeningReactor


class ServerReactor(
    IReactorCore,
    IReactorProcess,
    IReactorSocket,
    IReactorThreads,
    INodeReactor,
    IListeningReactor,
):
    """All that the parts of a server need; a part that needs a single interface takes that one."""
