"""The supervisor: the process that the operator starts with ``--workers``. It has no calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket import __version__
from audiosocket.extensions.model import Extension
from audiosocket.extensions.reconcile import Plan
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.reactor_lag import ReactorLagMonitor
from audiosocket.runtime.stack_sampler import StackSampler, waiting_in
from audiosocket.server.draining import drain
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.succession import Succession
from audiosocket.server.visit_services import condominiums
from audiosocket.workers.pool import WorkerPool
from audiosocket.workers.shared_ports import SharedPortFactory


class SupervisorListeners(Listeners):
    """Listeners that first ask the workers how many connections each port has.

    The workers' own reports are up to 0.1 s old, and a port without connections is forgotten when it is closed.
    """

    def __init__(self, pool: WorkerPool, *, bind_address: str, reserved_ports: frozenset[int]) -> None:
        super().__init__(SharedPortFactory, pool.ports, bind_address=bind_address, reserved_ports=reserved_ports)
        self._pool = pool

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        await self._pool.refresh()
        # Before any port opens: a worker must know them all to know that a file is that of one only.
        self._pool.set_condominiums(condominiums([*desired, *self.extensions.values()]))
        plan = await super().apply(desired)
        self._pool.set_condominiums(condominiums(self.extensions.values()))
        return plan

    async def retry(self) -> None:
        await self._pool.refresh()
        await super().retry()

    async def restart(self, extension_id: int) -> Extension:
        await self._pool.refresh()
        return await super().restart(extension_id)


class SupervisorServer(MultiService):
    """The service tree of the supervisor. Children: listeners, reactor monitor, API, database, poller.

    A stop lets calls end by themselves for ``drain_seconds``, as in a single process. ``read_again`` reads
    ``apps.toml`` here; ``starting`` is called before the workers start.
    """

    _log = Logger()

    def __init__(
        self,
        pool: WorkerPool,
        listeners: Listeners,
        poller: Poller,
        files: FileThread,
        reactor: ServerReactor,
        *,
        drain_seconds: float = 0,
        succession: Succession | None = None,
        read_again: Callable[[], object] = lambda: None,
        starting: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.listeners = listeners
        self.poller = poller
        self.reactor_lag = ReactorLagMonitor(reactor, reactor.seconds, StackSampler(waiting_in(reactor)))
        self._files = files
        self._reactor = reactor
        #: How long a stop waits for calls to end by themselves.
        self.drain_seconds = drain_seconds
        self._succession = succession
        self._read_again = read_again
        self._starting = starting
        self._forced = False
        #: "", "draining" or "stopping".
        self.ending = ""
        for child in (listeners, self.reactor_lag):
            child.setServiceParent(self)

    def turn(self) -> Deferred[None]:
        """Return what fires in the next turn of the reactor."""
        return deferLater(self._reactor, 0)

    def upgrade(self) -> None:
        """Do nothing but say so: only a single process can hand its calls over."""
        self._log.warn(
            "an upgrade without a gap is not supported with WORKERS above 1; nothing has changed. Restart the "
            "service: calls resume in the next process"
        )

    def read_again(self) -> None:
        """Read ``apps.toml`` and the extensions again, whether they have changed or not."""
        self._read_again()
        self.pool.notify("read_again")
        self.poller.read_again("signal")

    def startService(self) -> None:
        self._log.info("audiosocket {version} starts {n} workers", version=__version__, n=len(self.pool.workers))
        if self._succession is None:
            self._begin()
        else:
            self._succession.begin(self._begin)

    def _begin(self) -> None:
        self._starting()
        self.pool.startService()
        super().startService()

    def stop_now(self) -> None:
        """Shorten a stop that is in progress: wait for no call to end."""
        self._forced = True
        self.pool.stop_now()

    def stopService(self) -> Deferred[None]:
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._succession is not None and self._succession.cancel():
            await self._files.stop()
            self._log.info("stopped before anything was started")
            return
        await self.pool.refresh()
        if self.drain_seconds and self.pool.live_legs:
            self.ending = "draining"
            await drain(
                self.listeners,
                self.poller,
                lambda: self.pool.live_legs,
                lambda: 0 if self._forced else self.drain_seconds,
                refuse_new_calls=lambda: self.pool.notify("drain"),
                clock=self._reactor,
            )
        self.ending = "stopping"
        await maybeDeferred(self.poller.stopService)
        self.pool.ports.close()
        # The workers hang up their calls while the API still answers.
        await self.pool.stopService()
        await maybeDeferred(super().stopService)
        await self._files.stop()
        self._log.info("all workers have stopped")
