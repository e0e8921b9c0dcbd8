"""The entry point of ``twistd audiosocket``: the service, and what signals do to it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from audiosocket.composition import build
from audiosocket.options import Options
from audiosocket.provisioning.settings_changes import SettingsChanges
from audiosocket.runtime.logs import process_log
from audiosocket.runtime.signals import fatal_signals, signal_name
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.single_process import AudioSocketServer
from audiosocket.settings import Settings
from audiosocket.workers.supervisor import SupervisorServer

__all__ = ["Options", "makeService"]

log = Logger()


def makeService(options: Options) -> Service:
    """Return the whole server, not started."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd installs the reactor before this, not before import

    chosen = cast("ServerReactor", reactor)
    server = build(options, chosen)
    _handle_signals(chosen, server, _settings_changes(options, server))
    return server


def _settings_changes(options: Options, server: AudioSocketServer | SupervisorServer) -> SettingsChanges:
    """Return what applies those settings of a changed ``.env`` that need no restart."""
    appliers: dict[str, Callable[[Any], object]] = {
        "drain_seconds": lambda seconds: setattr(server, "drain_seconds", seconds),
        "refresh_interval_seconds": server.poller.poll_every,
    }
    if options.settings.workers == 1:  # each worker filters its own lines
        appliers["log_level"] = process_log.set_level
    # As they are written: options.settings has absolute paths, for a daemon's working directory.
    return SettingsChanges(Settings.parse(options.given), options.settings_now, appliers, deferToThread)


def _handle_signals(
    reactor: ServerReactor, server: AudioSocketServer | SupervisorServer, settings: SettingsChanges
) -> None:
    """Stop at SIGTERM or SIGINT with exit status 0; twistd would die of the signal, and of most others.

    At the first signal calls may end by themselves, at the second they are hung up, the third ends the process.
    SIGUSR1 reopens the log, SIGHUP also reads the configuration again, SIGUSR2 starts the next process and hands
    everything over to it; other signals have no effect.
    """
    received: list[str] = []

    def handle(number: int, frame: object) -> None:
        # Nothing else here: the signal may have interrupted the log while it holds its lock.
        reactor.callFromThread(actions.get(number, ignore), signal_name(number))

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

    def reopen(name: str) -> None:
        try:
            process_log.reopen()
        except OSError as error:
            log.warn("{name}: the log cannot be reopened: {error}", name=name, error=str(error))
        else:
            log.info("{name}: the log was reopened", name=name)

    def read_again(name: str) -> None:
        reopen(name)
        log.info("{name}: reading settings, apps.toml, the tokens and the extensions again", name=name)
        settings.read_again()
        server.read_again()

    def upgrade(name: str) -> None:
        log.info("{name}: upgrade", name=name)
        server.upgrade()

    def ignore(name: str) -> None:
        log.info("{name} is ignored; SIGTERM stops the server", name=name)

    actions: dict[int, Callable[[str], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: read_again,
        signal.SIGUSR1: reopen,
        signal.SIGUSR2: upgrade,
    }

    for number in fatal_signals():
        reactor.addSystemEventTrigger("after", "startup", _set_signal, number, handle)


def _set_signal(number: int, handle: Callable[[int, object], None]) -> None:
    # At SIGUSR1 twistd rotates a log of its own.
    if number != signal.SIGUSR1 or not callable(signal.getsignal(number)):
        signal.signal(number, handle)
