"""A gate in memory: its journal and audit file are real, its ways of opening and its process are not."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from audiosocket.extensions.model import DEFAULT_EXTENSION
from audiosocket.gate.audit import AuditFile
from audiosocket.gate.journal import GateJournal
from audiosocket.gate.opener import GateOpener, Way
from audiosocket.gate.record import GateRecord, WayAnswer
from audiosocket.interfaces import Authorisation, GateAnswer
from audiosocket.testing.leg_double import ManualThread

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")


def authorisation(visit: str = "visit-1", call_id: UUID = CALL, number: str = "1003030") -> Authorisation:
    """Key 1 of a resident of apartment 101."""
    return Authorisation(call_id, visit, DEFAULT_EXTENSION, "101", "", number, False, "1")


class FakeWay:
    """A way of opening that answers when a test says so; ``once``: like keys, it must not be repeated."""

    def __init__(self, name: str = "webhook", *, once: bool = False) -> None:
        self.name = name
        self.asked: list[str] = []
        self._once = once
        self._waiting: list[Deferred[WayAnswer]] = []
        #: What to answer at once; None: wait for `answer`.
        self.ready: WayAnswer | None = WayAnswer(True, "done")
        self.error: Exception | None = None

    async def open(self, record: GateRecord, begin: Callable[[], Awaitable[None]]) -> WayAnswer:
        """Implement `opener.Way`."""
        if self._once:
            if record.keys_begun:
                return WayAnswer(False, "not repeated")
            await begin()
        self.asked.append(record.call_id)
        if self.error is not None:
            raise self.error
        if self.ready is not None:
            return self.ready
        waiting: Deferred[WayAnswer] = Deferred()
        self._waiting.append(waiting)
        return await waiting

    def answer(self, *, ok: bool = True, detail: str = "done") -> None:
        """Answer what has been asked."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(WayAnswer(ok, detail))


class UnlockedJournal(GateJournal):
    """A journal whose locks go with the process that is thought of as killed."""

    def hold(self, call_id: UUID) -> int | None:
        return os.open(os.devnull, os.O_RDONLY)


class FakeClaims:
    """Stands for the table of the fleet: gives ``result`` once ``ready`` is set."""

    def __init__(self, result: tuple[bool, str] | None = None, *, ready: bool = True) -> None:
        self.result = result
        self.ready = ready
        self.asked = 0
        self.told: list[tuple[bool, str]] = []

    async def claim(self, call_id: UUID, visit: str) -> tuple[bool, str] | None:
        self.asked += 1
        if not self.ready:
            await Deferred()
        return self.result

    def answered(self, call_id: UUID, visit: str, *, opened: bool, detail: str) -> None:
        self.told.append((opened, detail))


class GateProcess:
    """One process with a gate; what is in ``directory`` outlives it."""

    def __init__(
        self,
        directory: Path,
        *ways: Way,
        held: bool = False,
        clock: Clock | None = None,
        journal: GateJournal | None = None,
        claims: FakeClaims | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.thread = ManualThread(held=held)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[GateAnswer] = []
        self.directory = directory
        self.opener = GateOpener(
            ways,
            journal or UnlockedJournal(directory / "gate"),
            AuditFile(directory / "audit.jsonl"),
            self.clock,
            self.thread,
            lambda record, event, fields: self.events.append((event, fields)),
            wall=lambda: 1_769_854_523.456 + self.clock.seconds(),
            claims=claims,
        )

    def start(self) -> GateProcess:
        """Take over what the process before this one left."""
        self.opener.startService()
        return self

    def open(self, one: Authorisation | None = None) -> None:
        """A resident has authorised; the answer is in `answers` once it is there."""
        self.opener.open(one or authorisation()).addCallback(self.answers.append)

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit file."""
        path = self.directory / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def names(self) -> list[str]:
        """The events so far."""
        return [name for name, _ in self.events]
