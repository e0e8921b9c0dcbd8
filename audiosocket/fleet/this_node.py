"""This process as a node of a fleet: the session that it shares data through, and what the others see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from twisted.application.service import MultiService

from audiosocket import __version__
from audiosocket.api_address import api_url, is_local
from audiosocket.control_interface import Control
from audiosocket.extensions.model import Extension
from audiosocket.fleet.database import FleetDatabase
from audiosocket.fleet.identity import node
from audiosocket.fleet.node_service import FleetNode, Generation, Seen
from audiosocket.fleet.peers import MAX_ANSWER_BYTES, Peers
from audiosocket.outbound.endpoints import IConnectingReactor
from audiosocket.outbound.http_client import HTTPClient
from audiosocket.outbound.secret import secret_from
from audiosocket.postgres.connection import IDatabaseReactor
from audiosocket.postgres.target import Target
from audiosocket.settings import Settings


class NodeSession(NamedTuple):
    """What a process needs to share its calls: the name of its node, and a session of its own."""

    name: str
    database: FleetDatabase


class INodeReactor(IConnectingReactor, IDatabaseReactor):
    """The reactor, as far as a node needs it: PostgreSQL, and the APIs of the other nodes."""


class ThisNode:
    """Name and session of this node, made before the parts that share data through it.

    ``password`` is as for `Target`, ``host`` the name of this machine, ``life`` a text that no other start has.
    """

    def __init__(
        self,
        settings: Settings,
        password: str | Callable[[], str],
        reactor: INodeReactor,
        *,
        host: str,
        life: str,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._host = host
        self._node = node(settings.node_name, host, str(Path(settings.data_dir).absolute()), life)
        self.database = FleetDatabase(Target(settings, password, reactor), reactor)

    @property
    def session(self) -> NodeSession:
        """What the calls of this process are shared through."""
        return NodeSession(self.name, self.database)

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._node.name

    def join(
        self,
        server: MultiService,
        control: Control,
        extensions: Callable[[], Iterable[Extension]],
        calls: Callable[[], int],
    ) -> FleetNode:
        """Let session and node start and stop with ``server``; return the node, which commands ``control``.

        ``extensions`` returns those that run, ``calls`` the number of live calls.
        """
        generation = Generation()

        def seen() -> Seen:
            state = control.drain.leaving() or ("starting" if control.drain.unable() else "ready")
            return Seen(generation.of(extensions()), calls(), state)

        settings = self._settings
        token = secret_from("API_TOKEN", settings.api_token, settings.api_token_file, self._reactor)
        client = HTTPClient(self._reactor, max_body_bytes=MAX_ANSWER_BYTES)
        peers = Peers(self._node.name, client, token, self.database, control.calls, self._reactor)
        peers.setServiceParent(server)
        shown = FleetNode(
            self._node,
            api_url(settings, self._host),
            __version__,
            self.database,
            control,
            seen,
            self._reactor,
            peers,
            url_is_local=is_local(settings),
        )
        # Services are stopped in reverse order: the node says that it is gone while there is a session.
        self.database.setServiceParent(server)
        shown.setServiceParent(server)
        return shown
