"""The entry point of ``twistd audiosocket``: the service, and what signals do to it."""

from __future__ import annotations

import signal
from typing import cast

from twisted.application.service import Service
from twisted.logger import Logger

from audiosocket.composition import build
from audiosocket.options import Options
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.workers.supervisor import SupervisorServer

__all__ = ["Options", "makeService"]

log = Logger()


def makeService(options: Options) -> Service:
    """Return the whole server, not started."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd installs the reactor before this, not before import

    chosen = cast("ServerReactor", reactor)
    server = build(options, chosen)
    _handle_signals(chosen, server)
    return server


def _handle_signals(reactor: ServerReactor, server: AudioSocketServer | SupervisorServer) -> None:
    """Stop at SIGTERM or SIGINT with exit status 0; twistd would die of the signal.

    At the first signal calls may end by themselves, at the second they are hung up, the third ends the process.
    """
    received: list[str] = []

    def handle(number: int, frame: object) -> None:
        # Nothing else here: the signal may have interrupted the log while it holds its lock.
        reactor.callFromThread(stop, signal.Signals(number).name)

    def stop(name: str) -> None:
        received.append(name)
        if len(received) == 1:
            log.info("{name}: stopping; a second signal hangs up all calls", name=name)
            reactor.stop()
        elif len(received) == 2:
            log.info("{name} again: hanging up all calls", name=name)
            server.stop_now()
        else:
            reactor.crash()

    for number in (signal.SIGTERM, signal.SIGINT):
        reactor.addSystemEventTrigger("after", "startup", signal.signal, number, handle)
