"""The server: one `MultiService` that owns every part, starts and stops them in order."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from audiosocket import __version__
from audiosocket.listeners import Listeners
from audiosocket.poller import Poller
from audiosocket.switchboard import Switchboard
from audiosocket.watchdog import Watchdog

#: How long a stop waits for the other side to close, in seconds; connections abort themselves before.
GOODBYE_SECONDS = 3.0


class FileThread:
    """One thread for all writing of files: nothing on a disk may cost a caller a frame, and order is kept."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name="files")
        self._running = False

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """The result of a blocking function, later."""
        if not self._running:
            self._pool.start()
            self._running = True
        return deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)

    async def stop(self) -> None:
        """Wait for everything handed over so far, then end the thread."""
        if self._running:
            await self.run(_nothing_left)
            self._running = False
            self._pool.stop()


def _nothing_left() -> None:
    """The last piece of work: when it is done, all before it are."""


class AudioSocketServer(MultiService):
    """The tree of services of one process. Children: listeners, watchdog, API, database, poller.

    The poller is added last: it asks the database at once, and what it finds opens the ports.
    """

    _log = Logger()

    def __init__(
        self, listeners: Listeners, switchboard: Switchboard, poller: Poller, files: FileThread, reactor: Any
    ) -> None:
        super().__init__()
        self.listeners = listeners
        self.switchboard = switchboard
        self.poller = poller
        self.watchdog = Watchdog(reactor, reactor.seconds)
        self._files = files
        self._reactor = reactor
        for child in (listeners, self.watchdog):
            child.setServiceParent(self)

    def startService(self) -> None:
        self._log.info("audiosocket {version} starts", version=__version__)
        super().startService()

    def stopService(self) -> Deferred[None]:
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        live = len(self.switchboard.registry)
        self._log.info("stopping: {live} calls are told goodbye", live=live)
        self.switchboard.close()
        await maybeDeferred(super().stopService)
        give_up = self._reactor.seconds() + GOODBYE_SECONDS
        while self.switchboard.connections and self._reactor.seconds() < give_up:
            await deferLater(self._reactor, 0.02)
        for connection in list(self.switchboard.connections):
            connection.abort()
        await self._files.stop()
        self._log.info("stopped")
