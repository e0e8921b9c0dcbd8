"""The server without workers: one `MultiService` that owns every part and starts and stops them in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from audiosocket import __version__
from audiosocket.calls.journal import CallJournal
from audiosocket.extensions.model import Role
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime.file_thread import FileThread
from audiosocket.server.call_server import CallServer, SharedCalls
from audiosocket.server.draining import drain
from audiosocket.server.reactor import ServerReactor
from audiosocket.server.switchboard import Switchboard


class Beginning(Protocol):
    """What decides when a process starts: `succession.Succession`, at an upgrade `upgrade.successor.Successor`."""

    def begin(self, start: Callable[[], object]) -> None:
        """Call ``start`` at once or later."""

    def cancel(self) -> bool:
        """Wait no longer; return whether nothing was started yet."""


class AudioSocketServer(CallServer):
    """The service tree of a single process. Children: listeners, reactor monitor, API, database, poller.

    The poller is added last: it reads the database at once, and what it finds opens the ports. A stop lets
    calls end by themselves for ``drain_seconds``. ``read_again`` reads ``apps.toml``.
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
        succession: Beginning | None = None,
        read_again: Callable[[], object] = lambda: None,
        shared: SharedCalls | None = None,
    ) -> None:
        super().__init__(
            listeners,
            switchboard,
            files,
            reactor,
            journal=journal,
            resume_seconds=resume_seconds,
            shared=shared,
        )
        self.listeners = listeners
        self.poller = poller
        #: How long a stop waits for calls to end by themselves.
        self.drain_seconds = drain_seconds
        self._succession = succession
        self._read_again = read_again
        #: "", "draining" or "stopping".
        self.ending = ""
        #: Starts the next process and hands everything over to it.
        self.upgrade: Callable[[], object] = lambda: None

    def read_again(self) -> None:
        """Read ``apps.toml`` and the extensions again, whether they have changed or not."""
        self._read_again()
        self.poller.read_again("signal")

    def startService(self) -> None:
        self._log.info("audiosocket {version} starts", version=__version__)
        if self._succession is None:
            super().startService()
        else:
            self._succession.begin(super().startService)

    async def _stop(self) -> None:
        if self._succession is not None and self._succession.cancel():
            await self._files.stop()
            self._log.info("stopped before anything was started")
            return
        await super()._stop()

    async def _before_hangup(self) -> None:
        if self.drain_seconds and self.switchboard.live_legs:
            self.ending = "draining"
            await drain(
                self.listeners,
                self.poller,
                lambda: self.switchboard.live_legs,
                lambda: 0 if self._forced else self.drain_seconds,
                refuse_new_calls=self.switchboard.refuse_new_calls,
                clock=self._reactor,
            )
        self.ending = "stopping"
        # A caller that is cut off must find no port here, but that of the next process.
        await maybeDeferred(self.poller.stopService)
        for role in Role:
            await self.listeners.stop_accepting(role)
