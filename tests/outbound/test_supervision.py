"""`audiosocket.outbound.supervision` with connections in memory and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import defer, task
from twisted.internet.defer import Deferred

from audiosocket.errors import AudioSocketError
from audiosocket.outbound.supervision import ConnectionSupervisor, Intervals, OpenRefused
from tests.support.logged_failures import LoggedFailures

INTERVALS = Intervals(heartbeat=10.0, first_pause=1.0, longest_pause=4.0, steady=5.0, between_attempts=0.5)


class Unavailable(AudioSocketError):
    """What waiting callers are given."""


class FakeConnection:
    """Calls ``on_lost`` when it is closed."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self.lost = ""
        self.pings = 0
        self._on_lost = on_lost

    def close(self, reason: str) -> None:
        if not self.lost:
            self.lost = reason
            self._on_lost()


class Fixture:
    """A supervisor; ``problem`` is what the next attempts raise, ``pending`` holds them up."""

    def __init__(self, intervals: Intervals = INTERVALS) -> None:
        self.clock = task.Clock()
        self.problem: Exception | None = None
        self.pending: Deferred[None] | None = None
        self.is_allowed = True
        self.attempts_at: list[float] = []
        self.reports: list[str] = []
        self.connections: list[FakeConnection] = []
        self.on_change: Callable[[], object] = lambda: None
        self.supervisor: ConnectionSupervisor[FakeConnection] = ConnectionSupervisor(
            self._open,
            self._ping,
            self._changed,
            self.clock,
            intervals,
            unavailable=Unavailable,
            allowed=lambda: self.is_allowed,
            uniform=lambda low, high: 1.0,
        )

    async def _open(self, lost: Callable[[], None]) -> FakeConnection:
        self.attempts_at.append(self.clock.seconds())
        if self.pending is not None:
            await self.pending
        if self.problem is not None:
            raise self.problem
        self.connections.append(FakeConnection(lost))
        return self.connections[-1]

    async def _ping(self, connection: FakeConnection) -> None:
        connection.pings += 1

    def _changed(self) -> None:
        self.reports.append(self.supervisor.reason or "open")
        self.on_change()

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)

    def stop(self) -> list[Any]:
        return outcome(Deferred.fromCoroutine(self.supervisor.stop()))


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Return a list that gets the result or the exception."""
    seen: list[Any] = []
    deferred.addCallbacks(seen.append, lambda failure: seen.append(failure.value))
    return seen


def test_a_connection_is_opened_pinged_and_opened_again_after_its_loss() -> None:
    here = Fixture()
    here.supervisor.start()
    first = here.connections[0]
    assert here.supervisor.connection is first
    here.run(25)
    assert first.pings == 2
    first.close("gone")
    assert (here.supervisor.connection, here.supervisor.reason) == (None, "gone")
    assert here.supervisor.next_try_seconds == 1.0
    here.run(1)
    assert here.supervisor.connection is here.connections[1]
    assert here.reports == ["open", "gone", "open"]
    assert here.stop() == [None]
    assert here.connections[1].lost == "stopped"
    assert here.clock.getDelayedCalls() == []


def test_pauses_grow_while_attempts_fail_and_begin_again_after_a_steady_connection() -> None:
    here = Fixture()
    here.problem = Unavailable("no route")
    here.supervisor.start()
    here.run(15)
    assert here.attempts_at == [0, 1, 3, 7, 11, 15]
    assert (here.supervisor.attempts, here.supervisor.reason) == (6, "no route")
    here.problem = None
    here.run(4)
    assert here.supervisor.attempts == 0
    here.connections[0].close("at once")
    assert here.supervisor.next_try_seconds == 4.0
    here.run(4 + 5)
    here.connections[1].close("after a while")
    assert here.supervisor.next_try_seconds == 1.0
    here.stop()


def test_a_refusal_is_tried_again_after_longer_pauses() -> None:
    here = Fixture()
    here.problem = OpenRefused("wrong secret")
    here.supervisor.start()
    assert isinstance(outcome(here.supervisor.ready())[0], Unavailable)
    here.run(90)
    assert here.attempts_at == [0, 10, 30, 70]
    here.stop()


def test_an_unexpected_error_is_logged_and_does_not_end_the_supervision(logged_failures: LoggedFailures) -> None:
    here = Fixture()
    here.problem = ZeroDivisionError()
    here.supervisor.start()
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    here.problem = None
    here.on_change = lambda: 1 / 0
    here.run(1)
    assert here.supervisor.connection is not None
    here.on_change = lambda: None
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    here.stop()


def test_a_caller_is_given_the_outcome_of_an_attempt_made_for_it() -> None:
    here = Fixture()
    assert isinstance(outcome(here.supervisor.ready())[0], Unavailable)  # not started
    here.problem = Unavailable("no route")
    here.supervisor.start()
    here.run(3.5)
    assert here.attempts_at == [0, 1, 3]
    (problem,) = outcome(here.supervisor.ready())
    assert (str(problem), here.attempts_at[-1]) == ("no route", 3.5)
    assert isinstance(outcome(here.supervisor.ready())[0], Unavailable)
    assert len(here.attempts_at) == 4, "the last attempt began less than 0.5 s ago"
    here.problem = None
    here.run(0.5)
    assert outcome(here.supervisor.ready()) == [here.connections[0]]
    assert outcome(here.supervisor.ready()) == [here.connections[0]]
    here.stop()


def test_callers_share_an_attempt_in_progress_and_one_that_gives_up_is_forgotten() -> None:
    here = Fixture()
    here.pending = Deferred()
    here.supervisor.start()
    first, second = here.supervisor.ready(), here.supervisor.ready()
    results = outcome(first), outcome(second)
    first.cancel()
    here.pending.callback(None)
    assert isinstance(results[0][0], defer.CancelledError)
    assert results[1] == here.connections
    assert len(here.attempts_at) == 1
    here.stop()


def test_a_caller_that_asks_while_a_loss_is_reported_gets_an_attempt_of_its_own() -> None:
    here = Fixture()
    here.supervisor.start()
    asked: list[list[Any]] = []
    here.run(1)
    here.on_change = lambda: asked.append(outcome(here.supervisor.ready()))
    here.connections[0].close("gone")
    here.run(0.25)
    assert asked[0] == [here.connections[1]]
    here.on_change = lambda: None
    here.stop()


def test_the_loss_of_a_connection_that_is_being_opened_does_not_cut_the_pause_short() -> None:
    here = Fixture()
    losses: list[Callable[[], None]] = []
    original = here.supervisor._open

    async def open_connection(lost: Callable[[], None]) -> FakeConnection:
        losses.append(lost)
        return await original(lost)

    here.supervisor._open = open_connection
    here.problem = Unavailable("closed during the login")
    here.supervisor.start()
    losses[0]()
    assert len(losses) == 1
    here.stop()


def test_attempts_are_held_back_until_they_are_allowed() -> None:
    here = Fixture()
    here.is_allowed = False
    here.supervisor.start()
    here.run(60)
    here.supervisor.wake()
    assert here.attempts_at == []
    here.is_allowed = True
    here.supervisor.wake()
    assert here.attempts_at == [60]
    here.stop()


@pytest.mark.parametrize("when", ["opening", "open", "pausing", "held back", "never started"])
def test_stopping_at_any_moment(when: str) -> None:
    here = Fixture()
    if when == "opening":
        here.pending = Deferred()
    elif when == "pausing":
        here.problem = Unavailable("no route")
    elif when == "held back":
        here.is_allowed = False
    if when != "never started":
        here.supervisor.start()
    waiting = outcome(here.supervisor.ready())
    assert here.stop() == [None]
    assert len(waiting) == 1
    assert here.clock.getDelayedCalls() == []
    assert all(connection.lost for connection in here.connections)
    assert isinstance(outcome(here.supervisor.ready())[0], Unavailable)


@pytest.mark.parametrize("when", ["open", "lost", "failed", "answered"])
def test_stopping_from_a_callback(when: str) -> None:
    """The loop is in the middle of its work then, and cannot be cancelled."""
    here = Fixture()
    stopped: list[list[Any]] = []

    def stop(*_: object) -> None:
        here.on_change = lambda: None
        stopped.append(here.stop())

    if when == "failed":
        here.problem = Unavailable("no route")
    if when in {"open", "failed"}:
        here.on_change = stop
    if when == "answered":
        here.pending = Deferred()
    here.supervisor.start()
    if when == "answered":
        assert here.pending is not None
        here.supervisor.ready().addCallback(stop)
        here.pending.callback(None)
    if when == "lost":
        here.on_change = stop
        here.connections[0].close("gone")
    assert stopped == [[None]]
    attempts = len(here.attempts_at)
    here.run(60)
    assert len(here.attempts_at) == attempts
    assert here.clock.getDelayedCalls() == []
