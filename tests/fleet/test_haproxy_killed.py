"""HAProxy killed under live calls, and back: the end of its connections is no hang-up of their callers."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from audiosocket.wire import HANGUP_FRAME
from tests.support.fleet import Fleet, add_row, dialled, is_accepted
from tests.support.postgres import PostgresServer
from tests.support.server_process import wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

CALLS = 20
SECONDS = 30


def has_ended(line: socket.socket) -> bool:
    """Read until the connection ends, which HAProxy's end brings about."""
    try:
        while line.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


class Caller:
    """A caller who dials again with the same UUID until a server answers, as the shipped dialplan does."""

    def __init__(self, port: int) -> None:
        self.call_id = uuid4()
        self._port = port
        self.line: socket.socket | None = None

    def dial(self) -> bool:
        """Return whether the call was answered within `SECONDS`."""
        return wait_until(self._try, SECONDS)

    def _try(self) -> bool:
        self.close()
        try:
            self.line = dialled(self._port, self.call_id)
        except OSError:
            return False
        return is_accepted(self.line)

    def cut_off(self) -> bool:
        """Wait until the connection has ended; return whether it has."""
        return self.line is not None and has_ended(self.line)

    def close(self) -> None:
        """End the connection as a caller who hangs up."""
        if self.line is not None:
            self.line.close()
            self.line = None


def calls_of(fleet: Fleet) -> dict[UUID, dict[str, Any]]:
    calls = fleet.nodes["n1"].api("/api/calls")["calls"]
    return {UUID(one["call_id"]): one for one in calls}


def events_of(fleet: Fleet, call_id: UUID) -> list[str]:
    shown = fleet.nodes["n1"].api(f"/api/calls/{call_id}")
    return [entry["event"] for entry in shown["call"]["timeline"]]


@pytest.mark.parametrize(
    "process",
    [{"WORKERS": "1"}, {"WORKERS": "2", "LEG_TRANSPORT": "stock"}],
    ids=["one process", "workers, stock"],
)
@pytest.mark.usefixtures("database_with_table")
def test_the_callers_of_a_killed_haproxy_come_back_to_the_same_calls(
    tmp_path: Path,
    postgres: PostgresServer,
    database_name: str,
    database_settings: Mapping[str, str],
    process: Mapping[str, str],
) -> None:
    fleet = Fleet(tmp_path, {**database_settings, **process}, 1)
    add_row(postgres, database_name, fleet)
    with fleet, ExitStack() as lines:
        callers = [Caller(fleet.visitor) for _ in range(CALLS)]
        for caller in callers:
            lines.callback(caller.close)
        assert all(caller.dial() for caller in callers)
        before = calls_of(fleet)
        assert len(before) == CALLS
        fleet.kill_proxy()
        assert all(caller.cut_off() for caller in callers)
        fleet.start_proxy()
        assert all(caller.dial() for caller in callers)
        after = calls_of(fleet)
        assert {each: one["started_at"] for each, one in after.items()} == {
            each: one["started_at"] for each, one in before.items()
        }
        assert {(one["state"], one["legs"][0]["state"], one["outcome"]) for one in after.values()} == {
            ("live", "live", None)
        }
        same = ["call.started", "leg.joined", "leg.suspended", "leg.resumed"]
        assert [events_of(fleet, caller.call_id) for caller in callers] == [same] * CALLS
        for caller in callers:
            caller.close()
        assert wait_until(lambda: not fleet.callers("n1"), SECONDS)
        ended = [*same, "leg.suspended", "leg.left", "call.ended"]
        assert [events_of(fleet, caller.call_id) for caller in callers] == [ended] * CALLS
        with dialled(fleet.visitor, callers[0].call_id) as line:
            assert line.recv(len(HANGUP_FRAME)) == HANGUP_FRAME
