"""The table as the source of extensions: the database, and the poller that reads it when it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from audiosocket.postgres.connection import IDatabaseReactor
from audiosocket.postgres.database import Database, DatabaseState
from audiosocket.provisioning.local_file import FILE_NAME
from audiosocket.provisioning.poller import Poller
from audiosocket.provisioning.refresh import Applier
from audiosocket.settings import Settings


def make_table_source(
    settings: Settings,
    password: str | Callable[[], str],
    listeners: Applier,
    in_thread: Callable[..., Deferred[Any]],
    reactor: IDatabaseReactor,
) -> tuple[Poller, Database | None]:
    """Return the poller and the database, neither started; no database without ``DB_HOST``.

    The table is read after a notification and whenever the database comes up. ``password`` is as for `Database`,
    ``in_thread`` as for `Poller`.
    """
    pollers: list[Poller] = []  # the database notifies the poller, which needs the database to exist
    database = _make_database(settings, password, reactor, pollers) if settings.db_host else None
    poller = Poller(
        reactor,
        listeners,
        database,
        Path(settings.data_dir).absolute() / FILE_NAME,
        in_thread,
        interval=settings.refresh_interval_seconds,
        automatic=settings.auto_refresh,
        limit=settings.max_extensions,
    )
    pollers.append(poller)
    return poller, database


def _make_database(
    settings: Settings, password: str | Callable[[], str], reactor: IDatabaseReactor, pollers: list[Poller]
) -> Database:
    previous = ["connecting"]

    def state_changed(state: DatabaseState) -> None:
        came_up = state.state == "up" and previous[0] != "up"
        previous[0] = state.state
        if came_up:
            for poller in pollers:
                poller.database_came_up()

    def changed() -> None:
        for poller in pollers:
            poller.refresh_soon()

    return Database(
        settings, password, reactor, listen=settings.auto_refresh, changed=changed, state_changed=state_changed
    )
