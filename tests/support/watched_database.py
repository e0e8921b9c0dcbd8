"""A `Database` with its reports, and what tests of it ask of the real server beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet import defer, task
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from audiosocket.errors import SourceUnavailable
from audiosocket.postgres.database import Database, DatabaseState, Row, Timeouts
from audiosocket.settings import Settings
from tests.support.loopback_server import until
from tests.support.postgres import ROLE, PostgresServer
from tests.support.reactor import reactor

#: Real deadlines, short pauses.
TIMEOUTS = Timeouts(heartbeat=0.3, first_pause=0.05, longest_pause=0.2, steady=0.2)
#: Where a deadline is what the test waits for.
SHORT_TIMEOUTS = dataclasses.replace(
    TIMEOUTS, lookup=1.0, connect=1.0, statement=1.0, server_statement=0.8, server_lock=0.4, turn=3.0
)


@implementer(ILogObserver)
class Watched:
    """A `Database` with its reports: how often it called ``changed``, its states, its log."""

    def __init__(self, settings: Mapping[str, str], timeouts: Timeouts, listen: bool) -> None:
        parsed = Settings.parse(settings)
        self.changes = 0
        self.states: list[DatabaseState] = []
        self.log: list[tuple[LogLevel, str]] = []
        self.database = Database(
            parsed,
            parsed.db_password,
            reactor,
            listen=listen,
            changed=self._changed,
            state_changed=self.states.append,
            timeouts=timeouts,
        )
        self.listen = listen
        globalLogPublisher.addObserver(self)
        self.database.startService()

    def _changed(self) -> None:
        self.changes += 1

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("audiosocket."):
            self.log.append((event["log_level"], formatEvent(event)))

    @property
    def state(self) -> DatabaseState:
        return self.database.state

    @property
    def warnings(self) -> list[str]:
        return [text for level, text in self.log if level is LogLevel.warn]

    async def healthy(self) -> None:
        """Wait until all sessions are open."""
        await until(lambda: self.state.state == "up" and self.state.listening == self.listen)

    async def down(self) -> None:
        await until(lambda: self.state.state == "down")

    async def rows(self) -> list[Row]:
        rows: list[Row] = []
        await self.database.read(rows.extend)
        return rows

    async def stop(self) -> None:
        globalLogPublisher.removeObserver(self)
        await self.database.stopService()


async def fails(work: Any) -> str:
    """Return the text of the `SourceUnavailable` that the coroutine must raise."""
    with pytest.raises(SourceUnavailable) as caught:
        await work
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_thread(function: Callable[..., Any], *values: Any) -> defer.Deferred[Any]:
    return deferToThread(function, *values)


Open = Callable[..., Watched]


def a_row(number: int, **changed: object) -> dict[str, object]:
    return {
        "extension_ia_number": str(number),
        "extension_ia_return": str(number + 1),
        "extension_ia_ip": "192.0.2.1",
        "extension_ia_number_port": str(20_000 + number),
        "condominium_id": 7,
        "extension_ia_return_port": None,
        **changed,
    }


FILL = """
    insert into extension_ia (extension_ia_number, extension_ia_return, extension_ia_ip,
                              extension_ia_number_port, condominium_id)
    select n, n, '192.0.2.1', n, n from generate_series(1, %s) n
"""


SLEEPY = f"""
    alter table extension_ia rename to t;
    create view extension_ia as select t.* from pg_sleep(30) s left join t on true;
    grant select on extension_ia to {ROLE}
"""


def accept(_: Sequence[Row]) -> None:
    """Accept all rows."""


class Backends:
    """Counts the backends of the `Database` at the server, continuously, on a connection of its own."""

    def __init__(self, postgres: PostgresServer, database: str) -> None:
        self._postgres = postgres
        self._database = database
        self.most = 0

    async def watch_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            self.most = max(self.most, await self.now())
            await task.deferLater(reactor, 0.005)

    async def now(self) -> int:
        """Return how many there are; 0 while the server cannot be asked."""
        return len(await self.pids())

    async def pids(self) -> list[int]:
        def ask() -> list[int]:
            sql = "select pid from pg_stat_activity where datname = %s and usename = %s order by backend_start"
            return [pid for (pid,) in self._postgres.execute("postgres", sql, [self._database, ROLE])]

        found: list[int] = await in_thread(ask)
        return found
