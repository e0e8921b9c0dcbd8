"""What the table has of a UUID that this node does not know, asked without a call that waits for PostgreSQL.

An answer takes about a millisecond. One that takes longer than `ANSWER_SECONDS` is not waited for: the call begins
as a new one, and so do all others, at once, until PostgreSQL has answered a question that no call waits for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosocket.errors import SourceUnavailable
from audiosocket.fleet.call_statements import LOOK_UP, Answer, Question, answers, asked_values

#: How long a call waits for the answer, in seconds.
ANSWER_SECONDS = 0.3
#: How long the question is waited for that finds out whether PostgreSQL answers again, and the pause before it.
PROBE_SECONDS, PROBE_PAUSE_SECONDS = 5.0, 1.0
#: Questions in one statement, and questions that may wait for the statement before.
MOST_AT_ONCE, MOST_WAITING = 100, 1_000


#: What a statement returns.
Row = tuple[Any, ...]


class Database(Protocol):
    """What is needed of `database.FleetDatabase`."""

    @property
    def is_up(self) -> bool:
        """Whether there is a session."""

    def ask(
        self, sql: str, values: Sequence[object] = (), seconds: float = 1.0
    ) -> Awaitable[list[tuple[Any, ...]]]:
        """Return what one statement returns; raises `SourceUnavailable`, after ``seconds`` at the latest."""


class CallLookups:
    """Questions about UUIDs, those that wait for the same statement together; ``node`` is this node's name."""

    _log = Logger()

    def __init__(self, database: Database, clock: IReactorTime, node: str) -> None:
        self._database = database
        self._clock = clock
        self._node = node
        self._waiting: list[tuple[Question, Deferred[Answer]]] = []
        self._running = False
        #: PostgreSQL did not answer in time; no call asks until it does.
        self._slow = False
        #: Questions that were answered, and calls that began without an answer.
        self.answered_total = 0
        self.unanswered_total = 0

    def look_up(self, question: Question) -> Deferred[Answer]:
        """Return what the table has of a UUID; its call is this node's then. Empty if nobody answers."""
        if self._slow or not self._database.is_up or len(self._waiting) >= MOST_WAITING:
            self.unanswered_total += 1
            return succeed(Answer())
        waiting: Deferred[Answer] = Deferred()
        self._waiting.append((question, waiting))
        if not self._running:
            self._start()
        return waiting

    def _start(self) -> None:
        self._running = True
        Deferred.fromCoroutine(self._run()).addErrback(self._broke)

    async def _run(self) -> None:
        try:
            while self._waiting and not self._slow:
                asked, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                questions = [question for question, _ in asked]
                found: dict[Any, Answer] = {}
                try:
                    values = asked_values(questions, self._node)
                    found = answers(questions, await self._database.ask(LOOK_UP, values, ANSWER_SECONDS))
                except SourceUnavailable as problem:
                    self._unavailable(str(problem))
                finally:
                    self._answer(asked, found)
        finally:
            self._running = False
            rest, self._waiting = self._waiting, []
            self._answer(rest, {})

    def _answer(self, asked: Sequence[tuple[Question, Deferred[Answer]]], found: dict[Any, Answer]) -> None:
        for question, waiting in asked:
            answer = found.get(question.call_id)
            if answer is None:
                self.unanswered_total += 1
            else:
                self.answered_total += 1
            waiting.callback(answer or Answer())

    def _unavailable(self, reason: str) -> None:
        if not self._slow:
            self._slow = True
            self._log.warn(
                "calls of other nodes cannot be looked up: {reason}; until that works their UUIDs begin new calls",
                reason=reason,
            )
            self._clock.callLater(PROBE_PAUSE_SECONDS, self._probe)

    def _probe(self) -> None:
        Deferred.fromCoroutine(self._look()).addErrback(self._broke)

    async def _look(self) -> None:
        try:
            await self._database.ask(LOOK_UP, asked_values([], self._node), PROBE_SECONDS)
        except SourceUnavailable:
            self._clock.callLater(PROBE_PAUSE_SECONDS, self._probe)
        else:
            self._slow = False
            self._log.info("calls of other nodes can be looked up again")

    def _broke(self, failure: Failure) -> None:
        self._log.failure("unexpected error while a call was looked up", failure)
