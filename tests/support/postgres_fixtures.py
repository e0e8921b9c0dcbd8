"""Fixtures around a real PostgreSQL: one server for the session, one database for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from audiosocket import schema
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

_numbers = itertools.count(1)


@pytest.fixture
def no_traceback() -> Iterator[None]:
    """Fails on what the reactor logs when a descriptor raises: the old log.err, which has no ``log_failure``."""
    seen: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("isError") and "log_failure" not in event:
            seen.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield
    globalLogPublisher.removeObserver(observe)
    assert not seen, "\n".join(seen)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server; a test may stop, kill or freeze it and need not bring it back."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def database_name(postgres: PostgresServer) -> Iterator[str]:
    """An empty database of the test's own; `ROLE` owns it."""
    postgres.restore()
    name = f"test_{next(_numbers)}"
    postgres.execute("postgres", f"create database {name} owner {ROLE}")
    yield name
    postgres.restore()
    postgres.execute("postgres", f"drop database {name} with (force)")


@pytest.fixture
def database_with_table(postgres: PostgresServer, database_name: str) -> str:
    """The same with an empty ``extension_ia`` and its triggers."""
    connection = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(schema.sql())
    connection.close()
    return database_name


@pytest.fixture
def database_settings(postgres: PostgresServer, database_name: str) -> dict[str, str]:
    """The settings under which `ROLE` reaches the database, ready for ``Settings.parse``."""
    return {
        "DB_HOST": postgres.host,
        "DB_PORT": str(postgres.port),
        "DB_NAME": database_name,
        "DB_USER": ROLE,
        "DB_PASSWORD": ROLE_PASSWORD,
    }
