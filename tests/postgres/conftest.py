"""Fixtures of the tests of `audiosocket.postgres.database`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet import defer

from audiosocket.postgres.database import Timeouts
from tests.support.postgres import PostgresServer
from tests.support.watched_database import TIMEOUTS, Backends, Open, Watched


@pytest.fixture
def open_database(database_settings: dict[str, str]) -> Iterator[Open]:
    """Make and start a `Database`; keywords change settings (``DB_NAME="x"``), time-outs and listening."""
    opened: list[Watched] = []

    def make(timeouts: Timeouts = TIMEOUTS, listen: bool = True, **settings: str) -> Watched:
        watched = Watched({**database_settings, **settings}, timeouts, listen)
        opened.append(watched)
        return watched

    yield make
    for watched in opened:
        pytest_twisted.blockon(defer.ensureDeferred(watched.stop()))


@pytest.fixture
def backends(postgres: PostgresServer, database_name: str) -> Backends:
    return Backends(postgres, database_name)
