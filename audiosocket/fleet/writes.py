"""The rows that wait to be written to PostgreSQL: bounded, the last of each key, cut into batches. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

#: Rows that wait; of more the newest are dropped, so that what began earlier is complete.
MAX_WAITING = 10_000
#: Rows in one transaction: about 5 ms of PostgreSQL's time.
MAX_BATCH = 200

Row = tuple[Any, ...]


def no_answer(_: Sequence[Row]) -> None:
    """Ignore what a statement returns."""


@dataclass(frozen=True, eq=False)
class Statement:
    """SQL that is run for many rows at once: each ``%s`` stands for an array, which is one column of the rows.

    Like ``insert into t select * from unnest(%s::uuid[], %s::text[])``. It may be run twice for a row, as the end
    of a connection does not say whether the last transaction was committed. ``answered`` is given the rows that
    it returned, after the commit.
    """

    sql: str
    answered: Callable[[Sequence[Row]], None] = no_answer


@dataclass(frozen=True)
class Group:
    """The rows of one batch that have the same statement."""

    statement: Statement
    rows: tuple[Row, ...]

    def columns(self) -> list[list[Any]]:
        """Return the rows as the statement takes them: a list for each column."""
        return [list(column) for column in zip(*self.rows, strict=True)]

    def single(self) -> list[Group]:
        """Return a group for each row."""
        return [Group(self.statement, (row,)) for row in self.rows]


class Writes:
    """Rows in the order in which they were added. One batch at a time is taken, and then written or put back.

    A row replaces one with the same key and statement that waits, at its place. Within a batch rows of different
    statements are written statement by statement.
    """

    def __init__(self, max_waiting: int = MAX_WAITING, max_batch: int = MAX_BATCH) -> None:
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._waiting: dict[Hashable, tuple[Statement, Row]] = {}
        self._taken: dict[Hashable, tuple[Statement, Row]] = {}
        #: Totals since the start: rows that were written, that found the queue full, that PostgreSQL refused.
        self.written = 0
        self.dropped = 0
        self.refused = 0

    def __len__(self) -> int:
        """Return the number of rows that wait, those of the taken batch included."""
        return len(self._waiting) + len(self._taken)

    def add(self, statement: Statement, row: Row, key: Hashable = None) -> bool:
        """Append a row; return false, and count it as dropped, when too many wait.

        With a key it replaces the row with that key, also when the queue is full.
        """
        place = (statement, key) if key is not None else object()
        if place not in self._waiting and len(self) >= self._max_waiting:
            self.dropped += 1
            return False
        self._waiting[place] = (statement, row)
        return True

    def take(self) -> list[Group]:
        """Return the batch to write now, none while no row waits; the one before must be done or put back."""
        self._taken = dict(islice(self._waiting.items(), self._max_batch))
        for place in self._taken:
            del self._waiting[place]
        grouped: dict[Statement, list[Row]] = {}
        for statement, row in self._taken.values():
            grouped.setdefault(statement, []).append(row)
        return [Group(statement, tuple(rows)) for statement, rows in grouped.items()]

    def done(self, refused: int = 0) -> None:
        """Forget the taken batch: it was written, but for ``refused`` rows that never will be."""
        self.written += len(self._taken) - refused
        self.refused += refused
        self._taken = {}

    def put_back(self) -> None:
        """Have the taken batch wait again, before all others, but for rows that were replaced meanwhile."""
        self._waiting = {
            **{place: entry for place, entry in self._taken.items() if place not in self._waiting},
            **self._waiting,
        }
        self._taken = {}
