"""Limits on calls: each refuses or ends with its own name, counts it, and gives back what has ended."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from audiosocket.calls.call_limits import CallLimits, Limits
from audiosocket.calls.outcomes import LegOutcome
from audiosocket.extensions.model import DEFAULT_EXTENSION, Role
from audiosocket.interfaces import Leg
from tests.support.in_memory import (
    CALL,
    FRAME,
    OTHER_EXTENSION,
    AsteriskConnection,
    Echo,
    InMemoryServer,
    RecordingApp,
    refused,
)
from tests.support.loopback_server import CapturedLog


@pytest.fixture
def heard() -> Iterator[CapturedLog]:
    captured = CapturedLog()
    yield captured
    captured.close()


def calls(server: InMemoryServer, count: int, first: int = 1) -> list[AsteriskConnection]:
    """Return the connections of new calls."""
    return [server.join(call_id=UUID(int=first + n)) for n in range(count)]


def reached(server: InMemoryServer) -> dict[str, int]:
    return {name: number for name, number in server.registry.limits.reached_total.items() if number}


@pytest.mark.parametrize(
    ("limits", "kind", "setting"),
    [
        (Limits(calls=3), "calls", "MAX_CALLS"),
        (Limits(calls_per_peer=3), "peer_calls", "MAX_CALLS_PER_PEER"),
        (Limits(calls_per_extension=3), "extension_calls", "MAX_CALLS_PER_EXTENSION"),
        (Limits(calls_per_second=3), "calls_per_second", "MAX_CALLS_PER_SECOND"),
    ],
)
def test_a_call_beyond_a_limit_is_refused_and_one_that_ends_makes_room(
    limits: Limits, kind: str, setting: str, heard: CapturedLog
) -> None:
    server = InMemoryServer(Echo(), limits=limits)
    lines = calls(server, 5)
    assert [refused(line) for line in lines] == [False, False, False, True, True]
    assert reached(server) == {kind: 2}
    assert len(heard.containing(setting)) == 2
    assert len(server.registry) == 3
    lines[0].hang_up()
    server.run(400, lines[1])
    assert not refused(calls(server, 1, first=100)[0])


def test_legs_of_live_calls_are_not_limited() -> None:
    server = InMemoryServer(RecordingApp(), limits=Limits(calls=1, calls_per_peer=1, calls_per_second=1))
    assert not refused(server.join())
    assert not refused(server.join(role=Role.RESIDENT))


def test_limits_of_one_extension_and_one_peer_leave_others_alone() -> None:
    limits = CallLimits(Limits(calls_per_peer=1, calls_per_extension=1))
    server = InMemoryServer(RecordingApp())
    server.registry.limits = limits
    assert not refused(server.join())
    assert limits.refusal("10.0.0.9", OTHER_EXTENSION.id, 0.0) == ""
    assert "MAX_CALLS_PER_EXTENSION" in limits.refusal("10.0.0.9", DEFAULT_EXTENSION.id, 0.0)
    assert "MAX_CALLS_PER_PEER" in limits.refusal("127.0.0.1", OTHER_EXTENSION.id, 0.0)


def test_calls_begin_again_at_the_rate_that_is_allowed() -> None:
    limits = CallLimits(Limits(calls_per_second=10))
    allowed = [not limits.refusal("", 0, n / 100) for n in range(300)]
    assert sum(allowed) == pytest.approx(10 + 3 * 10, abs=1)


def test_without_limits_nothing_is_refused_or_counted() -> None:
    server = InMemoryServer(RecordingApp())
    assert not any(refused(line) for line in calls(server, 50))
    server.switchboard.end_overdue()
    assert len(server.registry) == 50
    assert reached(server) == {}


def test_a_call_that_lasts_too_long_is_ended(heard: CapturedLog) -> None:
    server = InMemoryServer(Echo(), limits=Limits(call_seconds=60))
    line = server.join()
    server.run(59_000, line, step=20)
    server.switchboard.end_overdue()
    assert len(server.registry) == 1
    server.run(2_000, line, step=20)
    server.switchboard.end_overdue()
    assert len(server.registry) == 0
    call = server.registry.get(CALL)
    assert call is not None
    assert call.outcome == LegOutcome.TOO_LONG.value
    assert reached(server) == {"call_seconds": 1}
    assert len(heard.containing("MAX_CALL_SECONDS")) == 1


def test_a_leg_that_neither_sends_nor_is_spoken_to_is_ended() -> None:
    server = InMemoryServer(RecordingApp(), limits=Limits(idle_seconds=10))
    server.join()
    for _ in range(13):
        server.run(1_000, step=20)
        server.switchboard.end_overdue()
    assert len(server.registry) == 0
    call = server.registry.get(CALL)
    assert call is not None
    assert call.outcome == LegOutcome.IDLE.value
    assert reached(server) == {"idle_seconds": 1}


@pytest.mark.parametrize("who", ["peer", "app"])
def test_a_leg_that_sends_or_is_spoken_to_is_not_idle(who: str) -> None:
    legs: list[Leg] = []
    server = InMemoryServer(RecordingApp(joined=legs.append), limits=Limits(idle_seconds=10))
    line = server.join()
    for _ in range(30):
        if who == "app":
            legs[0].play(b"\x01\x02" * 160)
        else:
            line.send(FRAME)
        server.run(1_000, step=20)
        server.switchboard.end_overdue()
    assert len(server.registry) == 1
