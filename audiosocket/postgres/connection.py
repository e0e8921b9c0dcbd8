"""txpostgres without what would block a reactor that carries calls.

What is replaced and why, each measured with txpostgres 1.7.0 on psycopg2 2.9: cancelling a query calls libpq's
PQcancel, a blocking connect that holds the interpreter for as long as the server is frozen; a connect has no
time-out and resolves names inside libpq; a failed connect leaves its socket open; a lost idle connection is
reported as a traceback; a statement time-out looks like a cancelled Deferred.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import psycopg2
from psycopg2 import extensions
from twisted.internet import defer, error, main
from twisted.internet.interfaces import IReactorFDSet, IReactorPluggableNameResolver, IReactorTime
from twisted.python.failure import Failure
from txpostgres import txpostgres


class IDatabaseReactor(IReactorFDSet, IReactorTime, IReactorPluggableNameResolver):
    """The reactor, as far as connections to PostgreSQL need it."""


_PREAMBLE = re.compile(r'^connection to server (at|on socket) "[^"]*"( \([^)]*\))?(, port \d+)? failed: ')
_SEVERITY = re.compile(r"^[A-Z]{4,7}:  ?")


def one_line(problem: BaseException | None) -> str:
    """Return an error as one printable line of at most 200 characters, without host, port or severity."""
    if isinstance(problem, error.ConnectionDone | error.ConnectionLost):
        return "the connection was lost"
    if isinstance(problem, defer.TimeoutError):
        return "no answer in time"
    lines = [line for line in str(problem).splitlines() if line.strip()]
    text = _SEVERITY.sub("", _PREAMBLE.sub("", lines[0].strip())) if lines else type(problem).__name__
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


class _Polling:
    """The part of txpostgres' polling that cursor and connection share, without its two races."""

    reactor: Any
    _pollingD: defer.Deferred[Any] | None

    def continuePolling(self, swallowErrors: bool = False) -> None:
        """Make one step of libpq; the result is delivered on the next turn, unless it was cancelled meanwhile."""
        outcome: object = self
        try:
            state = self.pollable().poll()  # type: ignore[attr-defined]
        except psycopg2.Error:
            outcome = Failure()
        else:
            if state == extensions.POLL_READ:
                self.reactor.addReader(self)
                return
            if state == extensions.POLL_WRITE:
                self.reactor.addWriter(self)
                return
            if state != extensions.POLL_OK:
                outcome = Failure(txpostgres.UnexpectedPollResult(state))
        waiting, self._pollingD = self._pollingD, None
        if waiting is not None:
            self.reactor.callLater(0, _deliver, waiting, outcome)
        elif isinstance(outcome, Failure) and not swallowErrors:
            outcome.raiseException()

    def _handleCancellation(self, failure: Failure) -> Failure:
        return failure  # the original turns a statement timeout into CancelledError


def _deliver(waiting: defer.Deferred[Any], outcome: object) -> None:
    if not waiting.called:
        waiting.callback(outcome)


class SafeCursor(_Polling, txpostgres.Cursor):  # type: ignore[misc]
    """A cursor whose cancellation closes the connection instead of asking the server to cancel."""

    def _cancel(self, _: defer.Deferred[Any]) -> None:
        self._pollingD = None
        self._connection.close()

    def _doit(self, *args: Any, **kwargs: Any) -> defer.Deferred[Any]:
        connection = self._connection

        def report_loss(outcome: object) -> object:
            if connection.closed:
                connection.connectionLost(
                    outcome if isinstance(outcome, Failure) else Failure(main.CONNECTION_LOST)
                )
            return outcome

        return super()._doit(*args, **kwargs).addBoth(report_loss)  # type: ignore[no-any-return]


class SafeConnection(_Polling, txpostgres.Connection):  # type: ignore[misc]
    """A connection with a time-out that closes its socket whatever happens.

    ``lost`` is called once, with the cause, when an open connection is lost; ``notified`` with the payloads of all
    notifications that arrived together (a thousand of them cost one call).
    """

    cursorFactory = SafeCursor

    def __init__(
        self,
        reactor: IDatabaseReactor,
        lost: Callable[[Failure], None] = lambda _: None,
        notified: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        super().__init__(reactor)
        self._report_loss: Callable[[Failure], None] | None = lost
        self._notified = notified

    def connect(self, timeout: float, **parameters: Any) -> defer.Deferred[SafeConnection]:
        """Connect with libpq's ``parameters`` (``hostaddr`` for a host name) within ``timeout`` seconds.

        Fails with psycopg2's OperationalError or with TimeoutError; the socket is closed then.
        """
        connecting: defer.Deferred[SafeConnection] = super().connect(**parameters)

        def failed(failure: Failure) -> Failure:
            self.close()
            return failure

        return connecting.addTimeout(timeout, self.reactor).addErrback(failed)

    @property
    def closed(self) -> bool:
        """Whether there is no connection: before `connect` and after the loss."""
        return self._connection is None or bool(self._connection.closed)

    @property
    def backend_pid(self) -> int:
        """The process of the server as it was said when connecting; a pooler says any number."""
        return int(self._connection.info.backend_pid)

    def close(self) -> None:
        """Close the socket at once; queries in progress fail with ConnectionDone."""
        if self._connection is None:
            return
        if not self._connection.closed:
            for watched in (self, *self._cursors):  # while the descriptor is still known
                self.reactor.removeReader(watched)
                self.reactor.removeWriter(watched)
        super().close()

    def doRead(self) -> BaseException | None:
        self.reactor.removeReader(self)
        if self.closed:
            return None
        connecting = self._pollingD is not None
        problem = self._step()
        if problem is None and not connecting:
            self.checkForNotifies()
            if not self.closed:
                self.reactor.addReader(self)
        return problem

    def doWrite(self) -> BaseException | None:
        self.reactor.removeWriter(self)
        return None if self.closed else self._step()

    def _step(self) -> BaseException | None:
        try:
            self.continuePolling()
        except psycopg2.Error as problem:
            return problem  # the reactor logs what is raised as a bug; what is returned is a lost connection
        return None

    def checkForNotifies(self) -> None:
        notifies = self._connection.notifies
        if notifies:
            payloads = [notify.payload for notify in notifies]
            del notifies[:]
            self._notified(payloads)

    def connectionLost(self, reason: Failure) -> None:
        if self._connection is None:
            return
        super().connectionLost(reason)
        if self._pollingD is not None:
            return  # still connecting: libpq has gone on to its next attempt
        if not self._connection.closed:
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)
            self._connection.close()
        report, self._report_loss = self._report_loss, None
        if report is not None:
            report(reason)

    def _cancel(self, _: defer.Deferred[Any]) -> None:
        self._pollingD = None
        self.close()
