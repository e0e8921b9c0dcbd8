"""The statements about the table ``extension_ia``, on a session that is already open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg2
from psycopg2 import errors as pg

from audiosocket.errors import (
    AudioSocketError,
    ChangeNotAllowed,
    ExtensionTaken,
    InvalidExtension,
    SourceUnavailable,
)
from audiosocket.postgres.session import Session

#: Keys are the column names of ``extension_ia``, values as psycopg2 returns them.
Row = Mapping[str, object]
T = TypeVar("T")
Take = Callable[[Sequence[Row]], None]

ID = "extension_ia_id"
COLUMNS: tuple[str, ...] = (
    ID,
    "extension_ia_number",
    "extension_ia_return",
    "extension_ia_ip",
    "extension_ia_number_port",
    "condominium_id",
    "extension_ia_return_port",
)
TABLE = "public.extension_ia"
CHANNEL = "change_record_extension_ia"
#: Rows per round trip: about 2 ms of work, after which the reactor has a turn.
PAGE_ROWS = 500
#: Key of the advisory lock under which every writer of this project changes the table.
WRITE_LOCK = 0x4155_444F_534F_434B


async def transaction(session: Session, mode: str, work: Callable[[Session], Awaitable[T]]) -> T:
    """Return the result of ``work`` in a transaction; what it raises rolls back and is raised."""
    await session.begin(mode)
    try:
        result = await work(session)
    except Exception:
        if not session.lost:
            await _roll_back(session)
        raise
    try:
        await session.run("commit")
    except SourceUnavailable as problem:
        if session.lost:
            raise SourceUnavailable(f"{problem}; whether the change was made is not known, look first") from None
        raise
    return result


async def _roll_back(session: Session) -> None:
    try:
        await session.run("rollback")
    except SourceUnavailable as problem:
        session.close(f"a transaction could not be rolled back: {problem}")


async def read(session: Session, take: Take) -> int:
    """Pass all rows ordered by id to ``take``, page by page; return their number. Needs a transaction."""
    columns = ", ".join(COLUMNS)
    await session.run(f"declare extension_rows no scroll cursor for select {columns} from {TABLE} order by {ID}")  # noqa: S608
    count = 0
    while True:
        page = (await session.run(f"fetch {PAGE_ROWS} from extension_rows")).rows
        if page:
            take([_row(values) for values in page])
        count += len(page)
        if len(page) < PAGE_ROWS:
            await session.run("close extension_rows")
            return count


async def insert(session: Session, values: Row, check: Take) -> int:
    """Add a row unless ``check``, which is given all others, raises; return the new id."""
    columns = _writable(values)
    check(await _locked_rows(session))
    marks = ", ".join(["%s"] * len(columns))
    sql = f"insert into {TABLE} ({', '.join(columns)}) values ({marks}) returning {ID}"  # noqa: S608
    answer = await session.run(sql, [values[column] for column in columns])
    return int(answer.rows[0][0])


async def update(session: Session, extension_id: int, values: Row, check: Take) -> bool:
    """Change the row with this id, as `insert` adds one; False when there is none."""
    columns = _writable(values)
    rows = await _locked_rows(session)
    if not any(row[ID] == extension_id for row in rows):
        return False
    check(rows)
    sets = ", ".join(f"{column} = %s" for column in columns)
    sql = f"update {TABLE} set {sets} where {ID} = %s"  # noqa: S608
    answer = await session.run(sql, [*(values[column] for column in columns), extension_id])
    return answer.count > 0


async def delete(session: Session, extension_id: int) -> bool:
    """Remove the row with this id; False when there is none."""
    await _lock_writers(session)
    answer = await session.run(f"delete from {TABLE} where {ID} = %s", [extension_id])  # noqa: S608
    return answer.count > 0


def refusal(problem: SourceUnavailable) -> AudioSocketError:
    """Return the error of a failed write for its caller: the values, missing rights, or no database."""
    cause = problem.__cause__
    if isinstance(cause, pg.UniqueViolation | pg.ExclusionViolation):
        return ExtensionTaken(f"the database refuses it: {problem}")
    if isinstance(cause, psycopg2.IntegrityError | psycopg2.DataError | ValueError):
        return InvalidExtension(f"the database refuses it: {problem}")
    if isinstance(cause, pg.InsufficientPrivilege | pg.ReadOnlySqlTransaction):
        return ChangeNotAllowed(f"the database does not allow it: {problem}")
    return problem


async def _locked_rows(session: Session) -> list[Row]:
    await _lock_writers(session)
    rows: list[Row] = []
    await read(session, rows.extend)
    return rows


async def _lock_writers(session: Session) -> None:
    await session.run("select pg_advisory_xact_lock(%s)", [WRITE_LOCK])


def _writable(values: Row) -> list[str]:
    return [column for column in COLUMNS if column in values and column != ID]


def _row(values: tuple[Any, ...]) -> Row:
    """Return a row; text arrives as bytes, so that a byte that is not UTF-8 concerns one row only."""
    return {
        column: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for column, value in zip(COLUMNS, values, strict=True)
    }
