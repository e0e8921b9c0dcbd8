"""The part of a server that has calls: what it takes over when it starts, and how it parts from them."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.calls.journal import CallJournal
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.reactor_lag import ReactorLagMonitor
from audiosocket.runtime.stack_sampler import StackSampler, waiting_in
from audiosocket.server.switchboard import Switchboard

#: How long a stop waits for the other side to close, in seconds; connections abort themselves before.
GOODBYE_SECONDS = 3.0
#: The same for somebody in a hurry: Asterisk closes within milliseconds.
HASTY_GOODBYE_SECONDS = 0.5


class CallServer(MultiService):
    """A process with calls, without an idea of where ports come from. Children: ``doors``, watchdog.

    ``journal`` is replayed before anything listens; what it brings may come back for ``resume_seconds``.
    """

    _log = Logger()

    def __init__(
        self,
        doors: IService,
        switchboard: Switchboard,
        files: FileThread,
        reactor: Any,
        *,
        journal: CallJournal | None = None,
        resume_seconds: float = 60,
    ) -> None:
        super().__init__()
        self.switchboard = switchboard
        self.watchdog = ReactorLagMonitor(reactor, reactor.seconds, StackSampler(waiting_in(reactor)))
        self._files = files
        self._reactor = reactor
        self._journal = journal
        self._resume_seconds = resume_seconds
        self._expiry: IDelayedCall | None = None
        self._hasty = False
        for child in (doors, self.watchdog):
            child.setServiceParent(self)

    def startService(self) -> None:
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
        await self._before_goodbye()
        self._log.info("stopping: {live} legs are told goodbye", live=self.switchboard.live_legs)
        self.switchboard.close()
        await maybeDeferred(super().stopService)
        began = self._reactor.seconds()
        while self.switchboard.admission.connections and self._reactor.seconds() < began + self._patience:
            await deferLater(self._reactor, 0.02)
        for connection in list(self.switchboard.admission.connections):
            connection.abort()
        await self._files.stop()
        if self._journal is not None:
            self._journal.close()
        self._log.info("stopped")

    async def _before_goodbye(self) -> None:
        """For servers that let calls end by themselves first."""

    @property
    def _patience(self) -> float:
        return HASTY_GOODBYE_SECONDS if self._hasty else GOODBYE_SECONDS
