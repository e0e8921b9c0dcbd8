"""`audiosocket.postgres.database` while PostgreSQL is stopped, killed, frozen and locked."""

from __future__ import annotations

import dataclasses

import pytest
from twisted.internet import defer, task

from tests.support.loopback_server import until
from tests.support.postgres import ROLE, PostgresServer
from tests.support.reactor import reactor
from tests.support.watched_database import (
    SHORT_TIMEOUTS,
    SLEEPY,
    Backends,
    Open,
    a_row,
    accept,
    fails,
    in_thread,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

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
