"""`audiosocket.postgres.session_opener` against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from twisted.internet.defer import CancelledError, Deferred

from audiosocket.errors import SourceUnavailable
from audiosocket.postgres.leftovers import Leftovers
from audiosocket.postgres.session import Session, Timeouts
from audiosocket.postgres.session_opener import SessionOpener
from audiosocket.postgres.target import Target
from audiosocket.settings import Settings
from tests.support.reactor import reactor

pytestmark = pytest.mark.usefixtures("no_traceback")


class Opened:
    """An opener, the sessions that it has begun to prepare, and the times that one was lost."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        parsed = Settings.parse(settings)
        timeouts = Timeouts()
        #: Others that are remembered are left over.
        self.in_use: list[Session] = []
        self.leftovers = Leftovers(lambda: self.in_use, reactor)
        target = Target(parsed, parsed.db_password, reactor)
        self.opener = SessionOpener(target, reactor, timeouts, self.leftovers)
        self.prepared: list[Session] = []
        self.lost = 0

    async def open(self) -> Session:
        return await self.opener.open(self.prepare, on_lost=self.on_lost)

    async def prepare(self, session: Session) -> None:
        self.prepared.append(session)
        await session.run("listen something")

    def on_lost(self) -> None:
        self.lost += 1


@pytest.fixture
def opened(database_settings: dict[str, str]) -> Iterator[Opened]:
    opened = Opened(database_settings)
    yield opened
    for session in opened.prepared:
        session.close("the test has ended")


async def test_a_session_is_prepared_when_it_is_returned(opened: Opened) -> None:
    session = await opened.open()
    assert opened.prepared == [session]
    assert (await session.run("select * from pg_listening_channels()")).rows == [(b"something",)]
    assert (session.lost, opened.lost) == ("", 0)


async def test_a_session_that_cannot_be_prepared_is_closed(opened: Opened) -> None:
    async def fail(session: Session) -> None:
        opened.prepared.append(session)
        await session.run("select no_such_column")

    with pytest.raises(SourceUnavailable, match="no_such_column"):
        await opened.opener.open(fail, on_lost=opened.on_lost)
    (session,) = opened.prepared
    assert (session.lost, opened.lost) == ("not opened", 1)


async def test_a_session_that_was_cancelled_while_it_was_prepared_is_closed(opened: Opened) -> None:
    preparing: Deferred[None] = Deferred()

    async def hang(session: Session) -> None:
        opened.prepared.append(session)
        preparing.callback(None)
        await Deferred[None]()

    opening = Deferred.fromCoroutine(opened.opener.open(hang, on_lost=opened.on_lost))
    await preparing
    opening.cancel()
    with pytest.raises(CancelledError):
        await opening
    (session,) = opened.prepared
    assert (session.lost, opened.lost) == ("not opened", 1)


async def test_an_opened_session_that_is_left_over_can_be_ended(opened: Opened) -> None:
    left, used = await opened.open(), await opened.open()
    opened.in_use.append(used)
    await opened.leftovers.end(used, allowed=0)
    with pytest.raises(SourceUnavailable):
        await left.run("select 1")
    assert (await used.run("select 1")).count == 1
