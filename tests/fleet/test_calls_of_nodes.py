"""Servers with FLEET=true and one PostgreSQL: calls whose node is killed, and a frozen PostgreSQL."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from audiosocket import schema
from audiosocket.wire import HungUp, Parser, digit_frame, uuid_frame
from audiosocket.workers.affinity import owner
from tests.support.fleet import is_accepted, is_up
from tests.support.porteiro_visits import APARTMENTS
from tests.support.ports import free_ports
from tests.support.postgres import ROLE, ROLE_PASSWORD, PostgresServer
from tests.support.server_process import ServerProcess, wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

SECONDS = 30
#: Calls on each node.
CALLS = 10


class Nodes:
    """Servers on addresses of loopback, with the same ports."""

    def __init__(self, directory: Path, settings: Mapping[str, str], count: int, app: str) -> None:
        self.visitor, self.resident, api = free_ports(3)
        self.addresses = [f"127.0.0.{2 + index}" for index in range(count)]
        self.servers = [
            ServerProcess(
                directory / f"n{index}",
                {
                    **settings,
                    "FLEET": "true",
                    "NODE_NAME": f"n{index}",
                    "BIND_ADDRESS": address,
                    "API_HOST": address,
                    "API_PORT": str(api),
                    "API_TOKEN": "a-token-of-the-tests",
                    "RETURN_RING_SECONDS": "20",
                },
                app=app,
                wait=False,
            )
            for index, address in enumerate(self.addresses)
        ]

    def dial(self, index: int, call_id: UUID, *, resident: bool = False) -> socket.socket:
        """Return a connection to a node that has sent its UUID."""
        port = self.resident if resident else self.visitor
        line = socket.create_connection((self.addresses[index], port), SECONDS)
        line.sendall(uuid_frame(call_id))
        return line

    def call(self, index: int, call_id: UUID) -> dict[str, Any]:
        """Return the call as the API of a node shows it; empty if that does not know it."""
        status, answer = self.servers[index].request(f"/api/calls/{call_id}")
        return dict(answer["call"]) if status == 200 else {}

    def live(self, index: int) -> set[str]:
        """Return the UUIDs of the live calls of a node."""
        calls = self.servers[index].api("/api/calls")["calls"]
        return {one["call_id"] for one in calls if one["state"] == "live"}

    def states(self, index: int, call_id: UUID) -> list[str]:
        """Return the stages of a visit."""
        timeline = self.call(index, call_id).get("timeline", [])
        return [str(one["state"]) for one in timeline if one.get("app") == "porteiro"]


@contextmanager
def fleet(
    directory: Path, postgres: PostgresServer, settings: Mapping[str, str], count: int, app: str = "echo"
) -> Iterator[Nodes]:
    """Give running nodes that serve one row and have listened for each other."""
    connection = postgres.connect(settings["DB_NAME"], ROLE, ROLE_PASSWORD)
    with connection.cursor() as cursor:
        cursor.execute(schema.sql(True))
    connection.close()
    nodes = Nodes(directory, settings, count, app)
    values = ("1000", "1001", str(nodes.visitor), str(nodes.resident))
    row = "insert into extension_ia values (default, %s, %s, '0.0.0.0', %s, 7, %s)"
    postgres.execute(settings["DB_NAME"], row, values)
    with ExitStack() as stack:
        for server in nodes.servers:
            data = server.directory / "data"
            data.mkdir(parents=True)
            (data / "apartamentos-7.json").write_text(json.dumps(APARTMENTS))
            stack.enter_context(server)
        for server in nodes.servers:
            assert server.until_ready(2 * SECONDS), server.stdout()
            # Until the table has been read a node may be ready with what a fresh install has.
            assert wait_until(partial(serves_row, server), SECONDS), server.log()
        yield nodes


def serves_row(server: ServerProcess) -> bool:
    """Return whether a node listens for the row of the table, and for the other nodes."""
    status = server.api("/api/status")
    if status["configuration"]["source"] != "database" or status["extensions"][0]["status"] != "ativo":
        return False
    return bool(status["fleet"]["database"]["state"] == "up")


def written(postgres: PostgresServer, database: str, calls: int) -> bool:
    """Wait until so many calls are in the table."""
    rows = "select count(*) from audiosocket_calls where record <> ''"
    return wait_until(lambda: postgres.execute(database, rows)[0][0] == calls, SECONDS)


def test_the_calls_of_a_killed_node_go_on_elsewhere_and_no_other_is_disturbed(
    tmp_path: Path, postgres: PostgresServer, database_settings: Mapping[str, str], database_name: str
) -> None:
    with fleet(tmp_path, postgres, database_settings, 3) as nodes, ExitStack() as lines:
        ids = [[uuid4() for _ in range(CALLS)] for _ in nodes.servers]
        calls = [[lines.enter_context(nodes.dial(index, each)) for each in own] for index, own in enumerate(ids)]
        assert all(is_accepted(line) for own in calls for line in own)
        assert written(postgres, database_name, 3 * CALLS)
        before = {each: nodes.call(0, each) for each in ids[0]}
        nodes.servers[0].stop(signal.SIGKILL)
        back = [lines.enter_context(nodes.dial(1 + n % 2, each)) for n, each in enumerate(ids[0])]
        assert all(map(is_accepted, back))
        for n, each in enumerate(ids[0]):
            now, was = nodes.call(1 + n % 2, each), before[each]
            assert now["started_at"] == was["started_at"]
            assert now["timeline"][: len(was["timeline"])] == was["timeline"]
            assert [one["event"] for one in now["timeline"]][-3:] == [
                "call.adopted",
                "call.resumed",
                "leg.resumed",
            ]
        assert [line for own in calls[1:] for line in own if not is_up(line)] == []
        nodes.servers[0].start()
        assert nodes.servers[0].until_ready(2 * SECONDS), nodes.servers[0].stdout()
        assert wait_until(lambda: nodes.servers[0].api("/api/calls")["calls"] == [], SECONDS)
        assert [line for line in back if not is_up(line)] == []


def of_worker(index: int, workers: int) -> UUID:
    """Return a UUID that this one of several workers has."""
    while owner(call_id := uuid4(), workers) != index:
        pass
    return call_id


def test_calls_of_a_node_with_workers_go_on_at_another_one(
    tmp_path: Path, postgres: PostgresServer, database_settings: Mapping[str, str], database_name: str
) -> None:
    settings = {**database_settings, "WORKERS": "2"}
    with fleet(tmp_path, postgres, settings, 2) as nodes, ExitStack() as lines:
        ids = [of_worker(index % 2, 2) for index in range(6)]
        calls = [lines.enter_context(nodes.dial(0, each)) for each in ids]
        # The sessions of the other node's workers are open once these are written.
        others = [lines.enter_context(nodes.dial(1, of_worker(index, 2))) for index in range(2)]
        assert all(map(is_accepted, [*calls, *others]))
        assert written(postgres, database_name, 8)
        before = {each: nodes.call(0, each) for each in ids}
        nodes.servers[0].stop(signal.SIGKILL)
        back = [lines.enter_context(nodes.dial(1, each)) for each in ids]
        assert all(map(is_accepted, back))
        for each in ids:
            assert nodes.call(1, each)["started_at"] == before[each]["started_at"]
        assert nodes.servers[1].api("/api/status")["fleet_calls"]["adopted_total"] == 6
        assert [line for line in others if not is_up(line)] == []
        owners = "select owner, count(*) from audiosocket_calls group by 1"
        assert postgres.execute(database_name, owners) == [("n1", 8)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("database_name")
def test_a_visit_goes_on_elsewhere_with_its_pending_return_call(
    tmp_path: Path, postgres: PostgresServer, database_settings: Mapping[str, str], workers: int
) -> None:
    call_id = uuid4()
    settings = {**database_settings, "WORKERS": str(workers)}
    with fleet(tmp_path, postgres, settings, 2, app="porteiro") as nodes, ExitStack() as lines:
        warm = [lines.enter_context(nodes.dial(1, of_worker(index, workers))) for index in range(workers)]
        assert all(map(is_accepted, warm))
        assert written(postgres, settings["DB_NAME"], workers)
        visitor = lines.enter_context(nodes.dial(0, call_id))
        assert is_accepted(visitor)
        for key in "#101#":
            visitor.sendall(digit_frame(key))
        assert wait_until(lambda: "ringing" in nodes.states(0, call_id), SECONDS)
        state = (
            f"select count(*) from audiosocket_calls where record like '%\"ringing\"%' and call_id = '{call_id}'"
        )
        database = database_settings["DB_NAME"]
        assert wait_until(lambda: postgres.execute(database, state)[0][0] == 1, SECONDS)
        nodes.servers[0].stop(signal.SIGKILL)
        assert is_accepted(lines.enter_context(nodes.dial(1, call_id)))
        assert nodes.call(1, call_id)["return"]["state"] == "ringing"
        resident = lines.enter_context(nodes.dial(1, call_id, resident=True))
        assert is_accepted(resident)
        assert wait_until(lambda: "menu" in nodes.states(1, call_id), SECONDS)

        def authorised() -> bool:
            resident.sendall(digit_frame("1"))
            return any(one["event"] == "gate.opened" for one in nodes.call(1, call_id)["timeline"])

        assert wait_until(authorised, SECONDS)
        opened = postgres.execute(database, "select node, call_id::text from audiosocket_gate")
        assert opened == [("n1", str(call_id))]


def test_a_live_node_gives_its_call_up_without_a_goodbye(
    tmp_path: Path, postgres: PostgresServer, database_settings: Mapping[str, str], database_name: str
) -> None:
    call_id = uuid4()
    with fleet(tmp_path, postgres, database_settings, 2) as nodes, ExitStack() as lines:
        first = lines.enter_context(nodes.dial(0, call_id))
        assert is_accepted(first)
        assert written(postgres, database_name, 1)
        assert is_accepted(lines.enter_context(nodes.dial(1, call_id)))
        first.settimeout(SECONDS)
        received = b""
        while data := first.recv(65_536):
            received += data
        events = Parser().receive(uuid_frame(call_id) + received)
        assert not any(isinstance(event, HungUp) for event in events)
        assert wait_until(lambda: nodes.servers[0].api("/api/calls")["calls"] == [], SECONDS)
        assert "call.ended" not in nodes.servers[0].log()
        assert nodes.live(1) == {str(call_id)}


def test_a_frozen_database_costs_no_call_and_is_caught_up_with(
    tmp_path: Path, postgres: PostgresServer, database_settings: Mapping[str, str], database_name: str
) -> None:
    with fleet(tmp_path, postgres, database_settings, 2) as nodes, ExitStack() as lines:
        old = lines.enter_context(nodes.dial(0, uuid4()))
        assert is_accepted(old)
        postgres.freeze()
        frozen = [lines.enter_context(nodes.dial(index % 2, uuid4())) for index in range(6)]
        assert all(map(is_accepted, frozen))
        assert is_up(old)
        postgres.thaw()
        assert written(postgres, database_name, 7)
        assert [line for line in [old, *frozen] if not is_up(line)] == []
