"""The port of the HTTP API. A port that is in use does not stop the calls: it is tried again."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory, IReactorFDSet
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from audiosocket.provisioning.extension_service import explained
from audiosocket.server.reactor import ServerReactor
from audiosocket.transport.port import ThrottledPort

RETRY_SECONDS = 0.4
#: Connections that may wait to be accepted.
BACKLOG = 50


class ApiPort(Service):
    """Listens for the API; tries again twice a second while another program has its port."""

    _log = Logger()

    def __init__(self, site: IProtocolFactory, host: str, port: int, reactor: ServerReactor) -> None:
        self.setName("api")
        self._site = site
        self._host = host
        self._port = port
        self._reactor = reactor
        self._listening: IListeningPort | None = None
        self._retry: IDelayedCall | None = None
        self._logged = False
        #: The listening socket of the previous process, until it is used.
        self._inherited: socket.socket | None = None

    @property
    def listening_socket(self) -> socket.socket | None:
        """The listening socket; None while it does not listen."""
        found: socket.socket | None = getattr(self._listening, "socket", None)
        return found

    def inherit(self, descriptor: int) -> None:
        """Go on with the socket of the previous process, if it is for the same address and port."""
        listening = socket.socket(fileno=descriptor)
        if listening.getsockname()[:2] == (self._host, self._port):
            self._inherited = listening
        else:
            listening.close()

    def startService(self) -> None:
        super().startService()
        self._try()

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        listening, self._listening = self._listening, None
        return listening.stopListening() if listening is not None else None

    def _try(self) -> None:
        try:
            self._listening = self._listen()
        except CannotListenError as error:
            if not self._logged:
                self._logged = True
                self._log.error(
                    "the API cannot listen: {why}; calls are answered all the same; free the port or set API_PORT",
                    why=explained(error),
                )
            self._retry = self._reactor.callLater(RETRY_SECONDS, self._try)
            return
        self._logged = False
        self._log.info("the API listens on http://{host}:{port}", host=self._host, port=self._port)

    def _listen(self) -> IListeningPort:
        """Return a port that pauses when file descriptors run out; raises `CannotListenError`."""
        if not IReactorFDSet.providedBy(self._reactor):  # a reactor in memory has no file descriptors
            return self._reactor.listenTCP(
                self._port, cast("ServerFactory[Any]", self._site), interface=self._host
            )
        inherited, self._inherited = self._inherited, None
        if inherited is not None:
            with inherited:
                adopted = ThrottledPort._fromListeningDescriptor(
                    cast("Any", self._reactor), inherited.fileno(), inherited.family, cast("Any", self._site)
                )
                adopted.startListening()
                return cast("IListeningPort", adopted)
        port = ThrottledPort(self._port, cast("Any", self._site), BACKLOG, self._host, cast("Any", self._reactor))
        port.startListening()
        return cast("IListeningPort", port)
