"""Rows for PostgreSQL, questions and notifications, against a real server that is stopped, frozen and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import pytest_twisted
from twisted.internet import defer
from twisted.internet.threads import deferToThread

from audiosocket.errors import SourceUnavailable
from audiosocket.fleet.database import FleetDatabase
from audiosocket.fleet.writes import Row, Statement, Writes
from audiosocket.postgres.session import Timeouts
from audiosocket.postgres.target import Target
from audiosocket.settings import Settings
from tests.support.loopback_server import until
from tests.support.postgres import PostgresServer
from tests.support.reactor import reactor

pytestmark = pytest.mark.usefixtures("no_traceback")

TIMEOUTS = Timeouts(heartbeat=0.3, first_pause=0.05, longest_pause=0.2, steady=0.2)
#: Where a deadline is what the test waits for.
SHORT = Timeouts(
    lookup=1.0, connect=1.0, statement=0.5, server_statement=0.4, server_lock=0.3, heartbeat=0.3, longest_pause=0.2
)
INSERT = Statement("insert into t select * from unnest(%s::integer[], %s::text[]) on conflict do nothing")

Open = Callable[..., FleetDatabase]


@pytest.fixture
def open_database(
    postgres: PostgresServer, database_name: str, database_settings: Mapping[str, str]
) -> Iterator[Open]:
    """Start a `FleetDatabase`; its database has the table ``t``."""
    connection = postgres.connect(database_name, database_settings["DB_USER"], database_settings["DB_PASSWORD"])
    with connection.cursor() as cursor:
        cursor.execute("create table t (n integer primary key, words text)")
    connection.close()
    opened: list[FleetDatabase] = []
    settings = Settings.parse(database_settings)

    def make(timeouts: Timeouts = TIMEOUTS, writes: Writes | None = None) -> FleetDatabase:
        target = Target(settings, settings.db_password, reactor)
        opened.append(FleetDatabase(target, reactor, timeouts=timeouts, writes=writes))
        opened[-1].startService()
        return opened[-1]

    yield make
    for database in opened:
        if database.running:
            pytest_twisted.blockon(database.stopService())


async def rows(database: FleetDatabase) -> list[Row]:
    return await database.ask("select n, words from t order by n", (), 5)


async def test_rows_are_written_and_answers_passed_on(open_database: Open) -> None:
    answered: list[Row] = []
    returning = Statement(f"{INSERT.sql} returning n, words", answered.extend)
    database = open_database()
    for number in range(300):
        assert database.write(returning, (number, f"ção {number}"))
    await until(lambda: len(answered) == 300)
    assert await rows(database) == [(number, f"ção {number}") for number in range(300)] == answered
    assert database.to_json() | {"since_seconds": 0} == {
        "state": "up",
        "since_seconds": 0,
        "reason": "",
        "waiting": 0,
        "written_total": 300,
        "dropped_total": 0,
        "refused_total": 0,
    }


async def test_a_row_that_postgresql_refuses_costs_itself(open_database: Open) -> None:
    database = open_database()
    missing = Statement("insert into nowhere select unnest(%s::integer[])")
    for number, words in ((1, "good"), (2, "zero \0 byte"), (3, "good too")):
        database.write(INSERT, (number, words))
    database.write(missing, (1,))
    database.write(missing, (2,))
    database.write(INSERT, (2**40, "out of range"))
    await until(lambda: not database.to_json()["waiting"])
    assert await rows(database) == [(1, "good"), (3, "good too")]
    state = database.to_json()
    assert (state["written_total"], state["refused_total"]) == (2, 4)
    assert state["reason"]
    database.write(INSERT, (4, "good"))
    await until(lambda: database.to_json()["written_total"] == 3)
    assert database.to_json()["reason"] == ""


async def test_a_table_that_is_locked_delays_rows_only(
    open_database: Open, postgres: PostgresServer, database_name: str
) -> None:
    database = open_database(SHORT)
    await until(lambda: database.is_up)
    blocker = await deferToThread(postgres.connect, database_name)
    with blocker.cursor() as cursor:
        cursor.execute("begin; lock table t")
        database.write(INSERT, (1, "late"))
        with pytest.raises(SourceUnavailable, match="lock"):
            await database.ask("select * from t", (), 5)
    blocker.close()
    await until(lambda: database.to_json()["written_total"] == 1)
    assert await rows(database) == [(1, "late")]


async def test_notifications_reach_all_nodes_and_follow_what_was_written(open_database: Open) -> None:
    one, other = open_database(), open_database()
    await until(lambda: one.is_up and other.is_up)
    heard: list[str] = []
    for database in (one, other):
        database.hear("row", heard.append)
    one.write(INSERT, (1, "first"))
    one.notify("row", "1 çà")
    one.notify("other", "ignored")
    await until(lambda: heard == ["1 çà", "1 çà"])
    assert await rows(other) == [(1, "first")]


async def test_a_frozen_server_delays_nobody_and_the_queue_is_bounded(
    open_database: Open, postgres: PostgresServer
) -> None:
    database = open_database(SHORT, Writes(max_waiting=10))
    ups: list[bool] = []
    database.when_up(lambda: ups.append(True))
    await until(lambda: database.is_up)
    await deferToThread(postgres.freeze)
    taken = [database.write(INSERT, (number, "kept"), number) for number in range(15)]
    assert taken == [True] * 10 + [False] * 5
    assert database.write(INSERT, (0, "kept"), 0)
    with pytest.raises(SourceUnavailable):
        await database.ask("select 1", (), 0.1)
    await until(lambda: not database.is_up)
    with pytest.raises(SourceUnavailable):
        await database.ask("select 1")
    state = database.to_json()
    assert (state["state"], state["dropped_total"]) == ("down", 5)
    assert state["waiting"] <= 10
    await deferToThread(postgres.thaw)
    await until(lambda: not database.to_json()["waiting"])
    assert await rows(database) == [(number, "kept") for number in range(10)]
    assert len(ups) >= 2 or not database.to_json()["dropped_total"]


async def test_a_question_that_was_given_up_before_it_was_sent_is_never_asked(open_database: Open) -> None:
    database = open_database()
    await until(lambda: database.is_up)
    slow = defer.ensureDeferred(database.ask("select pg_sleep(0.5)", (), 5))
    with pytest.raises(SourceUnavailable, match="busy"):
        await database.ask("insert into t values (1, 'never') returning n", (), 0.05)
    await slow
    assert await rows(database) == []


async def test_a_stop_writes_what_waits(open_database: Open) -> None:
    database = open_database()
    await until(lambda: database.is_up)
    database.write(INSERT, (1, "last"))
    await database.stopService()
    again = open_database()
    await until(lambda: again.is_up)
    assert await rows(again) == [(1, "last")]


async def test_a_callback_that_fails_ends_nothing(open_database: Open, logged_failures: list[object]) -> None:
    def fail(_: object) -> None:
        raise ValueError("a bug")

    database = open_database()
    database.write(Statement(INSERT.sql, fail), (1, "first"))
    await until(lambda: len(logged_failures) == 1)
    database.write(INSERT, (2, "second"))
    await until(lambda: database.to_json()["written_total"] == 2)
    logged_failures.clear()
