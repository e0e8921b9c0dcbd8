"""The process an operator starts with ``--workers``: configuration, API and workers, but no calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.logger import Logger

from audiosocket import __version__
from audiosocket.extensions.model import Extension, Role
from audiosocket.extensions.reconcile import Plan
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.reactor_lag import ReactorLagMonitor
from audiosocket.runtime.stack_sampler import StackSampler, waiting_in
from audiosocket.workers.pool import WorkerPool
from audiosocket.workers.shared_ports import SharedPortFactory


class SupervisorListeners(Listeners):
    """Knows how many connections each port has before it closes one: workers say it up to 0.1 s late."""

    def __init__(self, fleet: WorkerPool, *, bind_address: str, reserved_ports: frozenset[int]) -> None:
        super().__init__(SharedPortFactory, fleet.ports, bind_address=bind_address, reserved_ports=reserved_ports)
        self._fleet = fleet

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        await self._fleet.refresh()
        return await super().apply(desired)

    async def restart(self, extension_id: int) -> Extension:
        await self._fleet.refresh()
        return await super().restart(extension_id)


class SupervisorServer(MultiService):
    """The tree of services of the front. Children: workers, listeners, watchdog, API, database, poller.

    A stop lets calls run to their own end for ``drain_seconds``, as in a single process.
    """

    _log = Logger()

    def __init__(
        self,
        fleet: WorkerPool,
        listeners: Listeners,
        poller: Poller,
        files: FileThread,
        reactor: Any,
        *,
        drain_seconds: float = 0,
    ) -> None:
        super().__init__()
        self.fleet = fleet
        self.listeners = listeners
        self.poller = poller
        self.watchdog = ReactorLagMonitor(reactor, reactor.seconds, StackSampler(waiting_in(reactor)))
        self._files = files
        self._drain_seconds = drain_seconds
        self._hasty = False
        #: "", "draining" or "stopping".
        self.ending = ""
        for child in (listeners, self.watchdog):
            child.setServiceParent(self)

    def startService(self) -> None:
        self._log.info("audiosocket {version} starts {n} workers", version=__version__, n=len(self.fleet.workers))
        self.fleet.startService()
        super().startService()

    def hurry(self) -> None:
        """A stop that is under way ends now."""
        self._hasty = True
        self.fleet.hurry()

    def stopService(self) -> Deferred[None]:
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        await self.fleet.refresh()
        if self._drain_seconds and self.fleet.live_legs:
            await self._drain()
        self.ending = "stopping"
        await maybeDeferred(self.poller.stopService)
        self.fleet.ports.close()
        # Workers part from their calls while the API still answers.
        await self.fleet.stopService()
        await maybeDeferred(super().stopService)
        await self._files.stop()
        self._log.info("all workers have stopped")

    async def _drain(self) -> None:
        """As `server.AudioSocketServer` does it: visitors find the port closed, residents may still join."""
        live = self.fleet.live_legs
        self._log.info("draining: {live} legs have {s} s to end by themselves", live=live, s=self._drain_seconds)
        self.ending = "draining"
        await maybeDeferred(self.poller.stopService)  # or it would open the ports again
        await self.listeners.stop_accepting(Role.VISITOR)
        self.fleet.tell("drain")  # now: whoever came in while ports were being closed would hear a goodbye
        await self.fleet.until_quiet(self._drain_seconds, lambda: self._hasty)
