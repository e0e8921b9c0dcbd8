"""Fixtures of a real PostgreSQL: one server for the session, one database for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from audiosocket import schema
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

_numbers = itertools.count(1)


@pytest.fixture
def no_traceback() -> Iterator[None]:
    """Fail on what the reactor logs with the old log.err, without ``log_failure``, when a descriptor raises."""
    seen: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("isError") and "log_failure" not in event:
            seen.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield
    globalLogPublisher.removeObserver(observe)
    assert not seen, "\n".join(seen)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server; a test may stop, kill or freeze it and need not restore it."""
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
    """A database with an empty ``extension_ia`` and its triggers."""
    connection = postgres.connect(database_name, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(schema.sql())
    connection.close()
    return database_name


@pytest.fixture
def database_settings(postgres: PostgresServer, database_name: str) -> dict[str, str]:
    """The settings with which `ROLE` connects to the database, for ``Settings.parse``."""
    return {
        "DB_HOST": postgres.host,
        "DB_PORT": str(postgres.port),
        "DB_NAME": database_name,
        "DB_USER": ROLE,
        "DB_PASSWORD": ROLE_PASSWORD,
    }
