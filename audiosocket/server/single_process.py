"""The server without workers: one `MultiService` that owns every part and starts and stops them in order."""

from __future__ import annotations

from twisted.logger import Logger

from audiosocket import __version__
from audiosocket.calls.journal import CallJournal
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime.file_thread import FileThread
from audiosocket.server.call_server import CallServer
from audiosocket.server.draining import drain
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.switchboard import Switchboard


class AudioSocketServer(CallServer):
    """The service tree of a single process. Children: listeners, reactor monitor, API, database, poller.

    The poller is added last: it reads the database at once, and what it finds opens the ports. A stop lets
    calls end by themselves for ``drain_seconds``.
    """

    _log = Logger()

    def __init__(
        self,
        listeners: Listeners,
        switchboard: Switchboard,
        poller: Poller,
        files: FileThread,
        reactor: ServerReactor,
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
        #: "", "draining" or "stopping".
        self.ending = ""

    def startService(self) -> None:
        self._log.info("audiosocket {version} starts", version=__version__)
        super().startService()

    async def _before_hangup(self) -> None:
        if self._drain_seconds and self.switchboard.live_legs:
            self.ending = "draining"
            await drain(
                self.listeners,
                self.poller,
                lambda: self.switchboard.live_legs,
                lambda: 0 if self._forced else self._drain_seconds,
                refuse_new_calls=self.switchboard.refuse_new_calls,
                clock=self._reactor,
            )
        self.ending = "stopping"
