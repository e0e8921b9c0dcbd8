"""`audiosocket.postgres.database` on a real PostgreSQL: reading, writing, notifications, cancelled callers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet import defer

from audiosocket.errors import ExtensionTaken, InvalidExtension
from audiosocket.postgres.database import COLUMNS, Row, Timeouts
from tests.support.logged_failures import LoggedFailures
from tests.support.loopback_server import until
from tests.support.postgres import ROLE, PostgresServer
from tests.support.reactor import reactor
from tests.support.watched_database import FILL, Backends, Open, a_row, accept, in_thread

pytestmark = pytest.mark.usefixtures("no_traceback")

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


def test_the_default_time_outs_are_as_documented() -> None:
    timeouts = Timeouts()
    assert timeouts.heartbeat + timeouts.statement <= 20  # a freeze is noticed
    assert (
        1.2 * timeouts.longest_pause + timeouts.lookup + timeouts.connect + timeouts.statement <= 35
    )  # and its end
    assert timeouts.server_lock < timeouts.server_statement < timeouts.statement <= 5
