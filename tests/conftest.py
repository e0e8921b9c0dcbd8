"""Fixtures for every test: no failure may be logged, and nothing may be left in the reactor."""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet import defer, reactor, task
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from tests.support.logged_failures import LoggedFailures, failure_of

# A busy machine is no fault of an example.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.slow_resolver"]

# An example that takes 200 ms is a fault for Hypothesis; on a busy machine any of them may.
settings.register_profile("no deadline", settings.get_profile("default"), deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    seen = LoggedFailures()

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None or event.get("isError"):  # the reactor still uses the old log.err
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    yield seen
    gc.collect()  # a Deferred with an unhandled failure reports it when it is collected
    globalLogPublisher.removeObserver(observe)
    assert not seen, "; ".join(f"{formatEvent(e)} {failure_of(e).value!r}" for e in seen)


def _selectables() -> set[Any]:
    return set(reactor.getReaders()) | set(reactor.getWriters())


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[None]:
    before, calls = _selectables(), set(reactor.getDelayedCalls())
    yield

    def left() -> tuple[list[Any], list[Any]]:
        extra = [x for x in _selectables() - before if "Waker" not in type(x).__name__]
        timers = [
            c
            for c in reactor.getDelayedCalls()
            if c not in calls and c.active() and "_updateLogDateTime" not in str(c)
        ]
        return extra, timers

    for _ in range(20):  # lets connectionLost of both ends run
        extra, timers = left()
        if not extra and not timers:
            return
        pytest_twisted.blockon(task.deferLater(reactor, 0.01))
    for selectable in extra:
        reactor.removeReader(selectable)
        reactor.removeWriter(selectable)
    for timer in timers:
        timer.cancel()
    pytest.fail("left in the reactor:\n" + "\n".join(map(str, [*extra, *timers])))


def pytest_collection_finish() -> None:
    """Exclude the objects that imports made from the garbage collection after each test."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Give every asynchronous test a deadline that leaves the reactor usable for the next one."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test) or hasattr(test, "hypothesis"):
        return
    marker = pyfuncitem.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else 10

    @functools.wraps(test)
    def limited(*args: Any, **kwargs: Any) -> defer.Deferred[Any]:
        return defer.ensureDeferred(test(*args, **kwargs)).addTimeout(seconds, reactor)

    limited._pytest_twisted_mark = None  # type: ignore[attr-defined]
    pyfuncitem.obj = limited
