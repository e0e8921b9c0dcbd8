"""What a process does once its ports are open: import the modules left out until then, and freeze them.

Without free file descriptors modules cannot be read; the import is tried again until it succeeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.runtime.gc_policy import GCPolicy

#: How long another thread may delay the reactor's each time both are ready, in seconds. The reactor releases the
#: interpreter's lock with every send and recv; Python's default is 5 ms.
SWITCH_SECONDS = 0.000_5
#: Interval between two checks whether the ports are open, in seconds.
CHECK_SECONDS = 0.02
#: Interval between two attempts to import, in seconds.
RETRY_SECONDS = 0.5


def install_runtime_services(
    server: MultiService,
    clock: IReactorTime,
    *,
    busy: Callable[[], bool],
    listening: Callable[[], bool],
    forget: Callable[[], bool],
    load: Callable[[], None],
) -> None:
    """Add the services to ``server`` that concern the whole process; not for a server that runs inside a test.

    ``busy`` returns whether a leg is live, ``listening`` whether the ports are open; ``forget`` drops data that is
    kept for a limited time, and returns whether there was any. ``load`` imports the modules left out at the start.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc_policy = GCPolicy(clock, busy, forget)
    for service in (gc_policy, Warmup(clock, listening, deferToThread, load, gc_policy.freeze)):
        service.setServiceParent(server)


class Warmup(Service):
    """Calls ``load`` by ``in_thread`` once ``listening()`` is true, again while it fails, then ``then``."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        listening: Callable[[], bool],
        in_thread: Callable[..., Deferred[Any]],
        load: Callable[[], None],
        then: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._listening = listening
        self._in_thread = in_thread
        self._load = load
        self._then = then
        self._call: IDelayedCall | None = None
        self._has_failed = False

    def startService(self) -> None:
        super().startService()
        self._call = self._clock.callLater(CHECK_SECONDS, self._check)

    def stopService(self) -> None:
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _check(self) -> None:
        if not self._listening():
            self._call = self._clock.callLater(CHECK_SECONDS, self._check)
            return
        self._try()

    def _try(self) -> None:
        self._in_thread(self._load).addCallbacks(self._loaded, self._failed)

    def _loaded(self, _: object) -> None:
        if self._has_failed:
            self._log.info("sounds and sample rates can be converted again")
        if self.running:
            self._then()

    def _failed(self, why: Failure) -> None:
        if not self._has_failed:
            self._has_failed = True
            expected = why.check(ImportError, OSError) is not None
            (self._log.error if expected else partial(self._log.failure, failure=why))(
                "sounds and sample rates cannot be converted, as a module cannot be imported: {why}; it is tried "
                "again. Where this does not end, install audiosocket with its dependencies",
                why=why.getErrorMessage(),
            )
        if self.running:
            self._call = self._clock.callLater(RETRY_SECONDS, self._try)
