"""`audiosocket.postgres.database` against a real PostgreSQL that is stopped, killed, frozen and locked."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import defer, endpoints, protocol, task
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from audiosocket.errors import ChangeNotAllowed, ExtensionTaken, InvalidExtension, SourceUnavailable
from audiosocket.postgres.database import COLUMNS, Database, DatabaseState, Row, Timeouts
from audiosocket.settings import Settings
from audiosocket.settings_files import read_password
from tests.support.logged_failures import LoggedFailures
from tests.support.postgres import MAX_CONNECTIONS, RESERVED, ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.reactor import reactor

pytestmark = pytest.mark.usefixtures("no_traceback")

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


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; the time-out of the test is the limit."""
    while not condition():
        await task.deferLater(reactor, 0.01)


async def fails(work: Any) -> str:
    """Return the text of the `SourceUnavailable` that the coroutine must raise."""
    with pytest.raises(SourceUnavailable) as caught:
        await work
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_thread(function: Callable[..., Any], *values: Any) -> defer.Deferred[Any]:
    return deferToThread(function, *values)


Open = Callable[..., Watched]


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


@pytest.fixture
def backends(postgres: PostgresServer, database_name: str) -> Backends:
    return Backends(postgres, database_name)


# reading and writing


@pytest.mark.usefixtures("database_with_table")
async def test_read_gives_rows_by_id_as_psycopg2_does(open_database: Open) -> None:
    watched = open_database()
    first = await watched.database.insert(a_row(1, extension_ia_number="çà"), accept)
    second = await watched.database.insert(a_row(2, extension_ia_return_port="9000"), accept)
    await watched.database.update(first, {"condominium_id": 8}, accept)  # moves it to the end of the heap
    rows = await watched.rows()
    assert [row["extension_ia_id"] for row in rows] == [first, second]
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["extension_ia_number"] == "çà" + " " * 48
    assert rows[0]["extension_ia_return_port"] is None
    assert rows[0]["condominium_id"] == 8
    assert str(rows[1]["extension_ia_return_port"]).rstrip() == "9000"


@pytest.mark.usefixtures("database_with_table")
async def test_an_empty_table_is_zero_rows_and_no_page(open_database: Open) -> None:
    pages: list[Sequence[Row]] = []
    assert await open_database().database.read(pages.append) == 0
    assert pages == []


@pytest.mark.slow
@pytest.mark.deadline(30)
async def test_a_hundred_thousand_rows_arrive_in_pages_with_reactor_turns_between(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    await in_thread(postgres.execute, database_with_table, "alter table extension_ia disable trigger all")
    await in_thread(postgres.execute, database_with_table, FILL, [100_000])
    watched = open_database()
    turns = 0
    seen: list[tuple[int, int]] = []

    next_turn: Any

    def turn() -> None:
        nonlocal turns, next_turn
        turns += 1
        next_turn = reactor.callLater(0, turn)

    next_turn = reactor.callLater(0, turn)
    try:
        assert await watched.database.read(lambda page: seen.append((len(page), turns))) == 100_000
    finally:
        next_turn.cancel()
    assert max(size for size, _ in seen) == 500
    assert all(later[1] > earlier[1] for earlier, later in itertools.pairwise(seen))


@pytest.mark.usefixtures("database_with_table")
async def test_an_error_of_take_is_raised_and_the_session_stays_usable(open_database: Open) -> None:
    watched = open_database()
    await watched.database.insert(a_row(1), accept)

    def take(_: Sequence[Row]) -> None:
        raise InvalidExtension("too many")

    with pytest.raises(InvalidExtension, match="too many"):
        await watched.database.read(take)
    assert len(await watched.rows()) == 1
    assert watched.state.reason == ""


@pytest.mark.usefixtures("database_with_table")
async def test_a_refused_check_writes_nothing_and_frees_the_lock(open_database: Open) -> None:
    watched = open_database()
    first = await watched.database.insert(a_row(1), accept)
    seen: list[Row] = []

    def check(rows: Sequence[Row]) -> None:
        seen.extend(rows)
        raise ExtensionTaken("taken")

    with pytest.raises(ExtensionTaken):
        await watched.database.insert(a_row(2), check)
    with pytest.raises(ExtensionTaken):
        await watched.database.update(first, a_row(2), check)
    assert [row["extension_ia_id"] for row in seen] == [first, first]
    assert len(await watched.rows()) == 1
    assert await watched.database.insert(a_row(2), accept) > first


@pytest.mark.usefixtures("database_with_table")
async def test_update_and_delete_return_false_without_such_a_row(open_database: Open) -> None:
    watched = open_database()

    def never(_: Sequence[Row]) -> None:
        raise AssertionError("checked a row that does not exist")

    assert await watched.database.update(99, a_row(1), never) is False
    assert await watched.database.delete(99) is False
    added = await watched.database.insert(a_row(1), accept)
    assert await watched.database.update(added, {"extension_ia_return_port": "9000"}, accept) is True
    (row,) = await watched.rows()
    assert str(row["extension_ia_return_port"]).strip() == "9000"
    assert str(row["extension_ia_number"]).strip() == "1"
    assert await watched.database.delete(added) is True
    assert await watched.rows() == []


@pytest.mark.usefixtures("database_with_table")
async def test_two_servers_that_insert_the_same_number_at_once_do_not_both_succeed(open_database: Open) -> None:
    def unique(rows: Sequence[Row]) -> None:
        if any(str(row["extension_ia_number"]).strip() == "1" for row in rows):
            raise ExtensionTaken("taken")

    databases = [open_database().database for _ in range(2)]
    inserts = [defer.ensureDeferred(databases[n % 2].insert(a_row(1), unique)) for n in range(6)]
    outcomes = await defer.DeferredList(inserts, consumeErrors=True)
    assert sorted(succeeded for succeeded, _ in outcomes) == [False] * 5 + [True]
    failures: list[Any] = [result for succeeded, result in outcomes if not succeeded]
    assert all(failure.check(ExtensionTaken) for failure in failures)


async def test_a_constraint_of_the_table_is_the_callers_error_and_not_an_outage(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    postgres.execute(database_with_table, "create unique index on extension_ia (extension_ia_number)")
    watched = open_database()
    await watched.database.insert(a_row(1), accept)
    with pytest.raises(ExtensionTaken, match="duplicate key"):
        await watched.database.insert(a_row(1), accept)
    for bad in ("x" * 51, "nul\0", "lone \ud800"):
        with pytest.raises(InvalidExtension):
            await watched.database.insert(a_row(2, extension_ia_return=bad), accept)
    with pytest.raises(InvalidExtension):
        await watched.database.insert(a_row(2, condominium_id=2**40), accept)
    assert watched.state.state == "up"
    assert watched.state.reason == ""
    assert len(await watched.rows()) == 1


async def test_a_byte_that_is_not_utf8_concerns_one_row(open_database: Open, postgres: PostgresServer) -> None:
    postgres.execute("postgres", f"create database latin encoding 'SQL_ASCII' template template0 owner {ROLE}")
    try:
        postgres.execute("latin", _table_sql())
        postgres.execute("latin", f"grant all on extension_ia to {ROLE}")
        raw = r"insert into extension_ia values (default, %s, 'r', 'i', '1', 1)"
        connection = postgres.connect("latin")
        connection.set_client_encoding("LATIN1")
        with connection.cursor() as cursor:
            cursor.execute(raw, ["port\u00e3o"])
            cursor.execute(raw, ["1002"])
        connection.close()
        watched = open_database(DB_NAME="latin")
        assert [str(row["extension_ia_number"]).strip() for row in await watched.rows()] == ["port\ufffdo", "1002"]
        await watched.stop()
    finally:
        await in_thread(postgres.execute, "postgres", "drop database latin with (force)")


def _table_sql() -> str:
    from audiosocket import schema

    return schema.sql()


# notifications


async def test_changes_are_announced(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    watched = open_database()
    await watched.healthy()
    assert watched.changes == 1  # whatever happened before listening began
    for count, sql in enumerate(
        (
            "insert into extension_ia values (default, '1', '2', '3', '4', 5)",
            "update extension_ia set condominium_id = 6",
            "delete from extension_ia",
        ),
        start=2,
    ):
        await in_thread(postgres.execute, database_with_table, sql)
        await until(lambda: watched.changes == count)  # noqa: B023
    assert not watched.warnings


async def test_many_notifications_are_few_calls(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    watched = open_database()
    await watched.healthy()
    await in_thread(postgres.execute, database_with_table, FILL, [10_000])
    await until(lambda: watched.changes > 1)
    before = watched.changes
    await in_thread(postgres.execute, database_with_table, "notify change_record_extension_ia, 'not even JSON'")
    await until(lambda: watched.changes > before)
    assert watched.changes < 1_000


async def test_without_listening_there_is_one_backend(
    open_database: Open, backends: Backends, database_with_table: str
) -> None:
    watched = open_database(listen=False)
    await watched.rows()
    assert await backends.now() == watched.state.backends == 1
    assert not watched.state.listening
    assert watched.changes == 0


async def test_an_error_of_a_callback_does_not_end_the_supervision(
    open_database: Open, postgres: PostgresServer, database_with_table: str, logged_failures: LoggedFailures
) -> None:
    watched = open_database()
    await watched.healthy()
    watched.database._changed = watched.database._state_changed = lambda *_: 1 / 0  # type: ignore[assignment]
    await in_thread(postgres.execute, database_with_table, "notify change_record_extension_ia")
    await until(lambda: len(logged_failures) > 0)
    await in_thread(postgres.kill)
    await watched.down()
    await in_thread(postgres.start)
    await watched.healthy()
    assert logged_failures.flush(ZeroDivisionError)


# losing the server and finding it again


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_recovers_when_the_server_has_ended_and_is_back(
    way: str, open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    watched = open_database()
    await watched.healthy()
    for again in (1, 2):
        changes = watched.changes
        await in_thread(getattr(postgres, way))
        await watched.down()
        assert watched.state.backends == 0
        assert watched.state.reason
        assert await fails(watched.rows())
        await until(lambda: watched.state.attempts > 2)
        assert "refused" in watched.state.reason
        assert watched.state.next_try_seconds is None or watched.state.next_try_seconds <= 0.5
        await in_thread(postgres.start)
        restored = defer.ensureDeferred(watched.healthy())
        await backends.watch_while(lambda: not restored.called)  # noqa: B023
        await restored
        assert watched.changes > changes  # notifications were lost meanwhile: the table must be read again
        assert watched.state.reason == ""
        assert len(watched.warnings) == again, watched.log
        assert await watched.rows() == []
    assert backends.most <= 2
    changes = watched.changes
    await in_thread(postgres.execute, database_with_table, "notify change_record_extension_ia")
    await until(lambda: watched.changes > changes)


@pytest.mark.deadline(20)
async def test_recovers_from_a_freeze_that_begins_while_idle(
    open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    watched = open_database(SHORT_TIMEOUTS)
    await watched.healthy()
    changes = watched.changes
    postgres.freeze()
    await watched.down()
    assert watched.state.reason == "no answer within 1 s"
    assert watched.state.backends == 0
    assert await fails(watched.rows()) == "no answer within 1 s"
    postgres.thaw()
    restored = defer.ensureDeferred(watched.healthy())
    await backends.watch_while(lambda: not restored.called)
    await restored
    assert watched.changes > changes
    assert backends.most <= 2
    assert len(watched.warnings) == 1
    await until(lambda: watched.state.backends == 2)
    assert await watched.rows() == []
    assert await backends.now() == 2


@pytest.mark.deadline(20)
async def test_a_freeze_is_noticed_without_listening_too(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    watched = open_database(SHORT_TIMEOUTS, listen=False)
    await watched.healthy()
    postgres.freeze()
    await watched.down()
    postgres.thaw()
    await watched.healthy()


@pytest.mark.usefixtures("database_with_table")
async def test_all_callers_that_wait_for_a_frozen_server_fail_together(
    open_database: Open, postgres: PostgresServer
) -> None:
    watched = open_database(dataclasses.replace(SHORT_TIMEOUTS, heartbeat=60.0))
    await watched.healthy()
    postgres.freeze()
    reads = [defer.ensureDeferred(watched.rows()) for _ in range(20)]
    with pytest.raises(defer.FirstError):
        await defer.DeferredList(reads, fireOnOneErrback=True, consumeErrors=True)
    for _ in reads:  # some turns of the reactor, not one time-out after the other
        await task.deferLater(reactor, 0)
    assert all(read.called for read in reads)
    assert watched.state.state == "down"


async def test_a_frozen_server_at_the_start(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    postgres.freeze()
    watched = open_database(SHORT_TIMEOUTS)
    assert watched.state.state == "connecting"
    assert await fails(watched.rows()) == "no answer within 1 s"
    assert watched.state.state == "down"
    postgres.thaw()
    await watched.healthy()


@pytest.mark.parametrize("way", ["stop", "kill", "freeze"])
async def test_a_server_that_is_lost_during_a_query(
    way: str, open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    watched = open_database(
        dataclasses.replace(SHORT_TIMEOUTS, statement=2.0, server_statement=30.0, server_lock=30.0)
    )
    await watched.healthy()
    # not a lock: who holds it might end first
    await in_thread(postgres.execute, database_with_table, SLEEPY)
    reading = defer.ensureDeferred(watched.rows())
    await task.deferLater(reactor, 0.1)
    assert not reading.called
    await in_thread(getattr(postgres, way))
    reason = await fails(reading)
    assert watched.state.state == "down"
    assert next(state.reason for state in watched.states if state.state == "down") == reason
    postgres.restore()
    await watched.healthy()
    await in_thread(postgres.execute, database_with_table, "drop view extension_ia")
    await in_thread(postgres.execute, database_with_table, "alter table t rename to extension_ia")
    assert await watched.rows() == []
    assert len(watched.warnings) == 1


async def test_one_session_ended_by_an_administrator(
    open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    watched = open_database()
    await watched.healthy()
    for which in (0, 1):
        pids = await backends.pids()
        changes = watched.changes
        await in_thread(postgres.execute, "postgres", "select pg_terminate_backend(%s)", [pids[which]])
        await until(lambda: watched.changes > changes)  # noqa: B023
        await watched.healthy()
        assert await watched.rows() == []
        assert await backends.now() == 2


# connected, and still not able to read


async def test_a_locked_table_is_a_reason_and_not_an_outage(
    open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    watched = open_database(SHORT_TIMEOUTS)
    await watched.healthy()
    pids = await backends.pids()
    blocker = postgres.connect(database_with_table)
    with blocker.cursor() as cursor:
        cursor.execute("begin; lock table extension_ia")
    for _ in range(2):
        assert await fails(watched.rows()) == "canceling statement due to lock timeout"
    assert await fails(watched.database.insert(a_row(1), accept)) == "canceling statement due to lock timeout"
    assert watched.state.state == "up"
    assert watched.state.reason == "canceling statement due to lock timeout"
    blocker.close()
    assert await watched.rows() == []
    assert watched.state.reason == ""
    assert await backends.pids() == pids
    assert len(watched.warnings) == 1


@pytest.mark.parametrize(
    ("break_it", "mend_it", "reason"),
    [
        (
            "alter table extension_ia rename to gone",
            "alter table gone rename to extension_ia",
            'relation "public.extension_ia" does not exist',
        ),
        (
            "alter table extension_ia rename condominium_id to gone",
            "alter table extension_ia rename gone to condominium_id",
            'column "condominium_id" does not exist',
        ),
        (
            f"alter table extension_ia owner to test; revoke all on extension_ia from {ROLE}",
            f"alter table extension_ia owner to {ROLE}",
            "permission denied for table extension_ia",
        ),
    ],
)
async def test_a_broken_table_is_a_reason_until_it_is_repaired(
    break_it: str,
    mend_it: str,
    reason: str,
    open_database: Open,
    postgres: PostgresServer,
    database_with_table: str,
) -> None:
    watched = open_database()
    await watched.healthy()
    await in_thread(postgres.execute, database_with_table, break_it)
    for _ in range(2):
        assert await fails(watched.rows()) == reason
    assert watched.state.state == "up"
    assert watched.state.reason == reason
    assert watched.states[-1].reason == reason
    assert len(watched.warnings) == 1
    await in_thread(postgres.execute, database_with_table, mend_it)
    assert await watched.rows() == []
    assert watched.states[-1].reason == ""


async def test_columns_of_other_types_are_returned_as_they_are(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    postgres.execute(
        database_with_table,
        "alter table extension_ia alter extension_ia_number_port type integer using 1, "
        "alter extension_ia_return type timestamptz using now(), alter extension_ia_ip type text",
    )
    postgres.execute(
        database_with_table,
        "insert into extension_ia values (default, '1', '2026-01-31', repeat('x', 1000000), 8080, 5)",
    )
    watched = open_database()
    (row,) = await watched.rows()
    assert row["extension_ia_number_port"] == 8080
    assert len(str(row["extension_ia_ip"])) == 1_000_000
    await in_thread(
        postgres.execute, database_with_table, "update extension_ia set extension_ia_return = '20000-01-01'"
    )
    assert "cannot be read" in await fails(watched.rows())
    assert watched.state.state == "up"


# never getting in


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"DB_PASSWORD": "wrong-secret"}, f'password authentication failed for user "{ROLE}"'),
        ({"DB_NAME": "nowhere"}, 'database "nowhere" does not exist'),
        ({"DB_SSLMODE": "require"}, "server does not support SSL, but SSL was required"),
        ({"DB_HOST": "/nonexistent"}, "No such file or directory"),
    ],
)
async def test_a_refusal_is_tried_again_quietly(
    settings: dict[str, str], reason: str, open_database: Open, database_with_table: str
) -> None:
    watched = open_database(dataclasses.replace(TIMEOUTS, longest_pause=0.05), **settings)
    await until(lambda: watched.state.attempts >= 3)
    before = len(os.listdir("/proc/self/fd"))
    await until(lambda: watched.state.attempts >= 20)
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # an attempt may be in progress
    assert reason in watched.state.reason
    assert reason in await fails(watched.rows())
    assert "wrong-secret" not in repr(watched.state)
    assert len(watched.log) == 1
    assert len(watched.warnings) == 1
    assert [state.state for state in watched.states] == ["down"]


async def test_a_wrong_password_that_is_corrected(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    watched = open_database(DB_PASSWORD="placeholder")
    await watched.down()
    try:
        await in_thread(postgres.execute, "postgres", f"alter role {ROLE} password 'placeholder'")
        await watched.healthy()
    finally:
        await in_thread(postgres.execute, "postgres", f"alter role {ROLE} password '{ROLE_PASSWORD}'")


async def test_a_password_in_a_file_is_read_again_for_each_connection(
    tmp_path: Path, postgres: PostgresServer, database_settings: dict[str, str], database_with_table: str
) -> None:
    file = tmp_path / "secret"
    file.write_text("not yet\n")
    settings = {**database_settings, "DB_PASSWORD": "", "DB_PASSWORD_FILE": str(file)}
    parsed = Settings.parse(settings)
    threads: set[bool] = set()

    def read() -> str:
        threads.add(isInIOThread())
        return read_password(parsed)

    database = Database(
        parsed, read, reactor, listen=True, changed=lambda: None, state_changed=lambda _: None, timeouts=TIMEOUTS
    )
    database.startService()
    try:
        await until(lambda: "password authentication failed" in database.state.reason)
        file.unlink()
        await until(lambda: "DB_PASSWORD_FILE" in database.state.reason)
        file.write_text(f"{ROLE_PASSWORD}\n")
        await until(lambda: database.state.listening)
        assert threads == {False}
    finally:
        await database.stopService()


async def test_a_change_that_the_database_does_not_allow_is_not_called_unreachable(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    sql = f"alter table extension_ia owner to test; revoke all on extension_ia from {ROLE}"
    await in_thread(postgres.execute, database_with_table, sql)
    watched = open_database()
    with pytest.raises(ChangeNotAllowed, match="the database does not allow it: permission denied"):
        await watched.database.insert(a_row(1), lambda rows: None)
    assert watched.state.state == "up"


async def test_a_unix_socket_and_a_host_name_work_as_hosts(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    for host in (str(postgres.directory), "localhost", "::ffff:127.0.0.1"):
        watched = open_database(DB_HOST=host)
        assert await watched.rows() == []
        await watched.healthy()


async def test_no_connection_left_on_the_server(
    open_database: Open, postgres: PostgresServer, database_with_table: str
) -> None:
    taken = [postgres.connect(database_with_table, ROLE, ROLE_PASSWORD) for _ in range(MAX_CONNECTIONS - RESERVED)]
    try:
        watched = open_database()
        await until(lambda: watched.state.attempts > 2)
        assert "connection slots are reserved" in watched.state.reason
        taken.pop().close()
        await until(lambda: watched.state.state == "up" and watched.state.reason != "")
        assert watched.state.reason.startswith("notifications do not arrive: remaining connection slots")
        assert not watched.state.listening
        assert await watched.rows() == []
        assert len(watched.warnings) == 2  # down, then not listening
        taken.pop().close()
        await watched.healthy()
        assert watched.state.reason == ""
        assert watched.changes == 1
    finally:
        for connection in taken:
            connection.close()


class ConnectionsFactory(protocol.Factory):
    """A factory that keeps the transports of its connections."""

    def __init__(self, kind: type[protocol.Protocol]) -> None:
        self.protocol: Any = kind
        self.connections: list[Any] = []


class Mute(protocol.Protocol):
    """Accepts a connection and sends nothing."""

    def connectionMade(self) -> None:
        assert isinstance(self.factory, ConnectionsFactory)
        self.factory.connections.append(self.transport)


class Curt(protocol.Protocol):
    """Accepts a connection and closes it."""

    def connectionMade(self) -> None:
        self.transport.loseConnection()  # type: ignore[union-attr]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue is full: packets to it get no answer, not even a refusal."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_an_address_that_swallows_packets(open_database: Open) -> None:
    with black_hole() as port:
        watched = open_database(SHORT_TIMEOUTS, DB_PORT=str(port))
        assert await fails(watched.rows()) == "no answer within 1 s"
        before = len(os.listdir("/proc/self/fd"))
        await until(lambda: watched.state.attempts >= 2)
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        await watched.stop()


@pytest.mark.parametrize(
    ("kind", "reason"), [(Mute, "no answer within 1 s"), (Curt, "server closed the connection unexpectedly")]
)
async def test_a_port_that_is_no_postgresql(
    kind: type[protocol.Protocol], reason: str, open_database: Open
) -> None:
    factory = ConnectionsFactory(kind)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    watched = open_database(SHORT_TIMEOUTS, DB_PORT=str(port.getHost().port))
    assert await fails(watched.rows()) == reason
    await until(lambda: watched.state.attempts >= 2)
    assert len(watched.warnings) == 1
    await watched.stop()
    await port.stopListening()
    for transport in factory.connections:
        transport.abortConnection()


# what the server keeps although we have let go


class Wire(protocol.Protocol):
    """One side of the proxy; once cut it passes nothing on, not even the end of the connection."""

    def __init__(self, port: int | None = None) -> None:
        self.other: Wire | None = None
        self.cut = False
        self._port = port

    def connectionMade(self) -> None:
        if self._port is not None:
            self.transport.pauseProducing()  # type: ignore[union-attr]
            self.other = Wire()
            self.other.other = self
            connecting = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", self._port)
            endpoints.connectProtocol(connecting, self.other).addCallback(
                lambda _: self.transport.resumeProducing()  # type: ignore[union-attr]
            )

    def dataReceived(self, data: bytes) -> None:
        if not self.cut:
            self.other.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        if not self.cut:
            self.other.transport.loseConnection()  # type: ignore[union-attr]


class Proxy(protocol.Factory):
    """A TCP proxy to the server whose connections can be cut without either end noticing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.wires: list[Wire] = []

    def buildProtocol(self, _: object) -> Wire:
        self.wires.append(Wire(self._port))
        return self.wires[-1]

    def cut(self) -> None:
        """A partition: connections stay open at the server, which receives nothing more on them."""
        for wire in self.wires:
            wire.cut = wire.other.cut = True  # type: ignore[union-attr]

    def close(self) -> None:
        for wire in self.wires:
            for end in (wire, wire.other):
                end.transport.abortConnection()  # type: ignore[union-attr]


@pytest.mark.deadline(60)
async def test_sessions_the_server_still_keeps_after_a_partition_are_ended(
    open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    proxy = Proxy(postgres.port)
    port = reactor.listenTCP(0, proxy, interface="127.0.0.1")
    watched = open_database(SHORT_TIMEOUTS, DB_PORT=str(port.getHost().port))
    await watched.healthy()
    for _ in range(2):
        before = await backends.pids()
        assert len(before) == 2
        proxy.cut()
        await watched.down()
        assert await backends.pids() == before  # the server knows nothing of it
        await watched.healthy()
        after = await backends.pids()
        assert len(after) == 2
        assert not set(before) & set(after)
    await watched.stop()
    await port.stopListening()
    proxy.close()


@pytest.mark.parametrize("which", [0, 1])
async def test_a_backend_that_is_stuck_alone_counts_as_ours(
    which: int, open_database: Open, backends: Backends, database_with_table: str
) -> None:
    watched = open_database(SHORT_TIMEOUTS)
    await watched.healthy()
    pids = await backends.pids()
    os.kill(pids[which], signal.SIGSTOP)
    try:
        watching = defer.ensureDeferred(
            until(lambda: watched.state.state == "up" and "keeps 1 earlier session" in watched.state.reason)
        )
        await backends.watch_while(lambda: not watching.called)
        await watching
        assert await watched.rows() == []  # queries work beside it
        assert backends.most == 2
    finally:
        os.kill(pids[which], signal.SIGCONT)
    await watched.healthy()
    assert await backends.now() == 2


# callers that leave, and stopping


@pytest.mark.usefixtures("database_with_table")
async def test_work_runs_to_its_end_when_its_caller_is_cancelled(open_database: Open) -> None:
    watched = open_database()
    await watched.healthy()
    inserting = defer.ensureDeferred(watched.database.insert(a_row(1), accept))
    inserting.cancel()
    with pytest.raises(defer.CancelledError):
        await inserting
    await watched.healthy()
    assert len(await watched.rows()) == 1
    assert watched.states[-1].backends == 2
    assert not watched.warnings


async def test_the_failure_of_work_whose_caller_was_cancelled_is_handled(open_database: Open) -> None:
    watched = open_database()  # there is no table
    await watched.healthy()
    reading = defer.ensureDeferred(watched.rows())
    reading.cancel()
    with pytest.raises(defer.CancelledError):
        await reading
    await until(lambda: watched.state.reason != "")


async def test_stopping_at_any_moment_leaves_nothing_behind(
    open_database: Open, postgres: PostgresServer, backends: Backends, database_with_table: str
) -> None:
    idle = open_database()
    await idle.healthy()
    await idle.stop()
    assert await fails(idle.rows()) == "the connection has been stopped or not been started"
    assert (idle.state.state, idle.state.backends) == ("down", 0)

    just_started = open_database()
    await just_started.stop()

    backing_off = open_database(
        dataclasses.replace(TIMEOUTS, first_pause=60.0, longest_pause=60.0), DB_NAME="nowhere"
    )
    await backing_off.down()
    assert backing_off.state.next_try_seconds is not None
    await backing_off.stop()

    blocked = open_database()
    await blocked.healthy()
    blocker = postgres.connect(database_with_table)
    with blocker.cursor() as cursor:
        cursor.execute("begin; lock table extension_ia")
    reads = [defer.ensureDeferred(blocked.rows()) for _ in range(3)]
    await task.deferLater(reactor, 0.1)
    await blocked.stop()
    assert all([await fails(reading) == "stopped" for reading in reads])
    blocker.close()

    frozen = open_database()
    await frozen.healthy()
    postgres.freeze()
    reading = defer.ensureDeferred(frozen.rows())
    await task.deferLater(reactor, 0.05)
    await frozen.stop()
    await fails(reading)

    connecting = open_database()
    reading = defer.ensureDeferred(connecting.rows())
    await task.deferLater(reactor, 0.05)
    assert connecting.state.state == "connecting"
    await connecting.stop()
    assert await fails(reading) == "the server is stopping"
    postgres.thaw()


async def test_stopped_by_its_own_callback(open_database: Open, database_with_table: str) -> None:
    watched = open_database()
    stopped: list[defer.Deferred[None]] = []

    def stop(_: DatabaseState) -> None:
        if not stopped:
            stopped.append(watched.database.stopService())

    watched.database._state_changed = stop
    await until(lambda: len(stopped) == 1)
    await stopped[0]
    assert watched.state.backends == 0


async def test_started_again_after_a_stop(open_database: Open, database_with_table: str) -> None:
    watched = open_database()
    await watched.healthy()
    await watched.database.stopService()
    watched.database.startService()
    await watched.healthy()
    assert await watched.rows() == []


def test_the_default_time_outs_are_as_documented() -> None:
    timeouts = Timeouts()
    assert timeouts.heartbeat + timeouts.statement <= 20  # a freeze is noticed
    assert (
        1.2 * timeouts.longest_pause + timeouts.lookup + timeouts.connect + timeouts.statement <= 35
    )  # and its end
    assert timeouts.server_lock < timeouts.server_statement < timeouts.statement <= 5
