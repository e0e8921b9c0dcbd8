"""The server of one process with calls: what it restores when it starts, and how it ends its calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.calls.journal import CallJournal
from audiosocket.calls.journal_replay import SavedCall
from audiosocket.calls.leg_apps import purpose_of
from audiosocket.runtime.file_thread import FileThread
from audiosocket.runtime.reactor_lag import ReactorLagMonitor
from audiosocket.runtime.stack_sampler import StackSampler, waiting_in
from audiosocket.server.draining import wait_until
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.switchboard import Switchboard

#: How long a stop waits for the peers to close, in seconds; connections abort themselves before.
CLOSE_SECONDS = 3.0
#: The same after `CallServer.stop_now`, in seconds: Asterisk closes within milliseconds.
FORCED_CLOSE_SECONDS = 0.5
#: A journal that another process has is tried again after so many seconds.
JOURNAL_SECONDS = 0.1


class SharedCalls(Protocol):
    """The journal that the nodes of a fleet share: `fleet.call_table.CallTable`."""

    def restore(self, calls: Iterable[SavedCall]) -> None:
        """Take the calls of the process before."""

    def flush(self) -> None:
        """Write what waits, without waiting for it."""


class CallServer(MultiService):
    """The services of a process with calls. Children: ``ports``, reactor monitor.

    ``journal`` is replayed before anything listens; its calls may resume for ``resume_seconds``. ``shared`` is
    given with several nodes.
    """

    _log = Logger()

    def __init__(
        self,
        ports: IService,
        switchboard: Switchboard,
        files: FileThread,
        reactor: ServerReactor,
        *,
        journal: CallJournal | None = None,
        resume_seconds: float = 60,
        shared: SharedCalls | None = None,
    ) -> None:
        super().__init__()
        self.switchboard = switchboard
        self.reactor_lag = ReactorLagMonitor(
            reactor, reactor.seconds, StackSampler(waiting_in(reactor), purpose_of=purpose_of)
        )
        self._files = files
        self._reactor = reactor
        self._journal = journal
        self._shared = shared
        self._resume_seconds = resume_seconds
        self._expiry: IDelayedCall | None = None
        self._next_try: IDelayedCall | None = None
        self._forced = False
        for child in (ports, self.reactor_lag):
            child.setServiceParent(self)

    @property
    def journal_trouble(self) -> str:
        """What is wrong with the journal, empty for nothing."""
        return "" if self._journal is None else self._journal.trouble

    def turn(self) -> Deferred[None]:
        """Return what fires in the next turn of the reactor."""
        return deferLater(self._reactor, 0)

    def startService(self) -> None:
        if self._journal is not None and self._journal.handle is None:  # else it is that of the previous process
            self._restore(self._journal)
        super().startService()

    def await_suspended(self) -> None:
        """Give up the legs that a restart had cut off before an upgrade, unless they resume in time."""
        if any(
            call.suspended or any(leg.suspended for leg in call.live_legs) for call in self.switchboard.registry
        ):
            self._expiry = self._reactor.callLater(self._resume_seconds, self._expire)

    def _restore(self, journal: CallJournal) -> None:
        kept = journal.open()
        if journal.waits:
            self._next_try = self._reactor.callLater(JOURNAL_SECONDS, self._restore, journal)
            return
        self.switchboard.restore(kept)
        if self._shared is not None:
            self._shared.restore(kept.calls)
        if kept.calls or kept.ended:
            self._log.info(
                "{live} live calls of the previous process may resume within {seconds} s; {over} had ended",
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
                "{n} legs did not resume within {seconds} s after the restart; their calls are closed",
                n=lost,
                seconds=self._resume_seconds,
            )

    def stop_now(self) -> None:
        """Shorten a stop that is in progress: send every leg a hangup frame now and wait for no call to end."""
        self._forced = True

    def stopService(self) -> Deferred[None]:
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        for timer in (self._expiry, self._next_try):
            if timer is not None and timer.active():
                timer.cancel()
        await self._before_hangup()
        self._log.info("stopping: sending a hangup frame to {live} legs", live=self.switchboard.live_legs)
        self.switchboard.close()
        if self._shared is not None:
            self._shared.flush()
        if self._journal is not None:  # all is written: the next process can read it before the callers are back
            self._journal.close()
        await maybeDeferred(super().stopService)
        connections = self.switchboard.admission.connections
        await wait_until(lambda: not connections, self._close_seconds, self._reactor)
        for connection in list(connections):
            connection.abort()
        await self._files.stop()
        self._log.info("stopped")

    async def _before_hangup(self) -> None:
        """Let calls end by themselves first, where a subclass does so."""

    def _close_seconds(self) -> float:
        return FORCED_CLOSE_SECONDS if self._forced else CLOSE_SECONDS
