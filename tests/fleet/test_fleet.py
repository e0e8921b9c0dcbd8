"""Which node a UUID comes to, a node that drains, and HAProxy reloaded under load.

FLEET_PAIRS and FLEET_RELOADS make the long form.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.fleet import CALLER, Fleet, add_row, dialled, is_accepted, is_up
from tests.support.postgres import PostgresServer
from tests.support.server_process import ROOT, checkout_environment, wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

PAIRS, RELOADS = int(os.environ.get("FLEET_PAIRS", "200")), int(os.environ.get("FLEET_RELOADS", "10"))
#: Pairs that are connected at the same time, and calls during the reloads.
AT_ONCE, CALLS = 50, 40


@pytest.mark.usefixtures("database_with_table")
def test_both_legs_come_to_one_node_and_a_drained_node_loses_no_call(
    tmp_path: Path, postgres: PostgresServer, database_name: str, database_settings: Mapping[str, str]
) -> None:
    fleet = Fleet(tmp_path, database_settings, 3)
    add_row(postgres, database_name, fleet)
    with fleet:
        for first in range(0, PAIRS, AT_ONCE):
            ids = [uuid4() for _ in range(min(AT_ONCE, PAIRS - first))]
            with ExitStack() as open_lines:
                visitors = [open_lines.enter_context(dialled(fleet.visitor, each)) for each in ids]
                assert all(map(is_accepted, visitors))
                # A resident is refused where there is no such call: on every other node.
                residents = [open_lines.enter_context(dialled(fleet.resident, each)) for each in ids]
                assert sum(map(is_accepted, residents)) == len(ids)
        assert wait_until(lambda: not any(fleet.callers(name) for name in fleet.nodes), 30)
        drained_and_back(fleet)


def drained_and_back(fleet: Fleet) -> None:
    ids = [uuid4() for _ in range(30)]
    with ExitStack() as open_lines:

        def call(port: int, call_id: UUID) -> bool:
            lines.append(open_lines.enter_context(dialled(port, call_id)))
            return is_accepted(lines[-1])

        lines: list[socket.socket] = []
        assert all(call(fleet.visitor, each) for each in ids)
        mine = fleet.callers("n1")
        assert 0 < len(mine) < len(ids)
        assert {peer.partition(":")[0] for peer in mine.values()} == {CALLER}
        fleet.nodes["n1"].api("/api/drain", {})
        fleet.until_state("n1", "NOLB")
        assert all(call(fleet.visitor, uuid4()) for _ in range(30))
        assert fleet.callers("n1").keys() == mine.keys()
        assert all(call(fleet.resident, UUID(each)) for each in mine)
        fleet.nodes["n1"].api("/api/drain", method="DELETE")
        fleet.until_state("n1", "UP")
        assert all(call(fleet.visitor, uuid4()) for _ in range(30))
        assert fleet.callers("n1").keys() > mine.keys()
        assert [line for line in lines if not is_up(line)] == []


@pytest.mark.usefixtures("database_with_table")
def test_a_reload_of_haproxy_cuts_and_refuses_nobody(
    tmp_path: Path, postgres: PostgresServer, database_name: str, database_settings: Mapping[str, str]
) -> None:
    fleet = Fleet(tmp_path, database_settings, 2)
    add_row(postgres, database_name, fleet)
    with fleet:
        command = [sys.executable, "-m", "tests.support.numbered_calls", str(CALLS), str(fleet.visitor)]
        with subprocess.Popen(
            command, cwd=ROOT, env=checkout_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as calls:
            try:
                assert calls.stdout is not None
                assert calls.stdout.readline() == "up\n"
                for _ in range(RELOADS):
                    fleet.reload()
                    with dialled(fleet.visitor, uuid4()) as line:
                        assert is_accepted(line)
                out, _ = calls.communicate(timeout=60)
            finally:
                calls.kill()
        report = json.loads(out)
        # The app leaves frames out where the machine stalls; what comes back is whole and in order.
        assert report["lost"] < report["sent"], report
        assert (report["dropped_calls"], report["wrong"]) == (0, 0), report
