"""What changes in the state of listeners, configuration and database, as events.

It is compared in short intervals, so that it costs the same however much changes, and nothing on a call's way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from audiosocket.postgres.database import Database
from audiosocket.provisioning.extension_service import ExtensionService
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller

#: Interval between two comparisons, in seconds.
INTERVAL_SECONDS = 0.5
#: Extensions that are read between two turns of the reactor.
PER_TURN = 50
#: Listener events of one comparison; beyond it one event says how many more there are.
MAX_LISTENER_EVENTS = 100


class StateWatch(Service):
    """Publishes ``listener.changed``, ``configuration.changed``, ``refresh.ended`` and ``database.changed``.

    ``now`` is the time of day, in seconds.
    """

    def __init__(
        self,
        listeners: Listeners,
        poller: Poller,
        database: Database | None,
        publish: Callable[[Mapping[str, Any]], object],
        clock: IReactorTime,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._listeners = listeners
        self._poller = poller
        self._database = database
        self._publish = publish
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._generation = -1
        self._unread: list[ExtensionService] = []
        self._read: dict[int, dict[str, Any]] = {}
        #: The state of each extension's listeners, by id, as it was published last.
        self.listeners_shown: dict[int, dict[str, Any]] = {}
        self._last_refresh: object = None
        self._source: tuple[str, str] | None = None
        self._database_state: tuple[str, str] | None = None

    def startService(self) -> None:
        super().startService()
        self._timer = self._clock.callLater(INTERVAL_SECONDS, self._check)

    def stopService(self) -> None:
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = self._clock.callLater(INTERVAL_SECONDS, self._check)
        self.compare()

    def compare(self) -> None:
        """Publish what has changed since the last time."""
        self._compare_database()
        self._compare_configuration()
        if self._generation != self._listeners.generation and not self._unread:
            self._generation = self._listeners.generation
            self._unread, self._read = list(self._listeners.services_by_id().values()), {}
            self._read_listeners()

    def _compare_database(self) -> None:
        if self._database is None:
            return
        state = self._database.state
        seen = (state.state, state.reason)
        if seen != self._database_state:
            self._database_state = seen
            self._publish({"event": "database.changed", "state": state.state, "reason": state.reason})

    def _compare_configuration(self) -> None:
        configuration = self._poller.configuration
        source = (configuration.source, configuration.file_trouble)
        if source != self._source:
            self._source = source
            self._publish(
                {"event": "configuration.changed", "source": source[0], "file_trouble": configuration.file_trouble}
            )
        last = configuration.last
        if last is not None and last is not self._last_refresh:
            unremarkable = self._last_refresh is not None and last.result == "unchanged" and last.trigger == "poll"
            self._last_refresh = last
            if not unremarkable:
                shown = last.to_json()
                keys = ("trigger", "result", "reason", "stats", "diff", "rejected")
                self._publish({"event": "refresh.ended", **{key: shown[key] for key in keys}})  # type: ignore[literal-required]

    def _compare_listeners(self) -> None:
        before, after = self.listeners_shown, self._read
        self.listeners_shown = after
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        for key in changed[:MAX_LISTENER_EVENTS]:
            gone = {**before.get(key, {}), "state": "removed", "reason": ""}
            self._publish({"event": "listener.changed", **after.get(key, gone)})
        if len(changed) > MAX_LISTENER_EVENTS:
            self._publish({"event": "listener.changed", "more": len(changed) - MAX_LISTENER_EVENTS})

    def _read_listeners(self) -> None:
        """Read some of the extensions, and the rest in later turns of the reactor; then compare."""
        some, self._unread = self._unread[:PER_TURN], self._unread[PER_TURN:]
        for service in some:
            state, reason, _ = service.state(self._now())
            self._read[service.extension.id] = {
                "extension": service.extension.id,
                "number": service.extension.number,
                "state": state,
                "reason": reason,
                "ports": {role.value: listener.port for role, listener in service.listeners.items()},
            }
        if self._unread:
            self._clock.callLater(0, self._read_listeners)
        else:
            self._compare_listeners()
