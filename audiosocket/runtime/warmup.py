"""What a process does once its ports are open: it loads what it did without until then, and leaves that alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.runtime.gc_policy import GCPolicy

#: How long a thread that writes files may hold up the one with the audio each time both want to run, in seconds.
#: The reactor gives its turn away with every send and recv; Python's own 5 ms would cost it that each time.
SWITCH_SECONDS = 0.000_5
#: Between two looks whether the ports are open, in seconds.
LOOK_SECONDS = 0.02


def install_runtime_services(
    server: MultiService,
    reactor: Any,
    *,
    busy: Callable[[], bool],
    listening: Callable[[], bool],
    forget: Callable[[], bool],
    load: Callable[[], None],
) -> None:
    """Add to ``server`` what the whole process needs beside it; not for servers in the process of a test.

    ``busy`` tells whether a leg is live, ``listening`` whether the ports are open; ``forget`` drops what was
    remembered long enough and tells whether there was something. ``load`` imports what was left out at the start.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    garbage = GCPolicy(reactor, busy, forget)
    for service in (garbage, Warmup(reactor, listening, deferToThread, load, garbage.settle)):
        service.setServiceParent(server)


class Warmup(Service):
    """Runs ``load`` by ``in_thread`` when ``listening()`` is true, once, and calls ``then``."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        listening: Callable[[], bool],
        in_thread: Callable[..., Deferred[Any]],
        load: Callable[[], None],
        then: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._listening = listening
        self._in_thread = in_thread
        self._load = load
        self._then = then
        self._call: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self._call = self._reactor.callLater(LOOK_SECONDS, self._look)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _look(self) -> None:
        if not self._listening():
            self._call = self._reactor.callLater(LOOK_SECONDS, self._look)
            return
        self._in_thread(self._load).addCallbacks(self._loaded, self._failed)

    def _loaded(self, _: object) -> None:
        if self.running:
            self._then()

    def _failed(self, why: Failure) -> None:
        self._log.failure(
            "sounds and sample rates cannot be converted: what that needs is not installed as it should be; "
            "install audiosocket with its dependencies",
            why,
        )
