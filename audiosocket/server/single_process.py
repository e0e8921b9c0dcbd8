"""The server: one `MultiService` that owns every part, starts and stops them in order."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket import __version__
from audiosocket.calls.journal import CallJournal
from audiosocket.extensions.model import Role
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime.file_thread import FileThread
from audiosocket.server.call_server import CallServer
from audiosocket.server.switchboard import Switchboard


class AudioSocketServer(CallServer):
    """The tree of services of one process. Children: listeners, watchdog, API, database, poller.

    The poller is added last: it asks the database at once, and what it finds opens the ports. A stop lets
    calls run to their own end for ``drain_seconds``.
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
        super().__init__(
            listeners,
            switchboard,
            files,
            reactor,
            journal=journal,
            resume_seconds=resume_seconds,
        )
        self.listeners = listeners
        self.poller = poller
        self._drain_seconds = drain_seconds

    def startService(self) -> None:
        self._log.info("audiosocket {version} starts", version=__version__)
        super().startService()

    async def _before_goodbye(self) -> None:
        if self._drain_seconds and self.switchboard.live_legs:
            await self._drain()

    async def _drain(self) -> None:
        """Take no new call and let those that are there end by themselves, until time or patience is over.

        Visitors find the port closed, not a goodbye: a goodbye tells the dialplan that a call is over, a
        closed port that it should try again, and then the next process answers. Residents of live calls
        may still join.
        """
        live = self.switchboard.live_legs
        self._log.info(
            "draining: {live} legs have {s} s to end by themselves",
            live=live,
            s=self._drain_seconds,
        )
        self.switchboard.draining = True
        until = self._reactor.seconds() + self._drain_seconds
        await maybeDeferred(self.poller.stopService)  # or it would open the ports again
        await self.listeners.stop_accepting(Role.VISITOR)
        while self.switchboard.live_legs and self._reactor.seconds() < until and not self._hasty:
            await deferLater(self._reactor, 0.02)
