"""Entry point of ``twistd audiosocket``: the service, and what signals do to it."""

from __future__ import annotations

import signal
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from audiosocket.composition import build
from audiosocket.options import Options
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.workers.supervisor import SupervisorServer

__all__ = ["Options", "makeService"]

log = Logger()


def makeService(options: Options) -> Service:
    """The whole server, not yet started."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd installs the reactor before this, not before import

    server = build(options, reactor)
    _stop_cleanly(reactor, server)
    return server


def _stop_cleanly(reactor: Any, server: AudioSocketServer | SupervisorServer) -> None:
    """Calls may end first, and exit status 0; twistd would die of the signal. A second one ends now.

    The third does not even say goodbye.
    """
    seen: list[str] = []

    def asked(number: int, frame: object) -> None:
        # Nothing else here: the signal may have interrupted the log, whose lock would wait for itself for ever.
        reactor.callFromThread(obey, signal.Signals(number).name)

    def obey(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            log.info("{name}: stopping; a second one ends now", name=name)
            reactor.stop()
        elif len(seen) == 2:
            log.info("{name} again: ending now", name=name)
            server.stop_now()
        else:
            reactor.crash()

    for number in (signal.SIGTERM, signal.SIGINT):
        reactor.addSystemEventTrigger("after", "startup", signal.signal, number, asked)
