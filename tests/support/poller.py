"""A poller with listeners, a table, a file thread and a clock in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel

from audiosocket.errors import SourceUnavailable
from audiosocket.extensions.model import Extension
from audiosocket.extensions.reconcile import Plan, Slot, SocketAddress, plan
from audiosocket.provisioning import local_file as cache
from audiosocket.provisioning.poller import Poller
from tests.support.loopback_server import CapturedLog, ManualFileThread, data_file, extension

T = TypeVar("T")
INTERVAL = 30.0
TICK = 1 / 16  # without rounding errors


class FakeListeners:
    """Listeners without sockets; ``closed`` holds up every apply until it is called back."""

    def __init__(self) -> None:
        self.extensions: dict[int, Extension] = {}
        self.applied: list[list[int]] = []
        self.failing: Exception | None = None
        self.closed: Deferred[None] | None = None

    async def apply(self, desired: Sequence[Extension]) -> Plan:
        if self.closed is not None:
            await self.closed
        if self.failing is not None:
            raise self.failing
        steps = self.preview(desired)
        self.extensions = {e.id: e for e in desired}
        self.applied.append(sorted(self.extensions))
        return steps

    def preview(self, desired: Sequence[Extension]) -> Plan:
        wanted = {e.id: e for e in desired}
        return plan(wanted, self.extensions, _addresses(wanted), _addresses(self.extensions))


def _addresses(extensions: Mapping[int, Extension]) -> dict[Slot, SocketAddress]:
    return {
        (key, role): SocketAddress("0.0.0.0", port)
        for key, e in extensions.items()
        for role, port in e.ports().items()
    }


class Table:
    """Rows in memory; ``silent`` holds up every reading until `answer`, ``failing`` is the error of every one."""

    def __init__(self, *rows: Extension) -> None:
        self.rows: list[Any] = list(rows)
        self.silent = False
        self.failing = ""
        self.readings = 0
        self.at_once = 0
        self._waiting: list[Deferred[None]] = []

    async def read(self, take: Callable[[Sequence[Mapping[str, object]]], None]) -> int:
        self.readings += 1
        self.at_once += 1
        assert self.at_once == 1, "two readings at once"
        try:
            if self.silent:
                waiting: Deferred[None] = Deferred()
                self._waiting.append(waiting)
                await waiting
            if self.failing:
                raise SourceUnavailable(self.failing)
            take([_row(row) for row in self.rows])
            return len(self.rows)
        finally:
            self.at_once -= 1

    def answer(self) -> None:
        """Let the reading that waits go on, and later ones too."""
        self.silent = False
        waiting, self._waiting = self._waiting, []
        for reading in waiting:
            reading.callback(None)


def _row(row: Any) -> Mapping[str, object]:
    return {"extension_ia_id": row.id, **row.as_row()} if isinstance(row, Extension) else row


class PollerFixture:
    """A poller with listeners, table, file thread and clock."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.listeners = FakeListeners()
        self.table = Table(*ROWS)
        self.files = ManualFileThread()
        self.path = data_file(directory)
        self.log = CapturedLog()
        self.poller: Poller | None = None

    def start(self, *, database: bool = True, automatic: bool = True, limit: int = 1000) -> Poller:
        self.poller = Poller(
            self.clock,
            self.listeners,
            self.table if database else None,
            self.path,
            self.files.run,
            interval=INTERVAL,
            automatic=automatic,
            limit=limit,
        )
        self.poller.startService()
        return self.poller

    def file(self, *extensions: Extension) -> None:
        cache.save(self.path, extensions, "test")

    def saved(self) -> list[int]:
        return [entry["id"] for entry in json.loads(self.path.read_bytes())["ramais"]]

    def running(self) -> list[int]:
        return sorted(self.listeners.extensions)

    def wait(self, seconds: float) -> None:
        """Move the clock, in steps small enough for timers that are started by timers."""
        for _ in range(math.ceil(seconds / TICK)):
            self.clock.advance(TICK)

    def problems(self) -> list[str]:
        return [text for level, text in self.log if level is LogLevel.error]

    def close(self) -> None:
        if self.poller is not None and self.poller.running:
            done(self.poller.stopService())
        assert self.clock.getDelayedCalls() == []
        self.log.close()


ROWS = [extension(n, 9000 + n) for n in range(1, 11)]
FILE = [extension(n, 9500 + n) for n in range(1, 4)]


def pending(work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    return Deferred.fromCoroutine(work)


def done(work: Coroutine[Deferred[Any], Any, T] | Deferred[T]) -> T:
    """Return the result of work that waits for nothing more, or raise its error."""
    results: list[Any] = []
    deferred = work if isinstance(work, Deferred) else pending(work)
    deferred.addCallbacks(results.append, results.append)
    assert results, "still waiting"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    value: T = results[0]
    return value


IDS = [row.id for row in ROWS]
