"""A call journal in memory."""

from __future__ import annotations

from audiosocket.calls.journal_records import JournalRecord, encode
from audiosocket.calls.journal_replay import replay
from audiosocket.interfaces import App, AppFactory
from tests.support.in_memory import InMemoryServer


class InMemoryJournal:
    """A journal in memory, which the next process reads a second later."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def __enter__(self) -> object:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: every line is kept when it is written."""

    def write(self, record: JournalRecord) -> None:
        self.lines.append(encode(record, 1_000.0))

    def restarted(self, *apps: App | AppFactory, now: float = 1_001.0) -> InMemoryServer:
        """Return the next process, which has read this journal."""
        server = InMemoryServer(*apps, journal=self)
        server.switchboard.restore(replay(self.lines, now))
        return server
