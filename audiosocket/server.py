"""The server: one `MultiService` that owns every part, starts and stops them in order."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from audiosocket import __version__
from audiosocket.extensions import Role
from audiosocket.journal import CallJournal
from audiosocket.listeners import Listeners
from audiosocket.poller import Poller
from audiosocket.stacks import StackWatch, waiting_in
from audiosocket.switchboard import Switchboard
from audiosocket.watchdog import Watchdog

#: How long a stop waits for the other side to close, in seconds; connections abort themselves before.
GOODBYE_SECONDS = 3.0
#: The same for somebody in a hurry: Asterisk closes within milliseconds.
HASTY_GOODBYE_SECONDS = 0.5


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

    ``journal`` is replayed before anything listens; what it brings may come back for ``resume_seconds``. A stop
    lets calls run to their own end for ``drain_seconds``.
    """

    _log = Logger()

    def __init__(
        self,
        listeners: Listeners,
        switchboard: Switchboard,
        poller: Poller,
        files: FileThread,
        reactor: Any,
        *,
        journal: CallJournal | None = None,
        resume_seconds: float = 60,
        drain_seconds: float = 0,
    ) -> None:
        super().__init__()
        self.listeners = listeners
        self.switchboard = switchboard
        self.poller = poller
        self.watchdog = Watchdog(reactor, reactor.seconds, StackWatch(waiting_in(reactor)))
        self._files = files
        self._reactor = reactor
        self._journal = journal
        self._resume_seconds = resume_seconds
        self._drain_seconds = drain_seconds
        self._expiry: IDelayedCall | None = None
        self._hasty = False
        for child in (listeners, self.watchdog):
            child.setServiceParent(self)

    def startService(self) -> None:
        self._log.info("audiosocket {version} starts", version=__version__)
        if self._journal is not None:
            self._take_over(self._journal)
        super().startService()

    def _take_over(self, journal: CallJournal) -> None:
        kept = journal.open()
        self.switchboard.restore(kept)
        if kept.calls or kept.ended:
            self._log.info(
                "{live} calls of the process before this one may come back within {seconds} s; {over} were over",
                live=len(kept.calls),
                seconds=self._resume_seconds,
                over=len(kept.ended),
            )
        if kept.calls:
            self._expiry = self._reactor.callLater(self._resume_seconds, self._expire)

    def _expire(self) -> None:
        lost = self.switchboard.expire()
        if lost:
            self._log.warn(
                "{n} legs have not come back within {seconds} s after the restart; their calls are closed",
                n=lost,
                seconds=self._resume_seconds,
            )

    def hurry(self) -> None:
        """A stop that is under way ends now: every leg is told goodbye, nobody is waited for."""
        self._hasty = True

    def stopService(self) -> Deferred[None]:
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self._expiry is not None and self._expiry.active():
            self._expiry.cancel()
        if self._drain_seconds and self.switchboard.live_legs:
            await self._drain()
        self._log.info("stopping: {live} legs are told goodbye", live=self.switchboard.live_legs)
        self.switchboard.close()
        await maybeDeferred(super().stopService)
        began = self._reactor.seconds()
        while self.switchboard.connections and self._reactor.seconds() < began + self._patience:
            await deferLater(self._reactor, 0.02)
        for connection in list(self.switchboard.connections):
            connection.abort()
        await self._files.stop()
        if self._journal is not None:
            self._journal.close()
        self._log.info("stopped")

    @property
    def _patience(self) -> float:
        return HASTY_GOODBYE_SECONDS if self._hasty else GOODBYE_SECONDS

    async def _drain(self) -> None:
        """Take no new call and let those that are there end by themselves, until time or patience is over.

        Visitors find the port closed, not a goodbye: a goodbye tells the dialplan that a call is over, a
        closed port that it should try again, and then the next process answers. Residents of live calls
        may still join.
        """
        live = self.switchboard.live_legs
        self._log.info("draining: {live} legs have {s} s to end by themselves", live=live, s=self._drain_seconds)
        self.switchboard.draining = True
        until = self._reactor.seconds() + self._drain_seconds
        await maybeDeferred(self.poller.stopService)  # or it would open the ports again
        await self.listeners.stop_accepting(Role.VISITOR)
        while self.switchboard.live_legs and self._reactor.seconds() < until and not self._hasty:
            await deferLater(self._reactor, 0.02)
