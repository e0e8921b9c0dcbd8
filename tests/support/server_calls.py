"""Calls to a server in a process of its own, and what its API shows of them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from audiosocket.client.caller import Caller
from tests.support.loopback_server import LOOPBACK, reactor
from tests.support.server_process import ServerProcess


async def call(port: int, call_id: UUID | None = None) -> Caller:
    """Return a call that is connected and has received audio."""
    caller = Caller(reactor, call_id)
    await caller.dial(LOOPBACK, port)
    await caller.until_heard(640)
    return caller


async def all_up(port: int, ids: Iterable[UUID]) -> list[Caller]:
    """Return calls that were made at the same time."""
    calls: list[Deferred[Caller]] = [Deferred.fromCoroutine(call(port, call_id)) for call_id in ids]
    return list(await gatherResults(calls))


async def hang_up(callers: Iterable[Caller]) -> None:
    """Hang up, and wait until the calls have ended."""
    for caller in callers:
        caller.hang_up()
    await gatherResults([caller.ended for caller in callers])


async def shown(server: ServerProcess, caller: Caller) -> dict[str, object]:
    """Return what the API shows of a call."""
    answer = await deferToThread(server.api, f"/api/calls/{caller.call_id}")
    return dict(answer["call"])


def names(call: dict[str, object]) -> list[str]:
    """Return the names of the events in the timeline of a call."""
    timeline = call["timeline"]
    assert isinstance(timeline, list)
    return [entry["event"] for entry in timeline]
