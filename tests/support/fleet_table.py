"""The tables of the fleet in a real PostgreSQL, for servers in memory: a statement is run when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any

import psycopg2.extensions
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.task import Clock

from audiosocket.errors import SourceUnavailable
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer

Rows = list[tuple[Any, ...]]


def connected(postgres: PostgresServer, database: str) -> Iterator[psycopg2.extensions.connection]:
    """Give a connection to ``database``, in which the tables are made."""
    connection = postgres.connect(database, ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(resources.files("audiosocket").joinpath("fleet/calls.sql").read_text("utf-8"))
    yield connection
    connection.close()


def run(connection: psycopg2.extensions.connection, statement: str, values: Sequence[Any] = ()) -> Rows:
    """Run one statement and return what it returns."""
    with connection.cursor() as cursor:
        cursor.execute(statement, list(values))
        return cursor.fetchall() if cursor.description else []


class TableSession:
    """One node's session; implements `call_lookups.Database`. ``clock`` is that of its time-outs."""

    def __init__(self, connection: psycopg2.extensions.connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self.is_up = True
        #: Statements that wait, while PostgreSQL does not answer; None while it does.
        self._frozen: list[Callable[[], None]] | None = None
        self.asked = 0

    def ask(self, sql: str, values: Sequence[object] = (), seconds: float = 1.0) -> Deferred[Rows]:
        """Run one statement."""
        self.asked += 1
        if not self.is_up:
            return fail(SourceUnavailable("not connected"))
        if self._frozen is None:
            return succeed(run(self._connection, sql, values))
        waiting: Deferred[Rows] = Deferred()

        def answer() -> None:
            rows = run(self._connection, sql, values)
            if not waiting.called:
                waiting.callback(rows)

        self._frozen.append(answer)
        waiting.addTimeout(seconds, self._clock)
        return waiting.addErrback(_late)

    def freeze(self) -> None:
        """Answer nothing from now on."""
        self._frozen = []

    def thaw(self) -> None:
        """Run what has waited, also that whose answer nobody waits for any more."""
        waiting, self._frozen = self._frozen or [], None
        for answer in waiting:
            answer()


def _late(failure: Any) -> Rows:
    failure.trap(TimeoutError)
    raise SourceUnavailable("no answer in time")
