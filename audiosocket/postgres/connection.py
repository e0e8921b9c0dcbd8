"""txpostgres made safe for a reactor that carries calls.

What is replaced and why, each found by measuring txpostgres 1.7.0 on psycopg2 2.9: cancelling a query
calls libpq's PQcancel, a blocking connect that holds the interpreter for as long as the server is frozen;
a connect has no deadline and resolves names inside libpq; a failed connect leaves its socket open; a lost
idle connection is reported as a traceback; a statement timeout looks like a cancelled Deferred.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg2
from psycopg2 import extensions
from twisted.internet import defer, error, main
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres import txpostgres

#: A reactor that keeps time, watches descriptors and resolves names; no single interface says all three.
Reactor = Any
T = TypeVar("T")

_log = Logger()
_PREAMBLE = re.compile(r'^connection to server (at|on socket) "[^"]*"( \([^)]*\))?(, port \d+)? failed: ')
_SEVERITY = re.compile(r"^[A-Z]{4,7}:  ?")


def one_line(problem: BaseException | None) -> str:
    """What went wrong as one printable line of at most 200 characters, without host, port or severity."""
    if isinstance(problem, error.ConnectionDone | error.ConnectionLost):
        return "the connection was lost"
    if isinstance(problem, defer.TimeoutError):
        return "no answer in time"
    lines = [line for line in str(problem).splitlines() if line.strip()]
    text = _SEVERITY.sub("", _PREAMBLE.sub("", lines[0].strip())) if lines else type(problem).__name__
    return "".join(char if char.isprintable() else "?" for char in text)[:200]


def shielded(work: defer.Deferred[T]) -> defer.Deferred[T]:
    """The result of ``work`` for a caller that may be cancelled; ``work`` itself runs to its end.

    What fails after the caller has gone is logged, as nobody else will hear of it.
    """
    result: defer.Deferred[T] = defer.Deferred(lambda _: None)

    def settle(outcome: T | Failure) -> None:
        if not result.called:
            result.callback(outcome)
        elif isinstance(outcome, Failure):
            _log.info("work of a caller that has gone failed: {reason}", reason=one_line(outcome.value))

    work.addBoth(settle)
    return result


class _Polling:
    """The part of txpostgres' polling that cursor and connection share, without its two races."""

    reactor: Reactor
    _pollingD: defer.Deferred[Any] | None

    def continuePolling(self, swallowErrors: bool = False) -> None:
        """One step of libpq; the result is delivered on the next turn, unless it was cancelled meanwhile."""
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

        def notice_loss(outcome: object) -> object:
            if connection.closed:
                connection.connectionLost(
                    outcome if isinstance(outcome, Failure) else Failure(main.CONNECTION_LOST)
                )
            return outcome

        return super()._doit(*args, **kwargs).addBoth(notice_loss)  # type: ignore[no-any-return]


class SafeConnection(_Polling, txpostgres.Connection):  # type: ignore[misc]
    """A connection with a deadline, which says once when it is lost and never leaves its socket behind.

    ``on_lost`` is called with the cause once, ``on_notifies`` with the payloads of all notifications
    that arrived together (a storm of them costs one call). Set both after `connect`.
    """

    cursorFactory = SafeCursor
    on_lost: Callable[[Failure], None] | None = None
    on_notifies: Callable[[Sequence[str]], None] | None = None

    def connect(self, timeout: float, **parameters: Any) -> defer.Deferred[SafeConnection]:
        """Connects with libpq's ``parameters`` (``hostaddr`` for a host name) within ``timeout`` seconds.

        Fails with psycopg2's OperationalError or with TimeoutError; the socket is closed then.
        """
        connecting: defer.Deferred[SafeConnection] = super().connect(**parameters)

        def failed(failure: Failure) -> Failure:
            self.close()
            return failure

        return connecting.addTimeout(timeout, self.reactor).addErrback(failed)

    @property
    def closed(self) -> bool:
        """True before `connect` and after the loss."""
        return self._connection is None or bool(self._connection.closed)

    def close(self) -> None:
        """Closes the socket at once; whatever waits for an answer fails with ConnectionDone."""
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
            return problem  # the reactor reports what is raised as a bug, what is returned as a lost connection
        return None

    def checkForNotifies(self) -> None:
        notifies = self._connection.notifies
        if notifies:
            payloads = [notify.payload for notify in notifies]
            del notifies[:]
            if self.on_notifies is not None:
                self.on_notifies(payloads)

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
        told, self.on_lost = self.on_lost, None
        if told is not None:
            told(reason)

    def _cancel(self, _: defer.Deferred[Any]) -> None:
        self._pollingD = None
        self.close()
