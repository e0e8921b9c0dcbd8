"""`interfaces.Control` over the running server: what the HTTP API can see and do."""

from __future__ import annotations

from collections.abc import Callable

from audiosocket.json_shapes import StatusJSON
from audiosocket.postgres.database import Database
from audiosocket.returncalls.backends.selection import ReturnBackend
from audiosocket.server.call_control import CallControl
from audiosocket.server.extension_control import TableControl
from audiosocket.server.single_process import AudioSocketServer


class ServerControl(TableControl, CallControl):
    """Extensions and calls of one process."""

    def __init__(
        self,
        server: AudioSocketServer,
        database: Database | None,
        seconds: Callable[[], float],
        api_port: int,
        backend: ReturnBackend | None = None,
    ) -> None:
        TableControl.__init__(self, server.listeners, server.poller, database, seconds, api_port)
        CallControl.__init__(self, server, seconds, backend)

    def status(self) -> StatusJSON:
        return {**self.table_status(self.live_by_extension()), **self.call_status()}

    def ready(self) -> tuple[bool, str]:
        if not self._server.running or not self._server.switchboard.open:
            return False, "stopping"
        if self._server.switchboard.draining:
            return False, "draining"
        if not self.listeners.applied:
            return False, "no configuration has been applied yet"
        wrong = self.listeners.mismatches()
        return not wrong, "; ".join(wrong[:5])
