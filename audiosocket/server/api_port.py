"""The port of the HTTP API: opened when it can be had, so that a taken port never stops the calls."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory
from twisted.logger import Logger

from audiosocket.provisioning.extension_service import why

RETRY_SECONDS = 5.0


class ApiPort(Service):
    """Listens for the API, and keeps trying while somebody else has its port."""

    _log = Logger()

    def __init__(self, site: IProtocolFactory, host: str, port: int, reactor: Any) -> None:
        self.setName("api")
        self._site = site
        self._host = host
        self._port = port
        self._reactor = reactor
        self._listening: IListeningPort | None = None
        self._retry: IDelayedCall | None = None
        self._complained = False

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
            self._listening = self._reactor.listenTCP(self._port, self._site, interface=self._host)
        except CannotListenError as error:
            if not self._complained:
                self._complained = True
                self._log.error(
                    "the API is not reachable: {why}; calls are answered all the same; free it or set API_PORT",
                    why=why(error),
                )
            self._retry = self._reactor.callLater(RETRY_SECONDS, self._try)
            return
        self._complained = False
        self._log.info("the API listens on http://{host}:{port}", host=self._host, port=self._port)
